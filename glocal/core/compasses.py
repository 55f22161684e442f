"""Headings among a robot's numbers, and places that move as it heads, found in what was recorded.

The cosine and the sine of an angle stay on a circle: after standardisation, on an ellipse along the axes. Two numbers
are a place in the plane where actions move them in the axes of such a heading (`Bearings` tells changes in these).
"""

from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple, TypeVar

import torch
from jaxtyping import Float, Int
from torch import Tensor

T = TypeVar("T")
MOST = 8
"""Pairs of numbers that are taken for headings, those that stay nearest to a circle first; and for places."""
ROUND = 1e-3
"""Mean squared deviation of a squared radius from 1 up to which numbers stay on a circle."""
LIKELY = 0.2
"""What a fit of a circle leaves unexplained, up to which a pair of numbers is looked at closely."""
SWINGS = 0.01
"""Variance that both numbers have to have, where the radius is 1."""
DIRECTIONS, TAKEN, HELD = 64, 12, 0.005
"""A heading has taken so many of so many directions at least, each in this share of the rows: switches take fewer."""
CLEARER = 0.2
"""Something moves as a heading says where actions, told in its axes, explain so much more of its steps."""
ALIKE = 0.9
"""Cosine between what actions do to one number of a place, a quarter turn on, and what they do to the other."""
LOOKED_AT, ENOUGH = 4096, 64
"""Recorded control steps that are looked at, at most, and at least: in fewer anything may look like anything."""
INNER = 0.1
"""Radius within which no heading can be told from numbers; it counts as the first axis."""


class Compass(NamedTuple):
    """A heading that numbers x (d,) tell: along `gain` x + `offset`, or where it is `doubled` at twice that angle.

    All three may be of several headings (*m), one behind the other.
    """

    gain: Float[Tensor, "*m 2 d"]
    offset: Float[Tensor, "*m 2"]
    doubled: Float[Tensor, "*m"]

    def way(self, numbers: Float[Tensor, "*batch d"]) -> Float[Tensor, "*batch_m 2"]:
        """Vectors (*batch, *m, 2) along the headings, of about length 1, not doubled."""
        told = numbers @ self.gain.flatten(0, -2).T
        return told.unflatten(-1, self.offset.shape) + self.offset

    def heading(self, numbers: Float[Tensor, "*batch d"]) -> Float[Tensor, "*batch_m 2"]:
        """Cosines and sines (*batch, *m, 2)."""
        way = unit(self.way(numbers))
        return torch.where(self.doubled[..., None] > 0, rotate(way, way), way)


class Place(NamedTuple):
    """Two numbers of d that are a place: `weight` x is that place in units of its steps, and it moves as `by` heads."""

    weight: Float[Tensor, "2 d"]
    by: Compass


def rotate(xy: Float[Tensor, "..."], turn: Float[Tensor, "..."]) -> Float[Tensor, "..."]:
    """Turn vectors (..., 2) by angles whose cosines and sines (..., 2) are given."""
    (x, y), (cos, sin) = xy.unbind(-1), turn.unbind(-1)
    return torch.stack([cos * x - sin * y, sin * x + cos * y], dim=-1)


def unrotate(xy: Float[Tensor, "..."], turn: Float[Tensor, "..."]) -> Float[Tensor, "..."]:
    """Turn vectors back."""
    (x, y), (cos, sin) = xy.unbind(-1), turn.unbind(-1)
    return torch.stack([cos * x + sin * y, cos * y - sin * x], dim=-1)


def unit(way: Float[Tensor, "*batch 2"]) -> Float[Tensor, "*batch 2"]:
    """Vectors of length 1; where none can be told, the first axis."""
    length = way.norm(dim=-1, keepdim=True)
    return torch.where(length < INNER, way.new_tensor([1.0, 0.0]), way / length.clamp_min(INNER))


def spread(count: int, most: int, device: torch.device) -> Int[Tensor, " n"]:
    """At most so many of `count` rows: one of each of as many equal stretches, always the same, in no rhythm."""
    if count <= most:
        return torch.arange(count, device=device)
    within = torch.rand(most, generator=torch.Generator().manual_seed(0), dtype=torch.double)
    return ((torch.arange(most) + within) * (count / most)).long().clamp_max(count - 1).to(device)


def fitted(told: Float[Tensor, "n p"], step: Float[Tensor, "n q"]) -> tuple[Tensor, Tensor]:
    """Coefficients (p, q) of a least-squares fit, and the variance (q,) that it leaves, adjusted for their number."""
    found = torch.linalg.lstsq(told, step, driver="gelsd").solution
    return found, (step - told @ found).pow(2).sum(0) / max(1, len(told) - told.shape[1])


def compasses(numbers: Float[Tensor, "n d"]) -> list[Compass]:
    """What may be headings in recorded numbers, the roundest first; no number is in two of them."""
    if numbers.shape[1] < 2 or len(numbers) < ENOUGH:
        return []
    found = ((gain.to(numbers), offset.to(numbers)) for gain, offset in _circles(numbers.double().cpu()))
    return [Compass(gain, offset, numbers.new_zeros(())) for gain, offset in _apart(found)]


def all_ways(found: Sequence[Compass]) -> list[Compass]:
    """Headings as they are and as a mirror shows them, and at twice their angle, of which quaternions hold half."""
    ways = []
    for one in found:
        for hand in (1.0, -1.0):
            turned = one.gain.new_tensor([1.0, hand])
            for doubled in (0.0, 1.0):
                ways.append(Compass(turned[:, None] * one.gain, turned * one.offset, one.doubled + doubled))
    return ways


def places(
    numbers: Float[Tensor, "n d"],
    action: Float[Tensor, "n a"],
    step: Float[Tensor, "n d"],
    headings: Sequence[Compass],
) -> list[Place]:
    """The places among numbers that `step` was added to, those that actions explain best first; no number is in two of
    them, nor in one where its step is 0."""
    if not headings:
        return []
    action, step = action.double().cpu(), step.double().cpu()
    one, whole = torch.ones_like(action[:, :1]), step.var(0, correction=0).clamp_min(1e-12)
    _, plain = fitted(torch.cat([action, one], dim=1), step)
    found = []
    for by in headings:
        acted = by.heading(numbers).double().cpu()[:, :, None] * action[:, None]
        reach, left = fitted(torch.cat([acted.flatten(1), one], dim=1), step)
        clearer = (plain - left) / whole
        across, along = reach[:-1].view(2, -1, step.shape[1])
        size = reach[:-1].norm(dim=0).clamp_min(1e-12)
        alike = (torch.cat([-along, across]).T @ torch.cat([across, along])) / (size[:, None] * size)
        moved = (clearer > CLEARER)[:, None] & (clearer > CLEARER)
        for i, j in (moved & (alike.abs() > ALIKE)).triu(1).nonzero().tolist():
            weight = torch.zeros_like(by.gain)
            weight[0, i], weight[1, j] = float(1 / size[i]), float(alike[i, j].sign() / size[j])
            found.append((float(clearer[i] + clearer[j]), weight, by))
    found.sort(key=lambda one: one[0], reverse=True)
    return [Place(weight, by) for weight, by in _apart((weight, by) for _, weight, by in found)]


def _apart(found: Iterable[tuple[Tensor, T]]) -> list[tuple[Tensor, T]]:
    """The first `MOST`, each told by the pair of numbers (2, d) that it weighs; no number is in two of them."""
    kept: list[tuple[Tensor, T]] = []
    for weight, other in found:
        taken = sum(((one != 0).any(0) for one, _ in kept), torch.zeros_like(weight[0], dtype=torch.bool))
        if len(kept) < MOST and not (taken & (weight != 0).any(0)).any():
            kept.append((weight, other))
    return kept


def _circles(numbers: Float[Tensor, "n d"]) -> Iterator[tuple[Float[Tensor, "2 d"], Float[Tensor, "2"]]]:
    """How pairs of numbers that stay on an ellipse along the axes become a unit circle, the roundest first."""
    count, mean = numbers.shape[1], numbers.mean(0)
    numbers = numbers - mean
    told = torch.cat([numbers**2, numbers], dim=1)
    squares, sums = told.T @ told / len(told), told.mean(0)
    pairs = torch.combinations(torch.arange(count))
    rows = torch.stack([pairs, count + pairs], dim=-1)  # of a x^2 + b x + c y^2 + d y, which is 1 on an ellipse
    known = squares[rows.flatten(1)[:, :, None], rows.flatten(1)[:, None]]
    fits = torch.linalg.lstsq(known, sums[rows].flatten(1)[..., None], driver="gelsd").solution.view(-1, 2, 2)
    square, linear = fits.unbind(-1)
    gain = square.clamp_min(0).sqrt()
    offset = linear / (2 * gain.clamp_min(1e-6))
    radius = (1 + offset.pow(2).sum(1, keepdim=True)).sqrt()
    gain, offset = gain / radius, offset / radius
    likely = (1 - (sums[rows] * fits).sum((1, 2)) < LIKELY) & (gain**2 * numbers.var(0)[pairs] > SWINGS).all(1)
    found = []
    for k in likely.nonzero()[:, 0].tolist():
        way = numbers[:, pairs[k]] * gain[k] + offset[k]
        strays = float((way.pow(2).sum(1) - 1).pow(2).mean())
        angle = torch.atan2(way[:, 1], way[:, 0]) / (2 * torch.pi) * DIRECTIONS
        held = angle.floor().long().remainder(DIRECTIONS).bincount(minlength=DIRECTIONS) > HELD * len(way)
        if strays < ROUND and held.sum() >= TAKEN:
            found.append((strays, k))
    for _, k in sorted(found):
        whole = numbers.new_zeros(2, count)
        whole[[0, 1], pairs[k]] = gain[k]
        yield whole, offset[k] - whole @ mean
