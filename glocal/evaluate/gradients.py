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

    Both are of the rewards that the global model gives to `action` after `begin`, under common random numbers.
    """
    weights = gamma ** torch.arange(action.shape[1], device=action.device)
    slope, gap = linked_gradient(world, surrogate, begin, action, link, weights, key)
    generator = torch.Generator(action.device).manual_seed(key)
    directions = torch.randn(DIRECTIONS, *action.shape, generator=generator, device=action.device)
    local = (slope * directions).flatten(2).sum(2).T  # (windows, directions)
    true = torch.stack([difference(world, begin, action, each, weights, key) for each in directions], dim=1)
    cosine = torch.nn.functional.cosine_similarity
    return Agreement(
        cosine=float(cosine(local.flatten(), true.flatten(), dim=0)),
        median_cosine=float(cosine(local, true, dim=1).median()),
        norm_ratio=float(local.norm() / true.norm()),
        gap=gap.mean(0).tolist(),
    )


def linked_gradient(
    world: World, surrogate: Surrogate, begin: Segment, action: Tensor, link: Link, weights: Tensor, key: int
) -> tuple[Float[Tensor, "b h a"], Float[Tensor, "b h"]]:
    """The gradient of the weighted rewards with respect to the actions, as a link makes it; and the gaps on the way."""
    played = action.clone().requires_grad_()
    context, belief = world.begin(begin, key), warm_up(surrogate, begin)
    _, _, happened = rollout(Playback(played), world, surrogate, context, belief, action.shape[1], link)
    (slope,) = torch.autograd.grad((weights * happened.reward).sum(), played)
    return slope, happened.gap


def difference(
    world: World, begin: Segment, action: Tensor, direction: Tensor, weights: Tensor, key: int
) -> Float[Tensor, " b"]:
    """The central difference of the weighted rewards along a direction in the space of actions, (B, H, A)."""
    ahead, behind = (
        (weights * replay(world, begin, action + sign * STEP * direction, key).reward).sum(1) for sign in (1, -1)
    )
    return (ahead - behind) / (2 * STEP)
