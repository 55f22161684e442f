"""Acting inside the models: the policy acts, the world answers, the surrogate explains."""

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from glocal.core.gradients import Latent, Link, bptt
from glocal.core.types import ActorLike, Batched, Belief, S, Segment, Step, Surrogate, Trajectory, World, stack


def warm_up(surrogate: Surrogate[S], segment: Segment) -> S:
    """The belief after recorded experience (B, T, ...)."""
    belief = surrogate.initial(segment.obs[:, 0])
    for t in range(1, segment.obs.shape[1]):
        belief = surrogate.correct(surrogate.predict(belief, segment.action[:, t]), segment.obs[:, t])
    return belief


def rollout(
    policy: ActorLike,
    world: World,
    surrogate: Surrogate[S],
    context: Any,
    belief: S,
    horizon: int,
    link: Link,
    perturbation: Float[Tensor, "b h a"] | None = None,
) -> tuple[Any, S, Trajectory]:
    """`horizon` imagined steps (the method's Eqs. in arXiv 2602.06219, Sec. III).

    Returns the world's context and the belief after them, and what happened, differentiable in the policy. With a link
    that keeps values (all but `imagine`), every value is the world's, whatever the surrogate says. `perturbation` is
    added to the actions: zeros, for a derivative by them.
    """
    steps = []
    for t in range(horizon):
        choice = policy(belief)
        noise = torch.randn_like(choice.mean)
        action = choice.rsample(noise) if perturbation is None else choice.rsample(noise) + perturbation[:, t]
        with torch.set_grad_enabled(link is bptt):
            context, seen = world.step(context, action)
        prior = surrogate.predict(belief, action)
        posterior = surrogate.correct(prior, seen.obs)
        after = link(posterior, prior)
        reward, cont = link(seen.reward, surrogate.reward(after)), link(seen.cont, surrogate.cont(after))
        gap = distance(posterior, prior)
        steps.append(Trajectory(belief, action, noise, choice.entropy(), reward, cont, after, seen, gap))
        belief = after
    return context, belief, stack(steps)


@torch.no_grad()
def replay(world: World, segment: Segment, action: Float[Tensor, "b h a"], key: int) -> Step:
    """Open loop: what the world says to given actions after a segment, (B, H, ...)."""
    context = world.begin(segment, key)
    answers = []
    for t in range(action.shape[1]):
        context, seen = world.step(context, action[:, t])
        answers.append(seen)
    return stack(answers)


@torch.no_grad()
def replay_surrogate(surrogate: Surrogate[S], segment: Segment, action: Float[Tensor, "b h a"]) -> Tensor:
    """Open loop: the observations (B, H, d) that the local model alone expects of given actions."""
    belief = warm_up(surrogate, segment)
    expected = []
    for t in range(action.shape[1]):
        belief = surrogate.predict(belief, action[:, t])
        expected.append(surrogate.observe(belief))
    return torch.stack(expected, dim=1)


@torch.no_grad()
def distance(posterior: Belief, prior: Belief) -> Float[Tensor, " b"]:
    """The gap: the length of the correction that the gradient does not see."""
    squares: list[Tensor] = []

    def add(a: Tensor | Batched, b: Tensor | Batched) -> Tensor | Batched:
        left, right = (x.sample if isinstance(x, Latent) else x for x in (a, b))
        if isinstance(left, Tensor) and isinstance(right, Tensor):
            squares.append((left - right).pow(2).flatten(1).sum(-1))
        return a

    posterior.map(add, prior)
    return torch.stack(squares).sum(0).sqrt()
