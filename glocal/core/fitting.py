"""Fitting networks to a rollout: its rows in minibatches, and steps down a loss."""

from collections.abc import Sequence
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor, nn


def minibatches(count: int, epochs: int, parts: int, device: torch.device) -> list[Tensor]:
    """Rows in random order, `epochs` times over, each time in `parts` minibatches."""
    return [rows for _ in range(epochs) for rows in torch.randperm(count, device=device).chunk(parts)]


@runtime_checkable
class Partners(Protocol):
    """Processes that learn together, each of what it has imagined itself."""

    @property
    def rank(self) -> int: ...

    @property
    def size(self) -> int: ...

    def add(self, tensors: Sequence[Tensor]) -> None:
        """Put in place of tensors their sums over all of them."""
        ...


def share(tensors: Sequence[Tensor], partners: Partners | None) -> None:
    """Put in place of tensors their means over partners, if there are any."""
    if partners is None or partners.size == 1:
        return
    partners.add(tensors)
    for x in tensors:
        x.detach().div_(partners.size)


def descend(
    loss: Tensor, module: nn.Module, optimizer: torch.optim.Optimizer, clip: float, partners: Partners | None = None
) -> Tensor:
    """One step of a module's own parameters down a loss, the mean of all partners' losses; returns the length of its
    gradient before clipping."""
    parameters = list(module.parameters())
    optimizer.zero_grad()
    loss.backward(inputs=parameters)
    share([x.grad for x in parameters if x.grad is not None], partners)
    norm = nn.utils.clip_grad_norm_(parameters, clip)
    optimizer.step()
    return norm


def flat(x: Tensor) -> Tensor:
    """(B, T, ...) -> (B T, ...)."""
    return x.flatten(0, 1)
