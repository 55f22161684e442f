"""Whether the local model's gradient is the global model's own: against finite differences of the global return."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from glocal.core.gradients import Link, freeze
from glocal.core.returns import discount_weights
from glocal.core.rollout import replay, rollout, warm_up
from glocal.core.types import Belief, Segment, Step, Surrogate, Trajectory, World

DIRECTIONS = 24
QUIET = 1000.0
"""Signal-to-noise ratio of what does not depend on the noise."""
STEP = 0.02
"""Half the finite difference, in units of actions, along a direction of unit root mean square."""


@dataclass(frozen=True)
class Agreement:
    """How a link's gradient of the return with respect to the first actions agrees with the global model's own."""

    cosine: float
    """With finite differences, over all windows together: windows whose return depends on the actions count most."""
    low: float
    high: float
    """95 % interval of `cosine`: a bootstrap over windows."""
    median_cosine: float
    """Of single windows."""
    norm_ratio: float
    """The link's gradient's length over the finite difference's."""
    bptt_cosine: float | None
    """With BPTT through the global model, by all windows and actions together; None where BPTT was not asked for."""
    bptt_norm_ratio: float | None
    """The link's gradient's length over BPTT's."""
    signal_to_noise: float
    """Of the link's gradient: length of its mean over draws of the world's noise, over its spread (median window)."""
    gap: list[float]
    """Mean correction of the local model by the global one, by step."""


@dataclass(frozen=True)
class Given:
    """A choice that was made before."""

    mean: Float[Tensor, "b a"]

    def rsample(self, noise: Tensor) -> Tensor:
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


@dataclass(frozen=True)
class Question:
    """What gradients are of: the discounted rewards of `action` (B, H, a) after `begin` until the episode ends, by its
    first steps."""

    world: World
    surrogate: Surrogate
    begin: Segment
    action: Float[Tensor, "b h a"]
    gamma: float
    first: int
    """Actions, from the first on, with respect to which gradients are taken."""

    def gradient(self, link: Link, key: int) -> tuple[Float[Tensor, "b k a"], Float[Tensor, "b h"]]:
        """As a link makes it; and the gaps on the way."""
        played = self.action.clone().requires_grad_()
        context, belief = self.world.begin(self.begin, key), warm_up(self.surrogate, self.begin)
        horizon = played.shape[1]
        _, _, happened = rollout(Playback(played), self.world, self.surrogate, context, belief, horizon, link)
        (gradient,) = torch.autograd.grad(self._discounted(happened).sum(), played)
        return gradient[:, : self.first], happened.gap

    def difference(self, direction: Float[Tensor, "b k a"], key: int) -> Float[Tensor, " b"]:
        """The central difference of the return along a direction in the space of the first actions."""
        ahead, behind = (self._return(sign * STEP * direction, key) for sign in (1, -1))
        return (ahead - behind) / (2 * STEP)

    def _return(self, shift: Tensor, key: int) -> Tensor:
        action = self.action.clone()
        action[:, : self.first] += shift
        return self._discounted(replay(self.world, self.begin, action, key))

    def _discounted(self, answers: Step | Trajectory) -> Float[Tensor, " b"]:
        """The return of rewards and continuations (B, H)."""
        return (discount_weights(answers.cont, self.gamma)[:, :-1] * answers.reward).sum(1)


def agreement(
    question: Question, links: Mapping[str, Link], key: int = 0, draws: int = 4, directions: int = DIRECTIONS
) -> dict[str, Agreement]:
    """Compare gradients with central differences of the global model's return, under common random numbers.

    `draws` is the number of the world's noises, drawn anew, that the signal-to-noise ratio is taken over.
    """
    generator = torch.Generator(question.action.device).manual_seed(key)
    shape = (directions, len(question.action), question.first, question.action.shape[-1])
    ways = torch.randn(shape, generator=generator, device=question.action.device)
    true = torch.stack([question.difference(way, key) for way in ways], dim=1)
    found = {name: [question.gradient(link, key + draw) for draw in range(draws)] for name, link in links.items()}
    through = found["bptt"][0][0] if "bptt" in found else None
    return {name: _compared(drawn, ways, true, through) for name, drawn in found.items()}


def _compared(
    drawn: Sequence[tuple[Tensor, Tensor]], directions: Tensor, true: Float[Tensor, "b n"], through: Tensor | None
) -> Agreement:
    """Of a link's gradients and gaps, one pair for each draw of the world's noise."""
    gradients, gaps = zip(*drawn, strict=True)
    local = (gradients[0] * directions).flatten(2).sum(2).T
    low, high = _bootstrap(local, true)
    return Agreement(
        bptt_cosine=None if through is None else _cosine(gradients[0], through),
        bptt_norm_ratio=None if through is None else float(gradients[0].norm() / through.norm()),
        cosine=_cosine(local, true),
        low=low,
        high=high,
        median_cosine=float(torch.nn.functional.cosine_similarity(local, true, dim=1).median()),
        norm_ratio=float(local.norm() / true.norm()),
        signal_to_noise=_signal_to_noise(torch.stack(gradients)),
        gap=gaps[0].mean(0).tolist(),
    )


def _cosine(a: Tensor, b: Tensor) -> float:
    return float(torch.nn.functional.cosine_similarity(a.flatten(), b.flatten(), dim=0))


def _bootstrap(local: Tensor, true: Tensor, times: int = 200) -> tuple[float, float]:
    """95 % interval of the cosine, over windows drawn with replacement."""
    generator = torch.Generator().manual_seed(0)
    rows = (torch.randint(len(local), (len(local),), generator=generator) for _ in range(times))
    found = sorted(_cosine(local[chosen], true[chosen]) for chosen in rows)
    return found[round(0.025 * times)], found[round(0.975 * times) - 1]


def _signal_to_noise(gradients: Float[Tensor, "n b k a"]) -> float:
    """Length of the mean gradient over the root of its total variance, in the median window; at most `QUIET`."""
    flat = gradients.flatten(2)
    if len(flat) < 2:
        return math.nan
    ratio = flat.mean(0).norm(dim=1) / flat.var(0).sum(1).sqrt().clamp_min(1e-12)
    return min(QUIET, float(ratio.median()))


@torch.no_grad()
def acted(
    act: Callable[[Belief], Tensor], world: World, surrogate: Surrogate, begin: Segment, horizon: int, key: int
) -> Trajectory:
    """What comes of doing `act(belief)` (B, a) for `horizon` imagined steps after recorded windows (B, W, ...)."""
    context, belief = world.begin(begin, key), warm_up(surrogate, begin)
    _, _, happened = rollout(lambda b: Given(act(b)), world, surrogate, context, belief, horizon, freeze)
    return happened


def recommended_horizon(
    by_horizon: Mapping[int, Agreement], least_cosine: float = 0.7, least_signal: float = 1.0
) -> tuple[int | None, str]:
    """The longest horizon up to which all gradients point well and stand out of their noise, and why no longer."""
    good: Sequence[int] = []
    for horizon, found in sorted(by_horizon.items()):
        if found.cosine < least_cosine:
            return (good[-1] if good else None), f"at {horizon} the cosine is {found.cosine:.2f} < {least_cosine}"
        if found.signal_to_noise < least_signal:
            ratio = f"{found.signal_to_noise:.2f} < {least_signal}"
            return (good[-1] if good else None), f"at {horizon} the signal-to-noise ratio is {ratio}"
        good = [*good, horizon]
    return good[-1], "the longest that was looked at"
