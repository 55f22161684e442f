"""Points in the pictures of cameras: what a network has to see of them for contacts to look simple.

Networks that see plain coordinates learn little about contacts. How points lie to one another looks the same wherever
in the picture it happens. Nothing else is known: not which of them belong together, nor what moves what.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from glocal.core.features import POLICY_SCALES, Outcome, Standard
from glocal.core.nets import harmonics, outcome_head
from glocal.core.spec import Spec

PAIRS = 96
"""Ways between points, at most, that are told for each picture: of more a choice that is always the same."""
SHARPNESS = 8.0
NEARNESS = 8
"""Lengths, halving from one to the next, in which the distance to the reference is told."""


@dataclass(frozen=True)
class ArrangementConfig:
    """Points in pictures, (k, 2) for each camera, and any numbers beside them."""

    def build(self, spec: Spec, window: int, scales: int) -> "Arrangement":
        return Arrangement(spec, window, scales)


class Arrangement(Standard):
    """What `Standard` tells, the ways between points of each picture, and to where they were when the reward was
    highest."""

    first: Tensor
    second: Tensor
    goal: Tensor

    def __init__(self, spec: Spec, window: int, scales: int):
        super().__init__(spec, window, scales)
        points = [part for part in spec.parts if len(part.shape) == 2]
        assert points and spec.parts[-len(points) :] == tuple(points), "points are the last parts of an observation"
        self.numbers = spec.obs_dim - sum(part.size for part in points)
        pairs, before = [], 0
        for part in points:
            pairs.append(_pairs(part.shape[0]) + before)
            before += part.shape[0]
        self.register_buffer("first", torch.cat(pairs, 1)[0], persistent=False)
        self.register_buffer("second", torch.cat(pairs, 1)[1], persistent=False)
        self.register_buffer("goal", torch.zeros(before, 2))
        self.register_buffer("jittered", torch.arange(self.numbers), persistent=False)

    @torch.no_grad()
    def fit_statistics(self, before: Tensor, after: Tensor, reward: Tensor) -> None:
        super().fit_statistics(before, after, reward)
        self.goal.copy_(self._points(after[reward.argmax()]))

    def dynamics(self, obs: Tensor, action: Tensor, scales: int) -> Tensor:
        points = self._points(obs[:, -1])
        way = (points[:, self.first] - points[:, self.second]).flatten(1)
        pairs = [way, harmonics(way, scales)]
        return torch.cat([super().dynamics(obs, action, scales), harmonics(points.flatten(1), scales), *pairs], dim=-1)

    def policy(self, obs: Tensor, action: Tensor) -> Tensor:
        near = (-SHARPNESS * _lengths(self._points(obs[:, -1]) - self.goal)).exp()
        return torch.cat([self.dynamics(obs, action, POLICY_SCALES), near], dim=-1)

    def outcome(self, width: int) -> "ArrangementOutcome":
        return ArrangementOutcome(self.spec.obs_dim, self.numbers, width)

    def _points(self, obs: Float[Tensor, "*batch d"]) -> Float[Tensor, "*batch k 2"]:
        return obs[..., self.numbers :].unflatten(-1, (-1, 2))


def _pairs(points: int) -> Int[Tensor, "2 n"]:
    """The pairs of points between which the way is told."""
    every = torch.triu_indices(points, points, offset=1)
    chosen = torch.randperm(every.shape[1], generator=torch.Generator().manual_seed(0))[:PAIRS]
    return every[:, chosen.sort().values]


class ArrangementOutcome(Outcome):
    """Reward and continuation of points and numbers.

    It also sees how far points are from a learned reference, which starts where the reward was highest: what is wanted
    is often near, and a reward's last centimetre is hard to read off coordinates.
    """

    def __init__(self, obs_dim: int, numbers: int, width: int):
        super().__init__()
        self.numbers, points = numbers, (obs_dim - numbers) // 2
        self.reference = nn.Parameter(torch.zeros(points, 2))
        self.weight = nn.Parameter(torch.zeros(points))
        self.body = outcome_head(obs_dim + points + NEARNESS, width)

    @torch.no_grad()
    def fit_statistics(self, after: Float[Tensor, "n d"], reward: Float[Tensor, " n"]) -> None:
        self.reference.copy_(after[reward.argmax(), self.numbers :].unflatten(-1, (-1, 2)))

    def forward(self, obs: Float[Tensor, "*batch d"]) -> tuple[Tensor, Tensor]:
        distance = _lengths(obs[..., self.numbers :].unflatten(-1, (-1, 2)) - self.reference)
        mean = (distance * self.weight.softmax(-1)).sum(-1, keepdim=True)
        near = torch.cat([(-mean * 2**k).exp() for k in range(NEARNESS)], dim=-1)
        reward, cont = self.body(torch.cat([obs, distance, near], dim=-1)).unbind(-1)
        return reward, cont


def _lengths(ways: Float[Tensor, "*batch k 2"]) -> Float[Tensor, "*batch k"]:
    return (ways.pow(2).sum(-1) + 1e-6).sqrt()
