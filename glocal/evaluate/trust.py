"""Whether imagination can still be trusted, while a policy is trained in it and without asking the real environment."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from glocal.core.gradients import decouple
from glocal.core.improve import Policy
from glocal.core.returns import alive
from glocal.core.rollout import warm_up
from glocal.core.types import Belief, Segment, Trajectory, World
from glocal.evaluate.gradients import Question, acted, agreement

COMPARED = 16
"""Moments, at most, at which the gradient is compared with finite differences, in as many directions: no more than
imagined episodes."""
EVERY = 5
"""Imagined control steps between beliefs whose distance from recorded ones is measured."""


@dataclass(frozen=True)
class Grounds:
    """What imagination is judged by: two global models, and what was recorded."""

    world: World
    judge: World | None
    """A global model of other episodes and another seed, if there is one."""
    beginnings: Segment
    """Recorded windows that imagined episodes begin from, (n, W, ...)."""
    moments: Segment
    """Recorded windows from anywhere, (m, W, ...): what is familiar."""
    control_steps: int
    horizon: int
    gamma: float
    key: int = 0


def trust(policy: Policy, grounds: Grounds) -> dict[str, float]:
    """A cheap look at a policy's imagined episodes.

    `own` and `judge` are the mean reward of a control step in the policy's own world and in the judge's, `optimism` the
    first less the second, with its standard error over episodes; `noise` is how much an episode's mean reward differs
    when the world's noise is drawn anew; `distance` how far visited beliefs are from recorded ones, in distances of
    recorded ones from each other; `cosine` that of the gradient (`decouple`) with finite differences.
    """
    happened, again = (_episodes(policy, grounds.world, grounds, grounds.key + draw) for draw in (0, 1))
    own = _mean_reward(happened)
    found = {
        "own": own.mean(),
        "noise": (own - _mean_reward(again)).abs().mean(),
        "distance": _distance(policy, happened, grounds.moments),
    }
    if grounds.judge is not None:
        judged = _mean_reward(_episodes(policy, grounds.judge, grounds, grounds.key))
        optimism = own - judged
        error = optimism.std() / math.sqrt(len(optimism))
        found |= {"judge": judged.mean(), "optimism": optimism.mean(), "optimism_error": error}
    return {name: float(value) for name, value in found.items()} | {"cosine": _cosine(policy, grounds)}


def alarm(looks: Sequence[Mapping[str, float]]) -> bool:
    """Whether by the last look the imagined return is worth less than it was.

    Compared with the look that the judge liked best: the judge likes the policy no better, and optimism has grown by
    more than twice its standard error.
    """
    *before, last = looks
    if not before:
        return False
    best = max(before, key=lambda look: look["judge"])
    grown = last["optimism"] - best["optimism"]
    return last["judge"] <= best["judge"] and grown > 2 * math.hypot(last["optimism_error"], best["optimism_error"])


def strangeness(visited: Float[Tensor, "n f"], recorded: Float[Tensor, "m f"]) -> Float[Tensor, " n"]:
    """Distance to the nearest recorded one, in units of each feature's spread among those."""
    scale = recorded.std(0).clamp_min(1e-3)
    return torch.cdist(visited / scale, recorded / scale).amin(1)


def _episodes(policy: Policy, world: World, grounds: Grounds, key: int) -> Trajectory:
    return acted(_mean(policy), world, policy.surrogate, grounds.beginnings, grounds.control_steps, key)


def _mean_reward(happened: Trajectory) -> Float[Tensor, " b"]:
    """Each episode's mean reward of a control step until it ends."""
    lived = alive(happened.seen.cont)
    return (lived * happened.seen.reward).sum(1) / lived.sum(1)


def _mean(policy: Policy) -> Callable[[Belief], Tensor]:
    return lambda belief: policy.actor(belief).mean


@torch.no_grad()
def _distance(policy: Policy, happened: Trajectory, moments: Segment) -> Tensor:
    familiar, others = warm_up(policy.surrogate, moments).feat.chunk(2)
    visited = happened.belief.feat[:, ::EVERY].flatten(0, 1)
    return strangeness(visited, familiar).median() / strangeness(others, familiar).median().clamp_min(1e-6)


def _cosine(policy: Policy, grounds: Grounds) -> float:
    compared, horizon = min(COMPARED, len(grounds.beginnings.obs)), grounds.horizon
    begin = grounds.moments[:compared]
    action = acted(_mean(policy), grounds.world, policy.surrogate, begin, horizon, grounds.key).action
    question = Question(grounds.world, policy.surrogate, begin, action, grounds.gamma, horizon)
    return agreement(question, {"decouple": decouple}, grounds.key, draws=1, directions=compared)["decouple"].cosine
