"""How numbers are seen from others that move them: what contacts look like, found in what was recorded.

Most things rest until something reaches them. While a thing is being moved, its place follows from where the robot is
and which way it goes, but for a little; at all other times it does not. So the difference between the two says how the
thing is seen from the robot, whatever the units and axes that each of them is told in. Networks that see places alone
have to learn every contact at every place anew; seen from the robot it looks the same wherever it happens.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from glocal.core.compasses import fitted, spread
from glocal.core.nets import harmonics

MOST = 12
"""Relations, at most; of more, those that moves tell the most of are taken."""
FEW = 3
"""Numbers that one is seen from, at most."""
LOOKED_AT, ENOUGH = 4096, 100
"""Moves of a number that are looked at, at most, and at least."""
MOVES = 2.0
"""Changes of more than so many times the typical one are moves."""
BURSTS = 6.0
"""Kurtosis from which on changes come in bursts, as those of what rests until it is moved do; noise has 3."""
TOGETHER = 0.5
"""Numbers of which so many moves are at the same time, at least, are of one thing."""
HELPS = 0.85
"""Another number has to leave less than this of what is off."""
TELLS = 0.7
"""Together they have to leave less than this of what is off without them, and of what they are off by at rest."""
STILL = 1e-3
"""What is off without a relation, and with it at rest, at least: what holds at all times says nothing of contacts."""
TRIM, ROUNDS = 2.5, 3
"""Rows that are off by more than so many deviations are left out of a fit, anew in every round."""
WIDEST = 4.0
"""Relations are told in twice what they are off by in moves, or in larger units so that they deviate by no more."""
ALIKE = 0.98
"""Where there are too many, of two whose values are correlated by more than this the less telling one is left out."""
NORMAL = 0.6745
"""The median of what a normal number is off by, in its deviations."""


class Relation(NamedTuple):
    """A number `thing` as seen from the numbers `by`: weight (d,) and offset (); `told` is how little is off in moves,
    as a share of what it is at rest."""

    thing: int
    by: tuple[int, ...]
    weight: Tensor
    offset: Tensor
    told: float


class Relations(nn.Module):
    """Numbers (d,) as seen from those that move them: `weight` and `offset` of linear combinations, in units of what
    they are off by in moves. The first `count` were found, the others are 0; before relations are looked for there is
    room for all."""

    weight: Tensor
    offset: Tensor

    def __init__(self, numbers: int):
        super().__init__()
        count = min(MOST, numbers)
        self.register_buffer("weight", torch.zeros(count, numbers))
        self.register_buffer("offset", torch.zeros(count))
        self.count = count
        self.register_load_state_dict_post_hook(_restored)

    @torch.no_grad()
    def find(
        self,
        before: Float[Tensor, "n d"],
        after: Float[Tensor, "n d"],
        things: Bool[Tensor, " d"] | None = None,
        movers: Bool[Tensor, " d"] | None = None,
    ) -> None:
        """Find relations in recorded numbers, which have a deviation of about one; where it is said, only how `things`
        are seen from `movers`."""
        self.weight.zero_()
        self.offset.zero_()
        self.count = 0
        if not self.weight.numel():
            return
        every = torch.ones(before.shape[1], dtype=torch.bool)
        before, after = before.double().cpu(), after.double().cpu()
        found = relations(before, after, *(every if x is None else x.cpu() for x in (things, movers)))
        if len(found) > len(self.weight):
            found = _different(found, before)[: len(self.weight)]
        self.count = len(found)
        for i, one in enumerate(found):
            self.weight[i], self.offset[i] = one.weight, one.offset

    def forward(self, numbers: Float[Tensor, "b d"], scales: int) -> Float[Tensor, "b f"]:
        """How numbers are seen, as it is and in `scales` waves; always as much, with zeros for what was not found."""
        seen = numbers @ self.weight.T + self.offset
        known = self.weight.any(1)
        return torch.cat([seen, harmonics(seen / 4, scales) * known.repeat_interleave(scales).repeat(2)], dim=-1)

    def told(self, numbers: Float[Tensor, "b d"], scales: int) -> Float[Tensor, "b f"]:
        """The same, of those alone that were found."""
        seen = numbers @ self.weight[: self.count].T + self.offset[: self.count]
        return torch.cat([seen, harmonics(seen / 4, scales)], dim=-1)

    def found(self, names: Sequence[str]) -> list[str]:
        """What was found, in words, of numbers with these names."""
        told = []
        for row in self.weight.tolist():
            used = sorted((j for j, x in enumerate(row) if x), key=lambda j: -row[j])
            if used:
                told.append(f"{names[used[0]]} as seen from {' and '.join(names[j] for j in used[1:])}")
        return told


def _restored(relations: Relations, _: Any) -> None:
    """After a checkpoint was read."""
    relations.count = int(relations.weight.any(1).sum())


def relations(
    before: Float[Tensor, "n d"], after: Float[Tensor, "n d"], things: Bool[Tensor, " d"], movers: Bool[Tensor, " d"]
) -> list[Relation]:
    """How `things` are seen from those `movers` that move them, the most telling first."""
    step = after - before
    typical = step.pow(2).mean(0).sqrt().clamp_min(1e-9)
    moves = step.abs() > MOVES * typical
    count = moves.sum(0)
    bursts = (step / typical).pow(4).mean(0) > BURSTS
    together = moves.T.double() @ moves.double() / torch.minimum(count, count[:, None]).clamp_min(1)
    varies = before.std(0) > STILL
    found = []
    for thing in (things & bursts & (count >= ENOUGH) & varies).nonzero().flatten().tolist():
        apart = movers & (~bursts | (together[thing] < TOGETHER))
        others = (varies & apart).nonzero().flatten().tolist()
        side = (step[:, thing] / typical[thing]).asinh()
        one = _seen_from(thing, [j for j in others if j != thing], before, side, moves[:, thing])
        found += [one] if one else []
    return sorted(found, key=lambda one: one.told)


def _different(found: list[Relation], numbers: Float[Tensor, "n d"]) -> list[Relation]:
    """Those that do not say what one before them says already."""
    kept: list[Relation] = []
    said = numbers.new_zeros(len(numbers), 0)
    for one in found:
        value = (numbers @ one.weight.to(numbers))[:, None]
        if not kept or float(_correlation(torch.ones_like(value), said, value[:, 0]).max()) <= ALIKE:
            kept, said = [*kept, one], torch.cat([said, value], dim=1)
    return kept


def _seen_from(
    thing: int, others: list[int], numbers: Float[Tensor, "n d"], side: Float[Tensor, " n"], moves: Bool[Tensor, " n"]
) -> Relation | None:
    """How a number is seen from some of the others; which way it goes says on which side of it they are."""
    rows = moves.nonzero().flatten()
    rows = rows[spread(len(rows), LOOKED_AT, rows.device)]
    seen, plain = numbers[rows], torch.stack([side[rows], torch.ones_like(side[rows])], dim=1)
    place = seen[:, thing]
    by: list[int] = []
    weight, off = _robust(plain, place)
    alone = left = _deviation(off)
    while len(by) < FEW and len(others) > len(by):
        candidates = [j for j in others if j not in by]
        likely = candidates[int(_correlation(torch.cat([seen[:, by], plain], 1), seen[:, candidates], off).argmax())]
        tried, missed = _robust(torch.cat([seen[:, [*by, likely]], plain], 1), place)
        if _deviation(missed) > HELPS * left:
            break
        by, weight, off, left = [*by, likely], tried, missed, _deviation(missed)
    if not by or alone < STILL:
        return None
    row = torch.zeros(numbers.shape[1], dtype=numbers.dtype)
    row[thing], row[by], offset = 1.0, -weight[: len(by)], -weight[-1]
    resting = _deviation((numbers @ row)[~moves])
    if resting < STILL or left > TELLS * min(alone, resting):
        return None
    unit = torch.maximum(2 * (seen @ row + offset).std(), (numbers @ row).std() / WIDEST)
    return Relation(thing, tuple(by), (row / unit).float(), (offset / unit).float(), left / resting)


def _robust(told: Float[Tensor, "n p"], place: Float[Tensor, " n"]) -> tuple[Float[Tensor, " p"], Float[Tensor, " n"]]:
    """Coefficients of a least-squares fit to most of the rows, and what it leaves of all."""
    weight = fitted(told, place[:, None])[0][:, 0]
    for _ in range(ROUNDS - 1):
        off = (place - told @ weight).abs()
        keep = off <= TRIM * off.median() / NORMAL
        weight = fitted(told[keep], place[keep, None])[0][:, 0]
    return weight, place - told @ weight


def _deviation(off: Float[Tensor, " n"]) -> float:
    """The deviation of most of them."""
    return float((off - off.median()).abs().median() / NORMAL) if len(off) else 0.0


def _correlation(
    told: Float[Tensor, "n p"], others: Float[Tensor, "n q"], off: Float[Tensor, " n"]
) -> Float[Tensor, " q"]:
    """How much each of the others says of what is off beyond what is told already, from 0 to 1."""
    own = others - told @ fitted(told, others)[0]
    own, off = own - own.mean(0), off - off.mean()
    return (own * off[:, None]).mean(0).abs() / (own.std(0) * off.std()).clamp_min(1e-9)
