"""Changes of a robot's numbers, told in its own axes: a step looks the same wherever it is and however it faces."""

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from glocal.core.compasses import LOOKED_AT, MOST, Compass, compasses, places, rotate, spread, unit, unrotate


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
            told = told.index_copy(1, self.turning, unrotate(there - here, unit(here)).flatten(1))
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
            there = here + rotate(self._pairs(told, self.turning), unit(here))
            nearest, farthest = self.radius[: len(self.headings)].unbind(-1)
            length = there.norm(dim=-1)
            there = unit(there) * torch.minimum(torch.maximum(length, nearest), farthest)[..., None]
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


def _turns(here: Float[Tensor, "n 2"], there: Float[Tensor, "n 2"]) -> bool:
    """Whether a heading went round more than half of its circle, and by less than a right angle in each step."""
    if (here * there).sum(-1).min() <= 0:
        return False
    angle = torch.atan2(here[:, 1], here[:, 0]).sort().values
    gaps = torch.cat([angle.diff(), angle[:1] + 2 * torch.pi - angle[-1:]])
    return bool(gaps.max() < torch.pi)
