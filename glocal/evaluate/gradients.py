"""Whether the local model's gradient is the global model's: compared with finite differences of the global return."""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from glocal.core.gradients import Link
from glocal.core.rollout import replay, rollout, warm_up
from glocal.core.types import Belief, Segment, Surrogate, World

DIRECTIONS = 24
STEP = 0.02
"""Half the finite difference, in units of actions, along a direction of unit root mean square."""


@dataclass(frozen=True)
class Agreement:
    """How two gradients of the return with respect to the actions agree, over random directions in action space."""

    cosine: float
    """Over all windows together: windows whose return depends on the actions most count most."""
    median_cosine: float
    """Of single windows."""
    norm_ratio: float
    """The local gradient's length over the finite difference's."""
    gap: list[float]
    """Mean correction of the local model by the global one, by step."""


@dataclass(frozen=True)
class Given:
    """A choice that was made before."""

    mean: Float[Tensor, "b a"]

    def rsample(self) -> Tensor:
        return self.mean

    def entropy(self) -> Tensor:
        return self.mean.new_zeros(len(self.mean))


class Playback:
    """A policy that does the given actions (B, H, a), one after another."""

    def __init__(self, action: Float[Tensor, "b h a"]):
        self.action, self.done = action, 0

    def __call__(self, belief: Belief) -> Given:
        self.done += 1
        return Given(self.action[:, self.done - 1])


def agreement(
    world: World,
    surrogate: Surrogate,
    begin: Segment,
    action: Float[Tensor, "b h a"],
    link: Link,
    gamma: float,
    key: int = 0,
) -> Agreement:
    """Compare the linked gradient of the discounted return with central differences of the global model's own.

    Both return the rewards that the global model gives to `action` after `begin`, under common random numbers.
    """
    weights = gamma ** torch.arange(action.shape[1], device=action.device)
    played = action.clone().requires_grad_()
    belief = warm_up(surrogate, begin)
    _, _, happened = rollout(
        Playback(played), world, surrogate, world.begin(begin, key), belief, action.shape[1], link
    )  # fmt: skip
    (slope,) = torch.autograd.grad((weights * happened.reward).sum(), played)
    generator = torch.Generator(action.device).manual_seed(key)
    expected, found = [], []
    for _ in range(DIRECTIONS):
        direction = torch.randn(action.shape, generator=generator, device=action.device)
        ahead, behind = (
            (weights * replay(world, begin, action + sign * STEP * direction, key).reward).sum(1) for sign in (1, -1)
        )
        expected.append((slope * direction).flatten(1).sum(1))
        found.append((ahead - behind) / (2 * STEP))
    local, true = torch.stack(expected, 1), torch.stack(found, 1)  # (windows, directions)
    cosine = torch.nn.functional.cosine_similarity
    gap = happened.gap.mean(0).tolist()
    return Agreement(
        cosine=float(cosine(local.flatten(), true.flatten(), dim=0)),
        median_cosine=float(cosine(local, true, dim=1).median()),
        norm_ratio=float(local.norm() / true.norm()),
        gap=gap,
    )
