"""What an observation is made of: one row of numbers, in named parts."""

import math
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor


@dataclass(frozen=True)
class Part:
    """One thing that an observation holds: a vector (d,), tokens (n, d) or a grid (c, h, w)."""

    name: str
    shape: tuple[int, ...]

    @property
    def size(self) -> int:
        """How many numbers it takes."""
        return math.prod(self.shape)


@dataclass(frozen=True)
class Spec:
    """What models see and do: an observation's parts, one behind the other in a row of numbers of about one, and the
    dimensions of an action in [-1, 1]."""

    parts: tuple[Part, ...]
    action_dim: int

    @property
    def obs_dim(self) -> int:
        """Numbers in one observation."""
        return sum(part.size for part in self.parts)

    @property
    def names(self) -> tuple[str, ...]:
        """What the parts are called."""
        return tuple(part.name for part in self.parts)

    def part(self, name: str) -> Part:
        """The part of this name."""
        return next(part for part in self.parts if part.name == name)

    def columns(self, name: str) -> slice:
        """Where in an observation a part stands."""
        begin = 0
        for part in self.parts:
            if part.name == name:
                return slice(begin, begin + part.size)
            begin += part.size
        raise KeyError(name)

    def split(self, obs: Float[Tensor, "*batch d"]) -> dict[str, Tensor]:
        """The parts of observations, each (*batch, *shape)."""
        return {part.name: obs[..., self.columns(part.name)].unflatten(-1, part.shape) for part in self.parts}

    def bounded(self, obs: Float[Tensor, "*batch d"]) -> Float[Tensor, "*batch d"]:
        """Observations whose grids, tokens and points are within what codecs make, from -1 to 1; vectors are free."""
        parts = zip(self.parts, self.split(obs).items(), strict=True)
        return self.join({name: x if len(part.shape) == 1 else x.clamp(-1, 1) for part, (name, x) in parts})

    def join(self, parts: Mapping[str, Tensor]) -> Float[Tensor, "*batch d"]:
        """The observations (*batch, d) that parts, each (*batch, *shape), make up."""
        return torch.cat([parts[part.name].flatten(-len(part.shape)) for part in self.parts], dim=-1)
