"""Weights sharded over several processes (FSDP2): each holds a part of every tensor, and has the rest for as long as it
calculates with it. What is saved is whole, so that any number of processes can go on with it."""

import warnings
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributed.device_mesh import DeviceMesh, init_device_mesh
from torch.distributed.fsdp import FSDPModule, fully_shard
from torch.distributed.tensor import DTensor, Shard, distribute_tensor

Tree = Any
"""Nested mappings, lists and scalars, with tensors as leaves."""


class Called(nn.Module):
    """A module and a function that calculates with it, as a module that is called: its weights are gathered first."""

    def __init__(self, module: nn.Module, function: Callable[[], Any]):
        super().__init__()
        self.module, self.function = module, function

    def forward(self) -> Any:
        return self.function()


def sharded(module: nn.Module, loss: Callable[[], Any]) -> Callable[[], Any]:
    """`loss`, which calculates with `module`, whose weights are sharded over all processes from now on.

    Gradients are the sums of those of all processes, each of which has its share of them after `backward`. Modules
    whose class says `gathered_alone = True` are gathered one at a time, when they are called, the rest once. Weights of
    no dimension cannot be sharded: FSDP2 raises `ValueError`.
    """
    warnings.filterwarnings("ignore", "FSDP2-wrapped module .* returned a view")  # which nothing changes in place
    mesh, root = _everybody(module), Called(module, loss)
    for part in root.modules():
        if getattr(part, "gathered_alone", False):
            fully_shard(part, mesh=mesh)
    fully_shard(root, mesh=mesh)
    for part in root.modules():
        if isinstance(part, FSDPModule):
            part.set_gradient_divide_factor(1.0)
            part.set_force_sum_reduction_for_comms(True)  # no other way to add is known to gloo
    return root


def like(module: nn.Module, other: nn.Module) -> None:
    """Shard the weights of a module, which is not called, as those of `other`, of the same class, are."""
    for mine, its in zip(module.modules(), other.modules(), strict=True):
        for name, weight in list(mine.named_parameters(recurse=False)):
            put = _put(weight.detach(), getattr(its, name))
            setattr(mine, name, nn.Parameter(put, requires_grad=False))


def is_sharded(module: nn.Module) -> bool:
    """Whether its weights are sharded."""
    return any(isinstance(weight, DTensor) for weight in module.parameters())


def whole(tree: Tree) -> Tree:
    """A tree with whole tensors for sharded ones; all processes have to ask for it."""
    if isinstance(tree, DTensor):
        return tree.full_tensor()
    if isinstance(tree, Mapping):
        return {key: whole(value) for key, value in tree.items()}
    return [whole(value) for value in tree] if isinstance(tree, list | tuple) else tree


def load(module: nn.Module, weights: Mapping[str, Tensor]) -> None:
    """Put whole weights into a module, sharded where its own are; raises `RuntimeError` where they do not fit."""
    own = module.state_dict()
    module.load_state_dict({name: _put(x, own[name]) if name in own else x for name, x in weights.items()})


def load_optimizer(optimizer: torch.optim.Optimizer, state: Mapping[str, Any]) -> None:
    """Put an optimizer's whole state into it, sharded as the weights that it is of."""
    weights = [weight for group in optimizer.param_groups for weight in group["params"]]
    of = {
        key: {name: _put(x, weights[int(key)]) if torch.is_tensor(x) and x.ndim else x for name, x in one.items()}
        for key, one in state["state"].items()
    }
    optimizer.load_state_dict({**state, "state": of})


def _put(x: Tensor, other: Tensor) -> Tensor:
    """A whole tensor, sharded as another is; every process has it, so that nothing is sent."""
    if not isinstance(other, DTensor):
        return x
    if x.shape != other.shape:
        raise RuntimeError(f"found a tensor of shape {tuple(x.shape)}, expected {tuple(other.shape)}")
    return distribute_tensor(x.to(other.device), other.device_mesh, [Shard(0)], src_data_rank=None)


def _everybody(module: nn.Module) -> DeviceMesh:
    device = next(module.parameters()).device.type
    return init_device_mesh(device, (torch.distributed.get_world_size(),))
