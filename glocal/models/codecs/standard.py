"""Vectors that a robot senses, standardised and put side by side."""

from collections.abc import Mapping

import torch
from torch import Tensor

from glocal.core.spec import Part
from glocal.core.types import FittedCodec


class StandardCodec(FittedCodec):
    """Each part (d,) as the logs have it, to numbers of mean 0 and standard deviation 1 over all that was recorded.

    Numbers that hardly change are left at their own scale: what was never varied tells models nothing, and must not
    shake them where it differs a little.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, parts: tuple[Part, ...]):
        super().__init__()
        self.parts = parts
        self.reads = tuple(part.name for part in parts)
        count = sum(part.size for part in parts)
        self.register_buffer("mean", torch.zeros(count))
        self.register_buffer("std", torch.ones(count))

    @torch.no_grad()
    def fit_statistics(self, fields: Mapping[str, Tensor]) -> None:
        """Take mean and standard deviation of recorded fields, each (n, d)."""
        values = self._joined(fields).double()
        std = values.std(0, correction=0)
        moves = std > 1e-6 * values.abs().amax(0).clamp_min(1.0)
        self.mean.copy_(values.mean(0))
        self.std.copy_(torch.where(moves, std, torch.ones_like(std)))

    def encode(self, fields: Mapping[str, Tensor]) -> Tensor:
        return (self._joined(fields) - self.mean) / self.std

    def decode(self, obs: Tensor) -> dict[str, Tensor]:
        values = (obs * self.std + self.mean).split([part.size for part in self.parts], dim=-1)
        return dict(zip(self.reads, values, strict=True))

    def _joined(self, fields: Mapping[str, Tensor]) -> Tensor:
        return torch.cat([fields[name].float() for name in self.reads], dim=-1)
