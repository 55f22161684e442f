"""Behaviour cloning: the baseline that asks what imagination adds. The same network, the same logs, no world model.

With chunks it tells several actions at once, as ACT does (arXiv 2304.13705): what is deployed is the mean of what was
planned for a control step at the last few.
"""

from dataclasses import dataclass
from typing import Annotated

import torch
from jaxtyping import Float
from torch import Tensor, nn

from glocal.core.imitation import astray
from glocal.core.improve import Policy
from glocal.core.nets import mlp
from glocal.core.ranges import Amount, Range, Small
from glocal.core.rollout import warm_up
from glocal.core.types import Belief, Segment
from glocal.models.policies.actor import ActorConfig


@dataclass(frozen=True)
class CloningConfig:
    """Choices for behaviour cloning."""

    window: Small = 5
    """Steps: all but the last are seen, the last one's action is to be told."""
    best: Annotated[float, Range(0, 1, open_low=True)] = 1.0
    """Share of the training episodes that are cloned: those with the highest mean reward (filtered cloning)."""
    chunk: Small = 1
    """Actions told at once; with more than one they are averaged over time when deployed."""
    forget: Amount = 0.1
    """Weights of what earlier control steps planned: exp(-forget i), the oldest first (ACT's temporal ensemble)."""


def cloning_loss(policy: Policy, segment: Segment) -> tuple[Tensor, dict[str, Tensor]]:
    """Squared error of the action that follows all but the last step of recorded windows (B, T, ...)."""
    error = astray(policy.actor, policy.surrogate, segment)
    return error, {"squared": error}


class ChunkActor(nn.Module):
    """The next `length` actions (*batch, length, a) at a belief."""

    def __init__(self, cfg: ActorConfig, feat_dim: int, action_dim: int, length: int):
        super().__init__()
        self.length = length
        self.body = mlp(feat_dim, cfg.width, cfg.depth, length * action_dim, last_scale=0.1)

    def forward(self, belief: Belief) -> Float[Tensor, "*batch k a"]:
        return belief.to_action(self.body(belief.feat)).tanh().unflatten(-1, (self.length, -1))


def chunk_loss(policy: Policy, segment: Segment, chunk: int) -> tuple[Tensor, dict[str, Tensor]]:
    """Mean absolute error of the last `chunk` actions of recorded windows (B, T, ...), told at what comes before."""
    with torch.no_grad():
        belief = warm_up(policy.surrogate, segment[:, :-chunk])
    error = (policy.actor(belief) - segment.action[:, -chunk:]).abs().mean()
    return error, {"absolute": error}


class Ensemble:
    """What was planned at the last few control steps, averaged: ACT's temporal ensemble."""

    def __init__(self, forget: float):
        self.forget = forget
        self.plans: list[Tensor] = []

    def __call__(self, plan: Float[Tensor, "b k a"]) -> Float[Tensor, "b a"]:
        """Add the newest plan; the action for now, by all plans that reach it."""
        self.plans = [*self.plans, plan][-plan.shape[1] :]
        ages = reversed(range(len(self.plans)))
        meant = torch.stack([each[:, age] for age, each in zip(ages, self.plans, strict=True)])
        weights = (-self.forget * torch.arange(len(meant), device=plan.device)).exp()
        return (weights[:, None, None] * meant).sum(0) / weights.sum()
