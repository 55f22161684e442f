"""The pictures of all cameras in one row of bytes, one camera behind the other: what `Segment.pictures` holds."""

from collections.abc import Sequence

import torch
from jaxtyping import UInt8
from torch import Tensor

CHANNELS = 3


def packed(pictures: Sequence[UInt8[Tensor, "*batch _ _ 3"]]) -> UInt8[Tensor, "*batch p"]:
    """The rows of bytes (*batch, p) of every camera's pictures, each (*batch, side, side, 3)."""
    return torch.cat([one.flatten(-3) for one in pictures], dim=-1)


def unpacked(row: UInt8[Tensor, "*batch p"], sides: Sequence[int]) -> list[UInt8[Tensor, "*batch _ _ 3"]]:
    """The pictures of cameras with these sides, each (*batch, side, side, 3)."""
    parts = row.split([CHANNELS * side**2 for side in sides], dim=-1)
    return [part.unflatten(-1, (side, side, CHANNELS)) for part, side in zip(parts, sides, strict=True)]
