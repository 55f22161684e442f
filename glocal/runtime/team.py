"""Several processes that train as one, as `torchrun` starts them: each works at its share of every minibatch."""

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from glocal.runtime.files import UserError


@dataclass(frozen=True)
class Team:
    """Which of how many processes this is; one alone is a team, too."""

    rank: int = 0
    size: int = 1

    @property
    def leads(self) -> bool:
        """Whether this is the process that reads commands, writes files and says how far it is."""
        return self.rank == 0

    def share(self, parts: int) -> range:
        """Which of some parts are this process's."""
        return range(self.rank, parts, self.size)

    def add(self, tensors: Sequence[Tensor]) -> None:
        """Put in place of tensors their sums over all processes."""
        if self.size == 1:
            return
        flat = torch.cat([x.detach().flatten() for x in tensors])
        dist.all_reduce(flat)
        for x, summed in zip(tensors, flat.split([x.numel() for x in tensors]), strict=True):
            x.detach().copy_(summed.view_as(x))

    def tell(self, what: Any = None) -> Any:
        """What the leading process says, to all of them."""
        said = [what]
        if self.size > 1:
            dist.broadcast_object_list(said, src=0)
        return said[0]

    def wait(self) -> None:
        """Go on when all are here."""
        if self.size > 1:
            dist.barrier()


_ALONE = Team()
_working: list[Team] = [_ALONE]
"""Who works at what is being done, the last of them now."""


def team() -> Team:
    """The processes that work together at what is being done: this one alone, but inside `together`."""
    return _working[-1]


@contextmanager
def together() -> Iterator[Team]:
    """Let all processes that were started work at what is done in the block; they all have to enter it."""
    _working.append(started())
    try:
        yield team()
    finally:
        _working.pop()


@contextmanager
def apart() -> Iterator[None]:
    """Let this process work alone at what is done in the block."""
    _working.append(_ALONE)
    try:
        yield
    finally:
        _working.pop()


def leave() -> None:
    """Take leave of the others, when all are through: a process that ends without it may break what another still
    receives."""
    if dist.is_initialized():
        dist.barrier()
        dist.destroy_process_group()


def started() -> Team:
    """All processes that `torchrun` started, this one among them; they meet on the first call."""
    if int(os.environ.get("WORLD_SIZE", "1")) == 1:
        return _ALONE
    if not dist.is_initialized():
        cuda = torch.cuda.is_available()
        if cuda:
            torch.cuda.set_device(int(os.environ.get("LOCAL_RANK", "0")))
        try:
            dist.init_process_group("nccl" if cuda else "gloo")
        except ValueError as error:
            raise UserError(
                f"WORLD_SIZE is {os.environ['WORLD_SIZE']}, but the processes cannot meet ({error}); start them with "
                "torchrun, or unset it"
            ) from error
    return Team(dist.get_rank(), dist.get_world_size())
