"""Headings among a robot's numbers, found in what was recorded: the cosine and the sine of an angle stay on a circle.

Where a robot moves as it is told in its own axes, pictures alone need not show which way it faces, and its own numbers
often do. After standardisation such a pair lies on an ellipse along the axes. Which way round the picture shows the
angle, and whether numbers tell half of it, as quaternions do, is for others to find out: all ways are told.
"""

from collections.abc import Iterator
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

MOST = 8
"""Pairs of numbers that are taken for headings, those that stay nearest to a circle first."""
ROUND = 1e-3
"""Mean squared deviation of a squared radius of 1 up to which numbers stay on a circle."""
SWINGS = 0.05
"""Share of the squared radius that both numbers have to vary by."""


class Compass(NamedTuple):
    """A heading that numbers x (d,) tell: along `gain` x + `offset`, or where it is `doubled` at twice that angle.

    All three may be of many headings (*m), one behind the other.
    """

    gain: Float[Tensor, "*m 2 d"]
    offset: Float[Tensor, "*m 2"]
    doubled: Float[Tensor, "*m"]

    def heading(self, numbers: Float[Tensor, "*batch d"]) -> Float[Tensor, "*each 2"]:
        """Cosines and sines, of numbers and of headings that are broadcast against one another."""
        way = (self.gain @ numbers[..., None]).squeeze(-1) + self.offset
        cos, sin = (way / way.norm(dim=-1, keepdim=True).clamp_min(1e-6)).unbind(-1)
        twice = torch.stack([cos * cos - sin * sin, 2 * cos * sin], dim=-1)
        return torch.where(self.doubled[..., None] > 0, twice, torch.stack([cos, sin], dim=-1))


def compasses(numbers: Float[Tensor, "n d"]) -> list[Compass]:
    """What may be headings in recorded numbers, each turning either way, as it is and doubled."""
    found: list[Compass] = []
    if numbers.shape[1] < 2:
        return found
    for gain, offset in _circles(numbers.double()):
        for hand in (1.0, -1.0):
            turned = gain.new_tensor([1.0, hand])
            for doubled in (0.0, 1.0):
                found.append(Compass(turned[:, None] * gain, turned * offset, gain.new_tensor(doubled)))
    return found


def _circles(numbers: Float[Tensor, "n d"]) -> Iterator[tuple[Float[Tensor, "2 d"], Float[Tensor, "2"]]]:
    """How pairs of numbers that stay on an ellipse along the axes become a unit circle, the roundest first."""
    count = numbers.shape[1]
    told = torch.cat([numbers**2, numbers], dim=1)
    squares, sums = told.T @ told / len(told), told.mean(0)
    spread = numbers.var(0, correction=0)
    fits = []
    for i, j in torch.combinations(torch.arange(count)).tolist():
        rows = torch.tensor([i, count + i, j, count + j], device=numbers.device)
        found = torch.linalg.lstsq(squares[rows][:, rows].cpu(), sums[rows, None].cpu(), driver="gelsd").solution[:, 0]
        strays = 1 - float(sums[rows].cpu() @ found)
        (a, b), (c, d) = found[:2].tolist(), found[2:].tolist()
        if strays < ROUND and a * spread[i] > 0 and c * spread[j] > 0:
            fits.append((strays, (i, a, b), (j, c, d)))
    for _, *pair in sorted(fits)[:MOST]:
        gain, offset = numbers.new_zeros(2, count), numbers.new_zeros(2)
        for k, (column, square, linear) in enumerate(pair):  # square x^2 + linear x, less a constant, is a square
            gain[k, column], offset[k] = square**0.5, linear / (2 * square**0.5)
        radius = (1 + offset.pow(2).sum()).sqrt()
        if all(gain[k, pair[k][0]].pow(2) * spread[pair[k][0]] > SWINGS * radius**2 for k in range(2)):
            yield (gain / radius).float(), (offset / radius).float()
