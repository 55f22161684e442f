"""Derivative matching: a surrogate is taught how the global model's answers change, not only what they are.

One step ahead, two models can agree in every value and have different gradients; of a surrogate only those are used.
The global model's are sampled sparsely, as differences of its answers to two varied pasts and actions under the same
noise.
"""

from dataclasses import dataclass
from typing import Annotated

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from glocal.core.ranges import Amount, Positive, Range
from glocal.core.returns import alive, weighted_mean
from glocal.core.rollout import warm_up
from glocal.core.types import Segment, Surrogate, World


@dataclass(frozen=True)
class MatchingConfig:
    """Choices for derivative matching."""

    weight: Amount = 0.0
    """Of its loss beside the local model's own; 0 for none."""
    batch: Annotated[int, Range(2, 100_000)] = 128
    """Windows in which gradients are compared, per update of the local model."""
    action: Positive = 0.1
    """Length of the variation of an action: half the difference that is taken."""
    state: Amount = 0.02
    """Standard deviation of the variation of where the robot is, in observation units."""


@dataclass(frozen=True)
class Matching:
    """The global model whose gradients are matched."""

    cfg: MatchingConfig
    world: World
    scale: Float[Tensor, " d"]
    """The typical change of each number of an observation."""
    varied: Int[Tensor, " n"]
    """Which numbers of an observation say where the robot is."""
    length: int
    """Rows at the end of a window that are looked at: the world's context and what came next."""

    def loss(self, surrogate: Surrogate, segment: Segment) -> Float[Tensor, ""]:
        """Huber loss of the gradients of what comes of the last action of each window, (B, T >= length, ...)."""
        weight, segment = alive(segment.cont)[:, -1], segment[:, -self.length :]
        action = nn.functional.normalize(torch.randn_like(segment.action[:, -1]), dim=-1) * self.cfg.action
        state = torch.zeros_like(segment.obs[:, 0])
        state[:, self.varied] = self.cfg.state * torch.randn_like(state[:, self.varied])
        ahead, behind = (varied(segment, sign * action, sign * state) for sign in (1, -1))
        key = int(torch.randint(2**62, ()))
        true = self._answer(ahead, key) - self._answer(behind, key)
        found = _expected(surrogate, ahead, key) - _expected(surrogate, behind, key)
        gradient = (found - true) / (2 * (self.cfg.action + self.cfg.state) * self.scale)
        return weighted_mean(
            nn.functional.huber_loss(gradient, torch.zeros_like(gradient), reduction="none").mean(1), weight
        )

    @torch.no_grad()
    def _answer(self, segment: Segment, key: int) -> Float[Tensor, "b d"]:
        context = self.world.begin(segment[:, :-1], key)
        return self.world.step(context, segment.action[:, -1])[1].obs


def varied(segment: Segment, action: Float[Tensor, "b a"], state: Float[Tensor, "b d"]) -> Segment:
    """The same windows with the robot somewhere else all the time, and another last action."""
    actions = segment.action.clone()
    actions[:, -1] += action
    return Segment(segment.obs + state[:, None], actions, segment.reward, segment.cont)


def _expected(surrogate: Surrogate, segment: Segment, key: int) -> Float[Tensor, "b d"]:
    """What the surrogate expects to see after the last action; if it draws, then the same for the same key."""
    with torch.random.fork_rng():
        torch.manual_seed(key)
        belief = warm_up(surrogate, segment[:, :-1])
        return surrogate.observe(surrogate.predict(belief, segment.action[:, -1]))
