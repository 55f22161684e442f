"""Planning in the global model at every control step, by iCEM (arXiv 2008.06389) or MPPI (arXiv 1707.02342), from
nothing or from what a policy would do: what a policy is compared with."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from glocal.core.improve import Policy
from glocal.core.ranges import Amount, Part, Positive, Range, Share, Small
from glocal.core.returns import discount_weights
from glocal.core.types import Codec, Segment, World, cat
from glocal.deploy.controllers import Controller, recorded_fields
from glocal.deploy.preprocess import View, plain
from glocal.models.codecs.cameras import CamerasCodec
from glocal.models.worlds.pictures import PictureWorld

AT_ONCE = 2048
"""Plans that are imagined together."""


@dataclass(frozen=True)
class PlanConfig:
    """Choices that all planners have."""

    samples: Annotated[int, Range(2, 100_000)] = 64
    """Plans that are tried in each iteration, for each environment."""
    iterations: Small = 3
    horizon: Small = 10
    colour: Amount = 2.0
    """Exponent of the noise's spectrum over time: 0 is white, 2 wanders."""
    spread: Positive = 0.5
    """Standard deviation of an action, at first."""
    gamma: Part = 0.97


@dataclass(frozen=True)
class ICEMConfig(PlanConfig):
    """Choices for the cross-entropy method."""

    elites: Annotated[int, Range(1, 10_000)] = 8
    kept: Share = 0.3
    """Share of the elites that the next iteration, and the next control step, tries again."""
    momentum: Part = 0.1


@dataclass(frozen=True)
class MPPIConfig(PlanConfig):
    """Choices for model predictive path integral control."""

    temperature: Positive = 0.3
    """How much less a plan has to be worth, in standard deviations of what all are, to count 1/e as much."""


def coloured_noise(count: int, horizon: int, size: int, colour: float, generator: torch.Generator) -> Tensor:
    """Noise (count, horizon, size) of unit variance whose spectrum falls with frequency^-colour."""
    length = max(2, horizon)
    frequency = torch.fft.rfftfreq(length).clamp_min(1 / length)
    scale = frequency ** (-colour / 2)
    white = torch.randn(2, count, size, len(scale), generator=generator)
    waves = torch.complex(white[0], white[1]) * scale
    noise = torch.fft.irfft(waves, n=length)[..., :horizon]
    parts = torch.full_like(scale, 4.0)  # each wave has two halves, but for the mean and, of even lengths, the fastest
    parts[0] = 1.0
    if length % 2 == 0:
        parts[-1] = 1.0
    return (noise * length / (parts * scale.pow(2)).sum().sqrt()).transpose(1, 2)


class Planner(ABC):
    """Plans for B environments at once; remembers its last plans, so that every batch of episodes needs its own."""

    def __init__(self, cfg: PlanConfig, world: World, action_dim: int, seed: int):
        self.cfg, self.world, self.action_dim = cfg, world, action_dim
        self.generator = torch.Generator().manual_seed(seed)
        self.mean: Tensor | None = None
        self.control_step = 0

    @torch.no_grad()
    def act(self, begin: Segment, guide: Float[Tensor, "b h a"] | None = None) -> Float[Tensor, "b a"]:
        """The first action of what is planned after experience (B, T, ...): about the last plan, a control step later,
        or about a `guide`, beside which that is tried."""
        shifted = None if self.mean is None else _shifted(self.mean)
        if guide is None:
            mean, more = torch.zeros(len(begin.obs), self.cfg.horizon, self.action_dim), []
            mean = mean if shifted is None else shifted
        else:
            mean, more = guide, [] if shifted is None else [shifted[:, None]]
        action = self._improve(begin, mean, more)
        self.control_step += 1
        return action

    @abstractmethod
    def _improve(self, begin: Segment, mean: Tensor, more: list[Tensor]) -> Float[Tensor, "b a"]:
        """Plan about a mean (B, H, A), with `more` plans (B, n, H, A) among the first that are tried; keeps the mean
        that comes of it, and returns the action."""

    def _drawn(self, mean: Tensor, std: Tensor, more: Sequence[Tensor]) -> Float[Tensor, "b n h a"]:
        """Plans about the mean, the mean itself, and those to be tried again."""
        cfg, count = self.cfg, len(mean)
        noise = coloured_noise(count * cfg.samples, cfg.horizon, self.action_dim, cfg.colour, self.generator)
        plans = mean[:, None] + std[:, None] * noise.unflatten(0, (count, cfg.samples))
        return torch.cat([plans.clamp(-1, 1), mean[:, None], *more], dim=1)

    def _value(self, begin: Segment, plans: Float[Tensor, "b n h a"]) -> Float[Tensor, "b n"]:
        """The discounted rewards that the model gives each plan, until it says that the episode ends."""
        parts = torch.arange(len(plans)).split(max(1, AT_ONCE // plans.shape[1]))
        return torch.cat([self._value_of(begin[part.to(begin.obs.device)], plans[part]) for part in parts])

    def _value_of(self, begin: Segment, plans: Float[Tensor, "b n h a"]) -> Float[Tensor, "b n"]:
        count, tried = plans.shape[:2]
        begun, flat = self.world.begin(begin, self.control_step), plans.flatten(0, 1).to(begin.obs.device)
        context = begun.tensors(lambda x: x.repeat_interleave(tried, 0))
        rewards, conts = [], []
        for t in range(flat.shape[1]):
            context, seen = self.world.step(context, flat[:, t])
            rewards.append(seen.reward)
            conts.append((seen.cont >= 0.5).to(seen.reward))
        weights = discount_weights(torch.stack(conts, 1), self.cfg.gamma)[:, :-1]
        return (weights * torch.stack(rewards, 1)).sum(1).view(count, tried).cpu()


class ICEM(Planner):
    """The cross-entropy method, which tries its best plans again; acts as the best plan that it found."""

    cfg: ICEMConfig

    def __init__(self, cfg: ICEMConfig, world: World, action_dim: int, seed: int):
        super().__init__(cfg, world, action_dim, seed)
        self.again: Tensor | None = None

    def _improve(self, begin: Segment, mean: Tensor, more: list[Tensor]) -> Float[Tensor, "b a"]:
        cfg, count = self.cfg, len(mean)
        if self.again is not None:
            more = [*more, _shifted(self.again.flatten(0, 1)).unflatten(0, (count, -1))]
        std = torch.full_like(mean, cfg.spread)
        best = torch.zeros(count, self.action_dim)
        highest = torch.full((count,), -torch.inf)
        for _ in range(cfg.iterations):
            plans = self._drawn(mean, std, more)
            value = self._value(begin, plans)
            elites = plans.gather(
                1, value.topk(cfg.elites, 1).indices[..., None, None].expand(-1, -1, *plans.shape[2:])
            )
            mean = cfg.momentum * mean + (1 - cfg.momentum) * elites.mean(1)
            std = cfg.momentum * std + (1 - cfg.momentum) * elites.std(1, correction=0)
            self.again = elites[:, : max(1, round(cfg.kept * cfg.elites))]
            more = [self.again]
            better = value.amax(1) > highest
            best = torch.where(better[:, None], elites[:, 0, 0], best)
            highest = torch.maximum(highest, value.amax(1))
        self.mean = mean
        return best


class MPPI(Planner):
    """Model predictive path integral control: the mean of all plans, each weighed by what it is worth, again and
    again; acts as the last mean.

    Other than in arXiv 1707.02342 the temperature is relative to how much plans differ in worth, noise is coloured and
    drawn several times about the mean so far, the mean is one of the plans, and there is no cost of control."""

    cfg: MPPIConfig

    def _improve(self, begin: Segment, mean: Tensor, more: list[Tensor]) -> Float[Tensor, "b a"]:
        std = torch.full_like(mean, self.cfg.spread)
        for _ in range(self.cfg.iterations):
            plans = self._drawn(mean, std, more)
            value = self._value(begin, plans)
            scale = self.cfg.temperature * value.std(1, keepdim=True).clamp_min(1e-6)
            weight = (value / scale).softmax(1)
            mean, more = (weight[..., None, None] * plans).sum(1), []
        self.mean = mean
        return mean[:, 0]


def _shifted(plans: Float[Tensor, "n h a"]) -> Float[Tensor, "n h a"]:
    """Plans a control step later, their last action repeated."""
    return torch.cat([plans[:, 1:], plans[:, -1:]], dim=1)


def looked(codec: Codec, world: World, seen: Sequence[Any], action: Tensor, before: Tensor | None = None) -> Segment:
    """What the global model needs of what environments show after actions (n, a), and after the observations (n, 1, d)
    `before`, if any: a row each, (n, 1, ...)."""
    device = _device(world)
    fields = {name: field.to(device)[:, None] for name, field in recorded_fields(seen, codec.reads).items()}
    nothing = torch.zeros(len(seen), 1, device=device)
    pictures = codec.pictures(fields) if isinstance(codec, CamerasCodec) and isinstance(world, PictureWorld) else None
    with torch.no_grad():
        return Segment(codec.observe(fields, before), action.to(device)[:, None], nothing, nothing + 1, pictures)


def resting(codec: Codec, world: World, seen: Sequence[Any], window: int, action_dim: int) -> Segment:
    """Windows (n, window, ...) of robots that have rested where environments show them first."""
    return cat([looked(codec, world, seen, torch.zeros(len(seen), action_dim))] * window)


class Guide:
    """What a policy would do from now on, as the global model imagines it; follows along what happens."""

    def __init__(self, policy: Policy, world: World, horizon: int):
        self.policy, self.world, self.horizon = policy, world, horizon
        self.belief: Any = None

    @torch.no_grad()
    def plan(self, past: Segment, control_step: int) -> Float[Tensor, "b h a"]:
        """Its actions after experience (B, T, ...), by its belief of what has been seen."""
        context, belief, actions = self.world.begin(past, control_step), self.belief, []
        for _ in range(self.horizon):
            actions.append(self.policy.actor(belief).mean)
            context, seen = self.world.step(context, actions[-1])
            belief = self._corrected(belief, actions[-1], seen.obs)
        return torch.stack(actions, dim=1).cpu()

    @torch.no_grad()
    def see(self, obs: Tensor, action: Tensor | None = None) -> None:
        """Take in what is observed (n, d) after an action, or at first."""
        if action is None:
            self.belief = self.policy.surrogate.initial(obs).expected()
        else:
            self.belief = self._corrected(self.belief, action.to(obs), obs)

    def _corrected(self, belief: Any, action: Tensor, obs: Tensor) -> Any:
        return self.policy.surrogate.correct(self.policy.surrogate.predict(belief, action), obs).expected()


def planning(codec: Codec, planner: Planner, window: int, view: View = plain, guide: Guide | None = None) -> Controller:
    """A controller that plans, about what a `guide` would do where there is one; the global model sees the last
    `window` observations."""
    world, size = planner.world, planner.action_dim
    seen = yield np.zeros((0, size))
    past = resting(codec, world, [view(one) for one in seen], window, size)
    if guide is not None:
        guide.see(past.obs[:, -1])
    while True:
        action = planner.act(past, None if guide is None else guide.plan(past, planner.control_step))
        seen = yield action.numpy()
        now = looked(codec, world, [view(one) for one in seen], action, past.obs[:, -1:])
        past = cat([past[:, 1:], now])
        if guide is not None:
            guide.see(past.obs[:, -1], action)


def _device(world: Any) -> torch.device:
    return next(world.parameters()).device if hasattr(world, "parameters") else torch.device("cpu")
