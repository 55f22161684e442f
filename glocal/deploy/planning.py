"""Planning in the global model at every control step, by iCEM (arXiv 2008.06389): what a policy is compared with."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

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
class ICEMConfig:
    """Choices for the cross-entropy method."""

    samples: Annotated[int, Range(2, 100_000)] = 64
    """Plans that are tried in each iteration, for each environment."""
    iterations: Small = 3
    horizon: Small = 10
    elites: Annotated[int, Range(1, 10_000)] = 8
    kept: Share = 0.3
    """Share of the elites that the next iteration, and the next control step, tries again."""
    momentum: Part = 0.1
    colour: Amount = 2.0
    """Exponent of the noise's spectrum over time: 0 is white, 2 wanders."""
    spread: Positive = 0.5
    """First standard deviation of an action."""
    gamma: Part = 0.97


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


class ICEM:
    """Plans for B environments at once; remembers its last plans, so that every batch of episodes needs its own."""

    def __init__(self, cfg: ICEMConfig, world: World, action_dim: int, seed: int):
        self.cfg, self.world, self.action_dim = cfg, world, action_dim
        self.generator = torch.Generator().manual_seed(seed)
        self.mean: Tensor | None = None
        self.again: Tensor | None = None
        self.control_step = 0

    @torch.no_grad()
    def act(self, begin: Segment) -> Float[Tensor, "b a"]:
        """The best first action that was found after experience (B, T, ...)."""
        cfg, count = self.cfg, len(begin.obs)
        mean = torch.zeros(count, cfg.horizon, self.action_dim) if self.mean is None else _shifted(self.mean)
        again = None if self.again is None else _shifted(self.again.flatten(0, 1)).unflatten(0, (count, -1))
        std = torch.full_like(mean, cfg.spread)
        best = torch.zeros(count, self.action_dim)
        highest = torch.full((count,), -torch.inf)
        for _ in range(cfg.iterations):
            plans = self._drawn(mean, std, again)
            value = self._value(begin, plans)
            elites = plans.gather(
                1, value.topk(cfg.elites, 1).indices[..., None, None].expand(-1, -1, *plans.shape[2:])
            )
            mean = cfg.momentum * mean + (1 - cfg.momentum) * elites.mean(1)
            std = cfg.momentum * std + (1 - cfg.momentum) * elites.std(1, correction=0)
            again = elites[:, : max(1, round(cfg.kept * cfg.elites))]
            better = value.amax(1) > highest
            best = torch.where(better[:, None], elites[:, 0, 0], best)
            highest = torch.maximum(highest, value.amax(1))
        self.mean, self.again = mean, again
        self.control_step += 1
        return best

    def _drawn(self, mean: Tensor, std: Tensor, again: Tensor | None) -> Float[Tensor, "b n h a"]:
        """Plans about the mean, the mean itself, and those to be tried again."""
        cfg, count = self.cfg, len(mean)
        noise = coloured_noise(count * cfg.samples, cfg.horizon, self.action_dim, cfg.colour, self.generator)
        plans = mean[:, None] + std[:, None] * noise.unflatten(0, (count, cfg.samples))
        more = [mean[:, None]] if again is None else [mean[:, None], again]
        return torch.cat([plans.clamp(-1, 1), *more], dim=1)

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


def planning(
    codec: Codec, world: World, cfg: ICEMConfig, window: int, action_dim: int, seed: int, view: View = plain
) -> Controller:
    """A controller that plans; the global model sees the last `window` observations."""
    planner = ICEM(cfg, world, action_dim, seed)
    seen = yield np.zeros((0, action_dim))
    past = resting(codec, world, [view(one) for one in seen], window, action_dim)
    while True:
        action = planner.act(past)
        seen = yield action.numpy()
        now = looked(codec, world, [view(one) for one in seen], action, past.obs[:, -1:])
        past = cat([past[:, 1:], now])


def _device(world: Any) -> torch.device:
    return next(world.parameters()).device if hasattr(world, "parameters") else torch.device("cpu")
