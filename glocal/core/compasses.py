"""Headings among a robot's numbers, and places that move as it heads, found in what was recorded.

The cosine and the sine of an angle stay on a circle: after standardisation, on an ellipse along the axes. Two numbers
are a place in the plane where actions move them in the axes of such a heading. Told in these axes, turns and steps look
the same wherever a robot is and whichever way it faces.
"""

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

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
        unit = _unit(self.way(numbers))
        return torch.where(self.doubled[..., None] > 0, rotate(unit, unit), unit)


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
    kept: list[Compass] = []
    for gain, offset in _circles(numbers.double().cpu()):
        if len(kept) < MOST and not any(_overlap(gain.to(numbers), other.gain) for other in kept):
            kept.append(Compass(gain.to(numbers), offset.to(numbers), numbers.new_zeros(())))
    return kept


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
            found.append((float(clearer[i] + clearer[j]), Place(weight, by)))
    kept: list[Place] = []
    for _, place in sorted(found, key=lambda one: one[0], reverse=True):
        if len(kept) < MOST and not any(_overlap(place.weight, other.weight) for other in kept):
            kept.append(place)
    return kept


class Bearings(nn.Module):
    """How changes of numbers (d,) are told: of headings as they turn, of places as they head, of others plainly.

    Which are headings and places is found in what was recorded; before that all are others. A heading counts where it
    went round more than half of its circle and never turned by more than a right angle in a step; its numbers come no
    farther from their circle than they were recorded. Others may still say how a place moves.
    """

    turn: Tensor
    centre: Tensor
    radius: Tensor
    place: Tensor
    by_gain: Tensor
    by_offset: Tensor
    by_doubled: Tensor
    turning: Tensor
    moving: Tensor

    def __init__(self, numbers: int):
        super().__init__()
        self.register_buffer("turn", torch.zeros(MOST, 2, numbers))
        self.register_buffer("centre", torch.zeros(MOST, 2))
        self.register_buffer("radius", torch.zeros(MOST, 2))
        self.register_buffer("place", torch.zeros(MOST, 2, numbers))
        self.register_buffer("by_gain", torch.zeros(MOST, 2, numbers))
        self.register_buffer("by_offset", torch.zeros(MOST, 2))
        self.register_buffer("by_doubled", torch.zeros(MOST))
        self.register_load_state_dict_post_hook(_restored)
        self._told_of([], [])

    @torch.no_grad()
    def find(self, before: Float[Tensor, "n d"], action: Float[Tensor, "n a"], after: Float[Tensor, "n d"]) -> None:
        """Find headings and places in recorded numbers."""
        for name in self.state_dict():
            getattr(self, name).zero_()
        rows = spread(len(before), LOOKED_AT, before.device)
        headings, step = compasses(before[rows]), (after - before)[rows]
        for i, one in enumerate(one for one in headings if _turns(one.way(before), one.way(after))):
            self.turn[i], self.centre[i] = one.gain, one.offset
            self.radius[i] = torch.stack(one.way(before).norm(dim=-1).aminmax())
        moves = step * (self.turn == 0).all(1).all(0)
        ways = [one._replace(doubled=one.doubled + doubled) for one in headings for doubled in (0.0, 1.0)]
        for i, place in enumerate(places(before[rows], action[rows], moves, ways)):
            self.place[i] = place.weight
            self.by_gain[i], self.by_offset[i], self.by_doubled[i] = place.by
        self.take_stock()

    def take_stock(self) -> None:
        """See which numbers are headings and places; none of either where nothing was looked for."""
        if not self.turn.is_meta and self.turn.numel():
            found = (part.abs().argmax(-1)[part.flatten(1).any(1)].tolist() for part in (self.turn, self.place))
            self._told_of(*found)

    @property
    def any(self) -> bool:
        """Whether there are headings or places."""
        return bool(self.headings or self.places)

    def _told_of(self, headings: list[list[int]], places: list[list[int]]) -> None:
        self.headings, self.places = headings, places
        device = self.turn.device
        for name, columns in (("turning", headings), ("moving", places)):
            flat = torch.tensor(columns, dtype=torch.long, device=device).flatten()
            self.register_buffer(name, flat, persistent=False)

    def change(self, before: Float[Tensor, "b d"], after: Float[Tensor, "b d"]) -> Float[Tensor, "b d"]:
        """What happened between numbers."""
        change = told = after - before
        if self.headings:
            compass = self._turning()
            here, there = compass.way(before), compass.way(after)
            told = told.index_copy(1, self.turning, unrotate(there - here, _unit(here)).flatten(1))
        if self.places:
            step = self._pairs(change, self.moving) * self._weight()
            told = told.index_copy(1, self.moving, unrotate(step, self._axes(before)).flatten(1))
        return told

    def changed(self, before: Float[Tensor, "b d"], told: Float[Tensor, "b d"]) -> Float[Tensor, "b d"]:
        """Numbers after a change that was told: the inverse of `change`, but that headings stay near their circles."""
        after = before + told
        if self.headings:
            compass = self._turning()
            here = compass.way(before)
            there = here + rotate(self._pairs(told, self.turning), _unit(here))
            nearest, farthest = self.radius[: len(self.headings)].unbind(-1)
            length = there.norm(dim=-1)
            there = _unit(there) * torch.minimum(torch.maximum(length, nearest), farthest)[..., None]
            pairs = (there - compass.offset) / compass.gain.sum(-1)
            after = after.index_copy(1, self.turning, pairs.flatten(1))
        if self.places:
            step = rotate(self._pairs(told, self.moving), self._axes(before)) / self._weight()
            after = after.index_copy(1, self.moving, (self._pairs(before, self.moving) + step).flatten(1))
        return after

    def _turning(self) -> Compass:
        count = len(self.headings)
        return Compass(self.turn[:count], self.centre[:count], self.by_doubled.new_zeros(count))

    def _weight(self) -> Float[Tensor, "m 2"]:
        return self.place[: len(self.places)].sum(-1)

    def _axes(self, numbers: Tensor) -> Float[Tensor, "b m 2"]:
        by = (part[: len(self.places)] for part in (self.by_gain, self.by_offset, self.by_doubled))
        return Compass(*by).heading(numbers)

    def _pairs(self, numbers: Float[Tensor, "b d"], columns: Tensor) -> Float[Tensor, "b m 2"]:
        return numbers[:, columns].unflatten(-1, (-1, 2))


def _restored(bearings: Bearings, _: Any) -> None:
    """After a checkpoint was read."""
    bearings.take_stock()


def _unit(way: Float[Tensor, "*batch 2"]) -> Float[Tensor, "*batch 2"]:
    """Vectors of length 1; where none can be told, the first axis."""
    length = way.norm(dim=-1, keepdim=True)
    return torch.where(length < INNER, way.new_tensor([1.0, 0.0]), way / length.clamp_min(INNER))


def _overlap(one: Float[Tensor, "2 d"], other: Float[Tensor, "2 d"]) -> bool:
    """Whether a number is in both."""
    return bool(((one != 0).any(0) & (other != 0).any(0)).any())


def _turns(here: Float[Tensor, "n 2"], there: Float[Tensor, "n 2"]) -> bool:
    """Whether a heading went round more than half of its circle, and by less than a right angle in each step."""
    if (here * there).sum(-1).min() <= 0:
        return False
    angle = torch.atan2(here[:, 1], here[:, 0]).sort().values
    gaps = torch.cat([angle.diff(), angle[:1] + 2 * torch.pi - angle[-1:]])
    return bool(gaps.max() < torch.pi)


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
