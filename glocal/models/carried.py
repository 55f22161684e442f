"""Places around a robot, as its models look at them: what moves them is above all that the robot moves.

A change of a place is told beside where it would have been carried by what the robot feels before and after, so that
of what stands still nothing is left to be predicted, seen or not; and what an action does to it follows from what it
does to what is felt.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from glocal.core.features import Standard
from glocal.core.spec import Spec
from glocal.models.codecs.egocentric import NUMBERS
from glocal.models.codecs.surroundings import led_by


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

    def advance(self, before: Float[Tensor, "b d"], delta: Float[Tensor, "b d"]) -> Float[Tensor, "b d"]:
        after = super().advance(before, delta)
        return after + self._carried_by(before, after)

    def _change(self, before: Float[Tensor, "b d"], after: Float[Tensor, "b d"]) -> Float[Tensor, "b d"]:
        return super()._change(before, after) - self._carried_by(before, after)

    def _carried_by(self, before: Float[Tensor, "b d"], after: Float[Tensor, "b d"]) -> Float[Tensor, "b d"]:
        """How much the numbers of observations (b, d) change by what is felt `before` and `after` alone."""
        felt, places = before[:, : self.numbers], self._places(before)
        motion = led_by(self.motion, felt, after[:, : self.numbers])
        moved = torch.nn.functional.pad(motion.carried(places) - places, (0, NUMBERS - 2))
        return torch.cat([torch.zeros_like(felt), moved.flatten(1)], dim=1)

    def _places(self, obs: Float[Tensor, "b d"]) -> Float[Tensor, "b k 2"]:
        return obs[:, self.numbers :].unflatten(1, (-1, NUMBERS))[..., :2]
