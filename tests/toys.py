"""Toy worlds whose returns can be worked out by hand, and the surrogates that go with them."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from glocal.core.types import Batched, Belief, Segment, Step, Surrogate


@dataclass(frozen=True)
class Place(Batched):
    """Where a point is, (B, 1)."""

    x: Tensor
    key: int = 0


@dataclass(frozen=True)
class PlaceBelief(Belief):
    x: Tensor

    @property
    def feat(self) -> Tensor:
        return self.x


class LinearWorld:
    """x' = x + 0.5 a; reward -(x' - 1)^2."""

    def begin(self, segment: Segment, key: int) -> Place:
        return Place(segment.obs[:, -1], key)

    def step(self, context: Place, action: Tensor) -> tuple[Place, Step]:
        x = self.move(context.x, action)
        reward = -(x - 1).pow(2).squeeze(-1)
        return Place(x, context.key + 1), Step(x, reward, torch.ones_like(reward))

    def move(self, x: Tensor, action: Tensor) -> Tensor:
        return x + 0.5 * action


class QuantisedWorld(LinearWorld):
    """The same, in steps of 0.05: the true gradient is zero everywhere."""

    def move(self, x: Tensor, action: Tensor) -> Tensor:
        return ((x + 0.5 * action) / 0.05).round() * 0.05


class LinearSurrogate(Surrogate[PlaceBelief]):
    """x' = x + slope a + offset, with the true reward; a slope of 0.5 and no offset are perfect."""

    def __init__(self, slope: float = 0.5, offset: float = 0.0):
        super().__init__()
        self.slope = nn.Parameter(torch.tensor(slope))
        self.offset = nn.Parameter(torch.tensor(offset))

    def initial(self, obs: Tensor) -> PlaceBelief:
        return PlaceBelief(obs)

    def predict(self, belief: PlaceBelief, action: Tensor) -> PlaceBelief:
        return PlaceBelief(belief.x + self.slope * action + self.offset)

    def correct(self, prior: PlaceBelief, obs: Tensor) -> PlaceBelief:
        return PlaceBelief(obs)

    def reward(self, belief: PlaceBelief) -> Tensor:
        return -(belief.x - 1).pow(2).squeeze(-1)

    def observe(self, belief: PlaceBelief) -> Tensor:
        return belief.x

    def loss(self, segment: Segment) -> tuple[Tensor, dict[str, Tensor]]:
        predicted = segment.obs[:, :-1] + self.slope * segment.action[:, 1:] + self.offset
        error = (predicted - segment.obs[:, 1:]).pow(2).mean()
        return error, {"squared": error}


def resting(count: int, length: int) -> Segment:
    """Points at rest somewhere in [-1, 1]."""
    obs = torch.rand(count, 1, 1) * 2 - 1
    zeros = torch.zeros(count, length)
    return Segment(obs.expand(-1, length, -1).clone(), zeros[..., None].clone(), zeros.clone(), zeros + 1)
