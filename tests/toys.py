"""Toy worlds whose returns can be worked out by hand, and the surrogates that go with them."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from glocal.core.types import Batched, Belief, Pairs, Segment, Step, Surrogate


def control_steps(before: Tensor, after: Tensor, reward: Tensor, actions: int = 2) -> Pairs:
    """Recorded control steps, all with the same action."""
    return Pairs(before, torch.zeros(len(before), actions), after, reward)


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


class EndingWorld(LinearWorld):
    """The same moves; every step earns 1, and an episode ends where it comes beyond 1."""

    def step(self, context: Place, action: Tensor) -> tuple[Place, Step]:
        x = self.move(context.x, action)
        return Place(x, context.key + 1), Step(x, torch.ones_like(x[:, 0]), (x[:, 0] <= 1).to(x))


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

    def cont(self, belief: PlaceBelief) -> Tensor:
        return torch.ones_like(belief.x).squeeze(-1)

    def observe(self, belief: PlaceBelief) -> Tensor:
        return belief.x

    def loss(self, segment: Segment) -> tuple[Tensor, dict[str, Tensor]]:
        predicted = segment.obs[:, :-1] + self.slope * segment.action[:, 1:] + self.offset
        error = (predicted - segment.obs[:, 1:]).pow(2).mean()
        return error, {"squared": error}


class EndingSurrogate(LinearSurrogate):
    """Knows that every step earns 1, and about where episodes end."""

    def reward(self, belief: PlaceBelief) -> Tensor:
        return torch.ones_like(belief.x).squeeze(-1)

    def cont(self, belief: PlaceBelief) -> Tensor:
        return (4 * (1 - belief.x)).sigmoid().squeeze(-1)


def resting(count: int, length: int) -> Segment:
    """Points at rest somewhere in [-1, 1]."""
    obs = torch.rand(count, 1, 1) * 2 - 1
    zeros = torch.zeros(count, length)
    return Segment(obs.expand(-1, length, -1).clone(), zeros[..., None].clone(), zeros.clone(), zeros + 1)
