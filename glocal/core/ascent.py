"""What the return's gradient is used for: better actions, to which the actor is then fitted in several passes.

A first-order policy usually takes one step along its parameters' gradient per rollout, and throws the rollout away.
Where every imagined step costs the global model, that is a waste: the return's gradient by each action, which the
surrogate supplies, says for every belief that was visited what would have been better there, and stays a fair guide
while the policy stays near. These passes over a rollout are to a first-order policy what PPO's epochs are to it.
"""

import math

import torch
from jaxtyping import Float
from torch import Tensor

from glocal.core.returns import weighted_mean

USUAL = 0.99
"""Share of gradients that are taken as they are for how large they usually are."""


def improved(
    action: Float[Tensor, "*batch a"],
    gradient: Float[Tensor, "*batch a"],
    weight: Float[Tensor, "*batch"],
    step: float,
    longest: float,
) -> Float[Tensor, "*batch a"]:
    """Actions moved along the return's gradient, by `step` in root mean square, and none by more than `longest`.

    Each counts by its `weight` in that mean.

    A rollout has a few contacts whose gradients are a hundred times the others'; unbounded, nothing else is learned. In
    a few of its windows they grow ten thousandfold from step to step: in the mean these count as the next in size.
    """
    size = gradient.norm(dim=-1)
    usual = size.clamp_max(size.flatten().kthvalue(math.ceil(USUAL * size.numel())).values)
    usual = torch.where(usual.any(), usual, size)
    move = gradient * (step / weighted_mean(usual.pow(2), weight).sqrt().clamp_min(1e-12))
    held = longest / move.norm(dim=-1, keepdim=True).clamp_min(longest)
    return (action + held * move).clamp(-1.0, 1.0)


def departure(
    action: Float[Tensor, "n a"], wanted: Float[Tensor, "n a"], weight: Float[Tensor, " n"], step: float
) -> Float[Tensor, ""]:
    """What fitting the actor descends: |a - a*|^2 / (2 step), at first along the return's gradient, scaled."""
    return weighted_mean((action - wanted).pow(2).sum(-1), weight) / (2 * step)
