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
"""Mean squared deviation of a squared radius of 1 up to which numbers stay on a circle."""
SWINGS = 0.05
"""Share of the squared radius that both numbers have to vary by."""
DIRECTIONS, TAKEN = 256, 16
"""How many directions, of so many, a heading has to take at least; switches take fewer."""
CLEARER = 0.2
"""Something moves as a heading says where actions, told in its axes, explain so much more of its steps."""
ALIKE = 0.9
"""Cosine between what actions do to one number of a place, a quarter turn on, and what they do to the other."""
LOOKED_AT = 4096
"""Recorded control steps that are looked at."""


class Compass(NamedTuple):
    """A heading that numbers x (d,) tell: along `gain` x + `offset`, or where it is `doubled` at twice that angle.

    All three may be of many headings (*m), one behind the other.
    """

    gain: Float[Tensor, "*m 2 d"]
    offset: Float[Tensor, "*m 2"]
    doubled: Float[Tensor, "*m"]

    def heading(self, numbers: Float[Tensor, "*batch d"]) -> Float[Tensor, "*each 2"]:
        """Cosines and sines, of numbers and of headings that are broadcast against one another."""
        way = _unit((self.gain @ numbers[..., None]).squeeze(-1) + self.offset)
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
    return rotate(xy, turn * turn.new_tensor([1.0, -1.0]))


def evenly(count: int, most: int, device: torch.device) -> Int[Tensor, " n"]:
    """At most so many of `count` rows, evenly spread."""
    kept = min(count, most)
    return torch.arange(kept, device=device) * count // max(1, kept)


def fitted(told: Float[Tensor, "n p"], step: Float[Tensor, "n q"]) -> tuple[Tensor, Tensor]:
    """Coefficients (p, q) of a least-squares fit, and the variance (q,) that it leaves, adjusted for their number."""
    found = torch.linalg.lstsq(told, step, driver="gelsd").solution
    return found, (step - told @ found).pow(2).sum(0) / max(1, len(told) - told.shape[1])


def compasses(numbers: Float[Tensor, "n d"]) -> list[Compass]:
    """What may be headings in recorded numbers, the roundest first."""
    if numbers.shape[1] < 2:
        return []
    circles = ((part.to(numbers) for part in circle) for circle in _circles(numbers.double().cpu()))
    return [Compass(gain, offset, gain.new_zeros(())) for gain, offset in circles]


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
    """The places among numbers that `step` was added to, those that actions explain best first; none twice."""
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
        for i, j in torch.combinations((clearer > CLEARER).nonzero()[:, 0]).tolist():
            if alike[i, j].abs() > ALIKE:
                weight = torch.zeros_like(by.gain)
                weight[0, i], weight[1, j] = float(1 / size[i]), float(alike[i, j].sign() / size[j])
                found.append((float(clearer[i] + clearer[j]), Place(weight, by)))
    kept: list[Place] = []
    for _, place in sorted(found, key=lambda one: one[0], reverse=True):
        if not any((place.weight != 0).any(0)[(other.weight != 0).any(0)].any() for other in kept):
            kept.append(place)
    return kept[:MOST]


class Bearings(nn.Module):
    """How changes of numbers (d,) are told: of headings how far they turn, of places as they head, of others plainly.

    Which are headings and places is found in what was recorded; before that all are others. Headings stay on circles.
    """

    turn: Tensor
    centre: Tensor
    place: Tensor
    gain: Tensor
    offset: Tensor
    doubled: Tensor

    def __init__(self, numbers: int):
        super().__init__()
        self.register_buffer("turn", torch.zeros(MOST, 2, numbers))
        self.register_buffer("centre", torch.zeros(MOST, 2))
        self.register_buffer("place", torch.zeros(MOST, 2, numbers))
        self.register_buffer("gain", torch.zeros(MOST, 2, numbers))
        self.register_buffer("offset", torch.zeros(MOST, 2))
        self.register_buffer("doubled", torch.zeros(MOST))
        self.register_load_state_dict_post_hook(_restored)
        self.turns = self.places = 0

    @torch.no_grad()
    def find(self, before: Float[Tensor, "n d"], action: Float[Tensor, "n a"], after: Float[Tensor, "n d"]) -> None:
        """Find headings and places in recorded numbers."""
        for buffer in self.buffers():
            buffer.zero_()
        rows = evenly(len(before), LOOKED_AT, before.device)
        before, action, after = before[rows], action[rows], after[rows]
        headings = _apart(compasses(before))
        for i, one in enumerate(headings):
            self.turn[i], self.centre[i] = one.gain, one.offset
        moves = (after - before) * (self.turn == 0).all(1).all(0)
        ways = [one._replace(doubled=one.doubled + doubled) for one in headings for doubled in (0.0, 1.0)]
        for i, place in enumerate(places(before, action, moves, ways)):
            self.place[i] = place.weight
            self.gain[i], self.offset[i], self.doubled[i] = place.by
        self.take_stock()

    def take_stock(self) -> None:
        """See how many headings and places there are."""
        if not self.turn.is_meta:
            self.turns, self.places = (int(part.flatten(1).any(1).sum()) for part in (self.turn, self.place))

    def change(self, before: Float[Tensor, "b d"], after: Float[Tensor, "b d"]) -> Float[Tensor, "b d"]:
        """What happened between numbers."""
        change = told = after - before
        if self.turns:
            here = self._headings(before)
            told = _put(told, unrotate(self._headings(after) - here, here), self.turn[: self.turns])
        if self.places:
            told = _put(told, unrotate(self._steps(change), self._axes(before)), self.place[: self.places])
        return told

    def changed(self, before: Float[Tensor, "b d"], told: Float[Tensor, "b d"]) -> Float[Tensor, "b d"]:
        """Numbers after a change that was told: the inverse of `change`."""
        after = before + told
        if self.turns:
            here, gain = self._headings(before), self.turn[: self.turns]
            there = _unit(here + rotate(_taken(told, gain), here))
            after = _put(after, (there - self.centre[: self.turns]) / gain.sum(-1), gain)
        if self.places:
            weight = self.place[: self.places]
            step = rotate(_taken(told, weight), self._axes(before)) / weight.sum(-1)
            after = _put(after, _taken(before, weight) + step, weight)
        return after

    def pairs(self) -> tuple[list[list[int]], list[list[int]]]:
        """The columns of headings, and those of places."""
        found = (part[:count].abs().argmax(-1) for part, count in ((self.turn, self.turns), (self.place, self.places)))
        headings, moving = (rows.tolist() for rows in found)
        return headings, moving

    def _headings(self, numbers: Tensor) -> Float[Tensor, "b m 2"]:
        gain, centre = self.turn[: self.turns], self.centre[: self.turns]
        return Compass(gain, centre, torch.zeros_like(centre[:, 0])).heading(numbers[:, None])

    def _axes(self, numbers: Tensor) -> Float[Tensor, "b m 2"]:
        told = (part[: self.places] for part in (self.gain, self.offset, self.doubled))
        return Compass(*told).heading(numbers[:, None])

    def _steps(self, change: Tensor) -> Float[Tensor, "b m 2"]:
        return (self.place[: self.places] @ change[:, None, :, None]).squeeze(-1)


def _restored(bearings: Bearings, _: Any) -> None:
    """After a checkpoint was read."""
    bearings.take_stock()


def _unit(way: Float[Tensor, "*batch 2"]) -> Float[Tensor, "*batch 2"]:
    return way / way.norm(dim=-1, keepdim=True).clamp_min(1e-6)


def _taken(numbers: Float[Tensor, "b d"], weight: Float[Tensor, "m 2 d"]) -> Float[Tensor, "b m 2"]:
    """The numbers of pairs, which are where they have weights."""
    return torch.einsum("bd,mkd->bmk", numbers, (weight != 0).to(numbers.dtype))


def _put(
    numbers: Float[Tensor, "b d"], pairs: Float[Tensor, "b m 2"], weight: Float[Tensor, "m 2 d"]
) -> Float[Tensor, "b d"]:
    """Numbers with pairs in their places."""
    where = (weight != 0).to(numbers.dtype)
    return numbers * (1 - where.sum((0, 1))) + torch.einsum("bmk,mkd->bd", pairs, where)


def _apart(found: Sequence[Compass]) -> list[Compass]:
    """Headings none of whose numbers are those of one before."""
    kept: list[Compass] = []
    for one in found:
        if not any(((one.gain != 0).any(0) & (other.gain != 0).any(0)).any() for other in kept):
            kept.append(one)
    return kept


def _circles(numbers: Float[Tensor, "n d"]) -> Iterator[tuple[Float[Tensor, "2 d"], Float[Tensor, "2"]]]:
    """How pairs of numbers that stay on an ellipse along the axes become a unit circle, the roundest first."""
    count = numbers.shape[1]
    told = torch.cat([numbers**2, numbers], dim=1)
    squares, sums = told.T @ told / len(told), told.mean(0)
    spread = numbers.var(0, correction=0)
    pairs = torch.combinations(torch.arange(count))
    rows = torch.stack([pairs, count + pairs], dim=-1)  # of a x^2 + b x + c y^2 + d y, which is 1 on an ellipse
    known = squares[rows.flatten(1)[:, :, None], rows.flatten(1)[:, None]]
    found = torch.linalg.lstsq(known, sums[rows].flatten(1)[..., None], driver="gelsd").solution.view(-1, 2, 2)
    strays = 1 - (sums[rows] * found).sum((1, 2))
    is_round = (strays < ROUND) & (found[..., 0] * spread[pairs] > 0).all(1)
    for number in strays.masked_fill(~is_round, torch.inf).argsort()[: min(MOST, int(is_round.sum()))].tolist():
        square, linear = found[number].T
        gain, offset = numbers.new_zeros(2, count), linear / (2 * square.sqrt())
        gain[[0, 1], pairs[number]] = square.sqrt()
        radius = (1 + offset.pow(2).sum()).sqrt()
        gain, offset = gain / radius, offset / radius
        angle = torch.atan2(*(numbers @ gain.T + offset).T)
        directions = (angle / (2 * torch.pi) * DIRECTIONS).round().unique()
        if ((gain**2 @ spread) > SWINGS).all() and len(directions) >= TAKEN:
            yield gain, offset
