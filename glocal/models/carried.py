"""Places around a robot, as its models look at them: what moves them is above all that the robot moves.

A change of a place is told beside where it would have been carried by what the robot feels before and after, so that
of what stands still nothing is left to be predicted, seen or not; and what an action does to it follows from what it
does to what is felt.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from glocal.core.features import Standard
from glocal.core.spec import Spec
from glocal.models.codecs.egocentric import HIDDEN, IN_SIGHT, NUMBERS, UNKNOWN
from glocal.models.codecs.surroundings import led_by

RESTS = 1.0
"""Changes, in typical ones, below which what is not in sight stands still. A global model draws its every change a
little astray, and what nobody looks at would come by itself in the end to where it is seen.
"""
InSight = Callable[[Tensor], Bool[Tensor, "b k"]]
"""Which of a robot's things its cameras show (`EgocentricCodec.in_sight`)."""


@dataclass(frozen=True)
class CarriedConfig:
    """Observations of numbers that a robot feels, and then of things around it."""

    felt: int

    def build(self, spec: Spec, window: int, scales: int) -> "Carried":
        return Carried(self.felt, spec, window, scales)


class Carried(Standard):
    """Numbers that are felt, as they are, and places that are carried along; `motion` (2 felt + 1, 3) is what the codec
    knows of how the robot moves."""

    motion: Tensor

    def __init__(self, felt: int, spec: Spec, window: int, scales: int):
        super().__init__(spec, window, scales, felt)
        self.register_buffer("motion", torch.zeros(2 * felt + 1, 3))
        self.in_sight: InSight | None = None
        """In a model of what was so (`EgocentricCodec.hindsight`), what tells which things are in sight."""

    def advance(self, before: Float[Tensor, "b d"], delta: Float[Tensor, "b d"]) -> Float[Tensor, "b d"]:
        """See `Featurizer.advance`. In a model of what was so, what is not in sight and would hardly move rests, and
        whether things are in sight is said as recordings say it."""
        after = self._moved(before, delta)
        if self.in_sight is None:
            return after
        seen, told = self.in_sight(after), self._things(after)[..., 2]
        hidden = torch.where(told > 0.5 * (HIDDEN + UNKNOWN), HIDDEN, UNKNOWN)
        rests = ~seen & (self._things(delta)[..., :2].norm(dim=-1) < RESTS)
        after = self._moved(before, delta * self._each(~rests[..., None].expand(-1, -1, NUMBERS)))
        things = torch.cat([self._things(after)[..., :2], torch.where(seen, IN_SIGHT, hidden)[..., None]], dim=-1)
        return torch.cat([after[:, : self.numbers], things.flatten(1)], dim=1)

    def _moved(self, before: Float[Tensor, "b d"], delta: Float[Tensor, "b d"]) -> Float[Tensor, "b d"]:
        after = super().advance(before, delta)
        return after + self._carried_by(before, after)

    def _each(self, kept: Bool[Tensor, "b k n"]) -> Bool[Tensor, "b d"]:
        """What is kept of an observation whose things keep so much; of what is felt, all."""
        return torch.nn.functional.pad(kept.flatten(1), (self.numbers, 0), value=True)

    def _change(self, before: Float[Tensor, "b d"], after: Float[Tensor, "b d"]) -> Float[Tensor, "b d"]:
        return super()._change(before, after) - self._carried_by(before, after)

    def _carried_by(self, before: Float[Tensor, "b d"], after: Float[Tensor, "b d"]) -> Float[Tensor, "b d"]:
        """How much the numbers of observations (b, d) change by what is felt `before` and `after` alone."""
        felt, places = before[:, : self.numbers], self._things(before)[..., :2]
        motion = led_by(self.motion, felt, after[:, : self.numbers])
        moved = torch.nn.functional.pad(motion.carried(places) - places, (0, NUMBERS - 2))
        return torch.cat([torch.zeros_like(felt), moved.flatten(1)], dim=1)

    def _things(self, obs: Float[Tensor, "b d"]) -> Float[Tensor, "b k n"]:
        return obs[:, self.numbers :].unflatten(1, (-1, NUMBERS))
