"""Global models by diffusion (EDM, arXiv 2206.00364) of the change that an action makes, given the last observations.

What is being diffused, and the network that does it, is each world's own; noise levels, sampler, loss and the context
that is carried from step to step are the same for all.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn

from glocal.core.features import outcome_losses
from glocal.core.nets import harmonics
from glocal.core.ranges import Amount, Finite, Positive, Small, Width
from glocal.core.spec import Spec
from glocal.core.types import Batched, Pairs, Segment, Step

AT_ONCE = 4096
"""Recorded pairs that are looked at together."""
LEVEL_WAVES = 4
LEVEL_FEATURES = 1 + 2 * LEVEL_WAVES


@dataclass(frozen=True)
class DiffusionConfig:
    """Choices that all diffusion worlds share."""

    context: Small = 4
    """Observations that it sees."""
    size: Literal[0, 1, 2, 3, 4] = 2
    """0 (for tests) to 4: width and depth of the network together."""
    sampling_steps: Small = 3
    """Euler steps; each is one evaluation of the network."""
    sigma_min: Positive = 0.02
    sigma_max: Positive = 5.0
    """Of the sampler's first noise, or the largest recorded change where that is larger: a sample that starts below it
    already shows that little moved."""
    sigma_data: Positive = 1.0
    """Changes are normalised to about one."""
    sigma_mean: Finite = -0.4
    sigma_std: Positive = 1.4
    """Training noise: ln sigma ~ N(sigma_mean, sigma_std^2)."""
    rho: Positive = 7.0
    context_noise: Amount = 0.01
    """Largest noise on the context in training, in observation units; the model is told how much there is."""
    head_width: Width = 128

    def schedule(self, first: Tensor) -> list[Tensor]:
        """The noise levels of the sampler, from the first one (a scalar) to 0 (arXiv 2206.00364, Eq. 5)."""
        steps = self.sampling_steps
        low, high = self.sigma_min ** (1 / self.rho), first ** (1 / self.rho)
        return [*((high + i / max(1, steps - 1) * (low - high)) ** self.rho for i in range(steps)), 0 * first]


@dataclass(frozen=True)
class Context(Batched):
    """The last observations and the actions that led to them (B, W, ...), and the key of the next draw."""

    obs: Float[Tensor, "b w d"]
    action: Float[Tensor, "b w a"]
    key: int


class Denoiser(nn.Module, ABC):
    """What all of these worlds have in common: the units of changes, the noise on them, and how one is drawn."""

    first_sigma: Tensor
    """The noise that a sample begins with: above every recorded change."""

    def __init__(self, cfg: DiffusionConfig, spec: Spec):
        super().__init__()
        self.cfg, self.spec = cfg, spec
        self.register_buffer("first_sigma", torch.tensor(cfg.sigma_max))

    @torch.no_grad()
    def fit_statistics(self, pairs: Pairs) -> None:
        """Take statistics from recorded control steps."""
        self.fit_scales(pairs)
        parts = zip(pairs.before.split(AT_ONCE), pairs.after.split(AT_ONCE), strict=True)
        largest = torch.stack([self.delta(*part).abs().amax() for part in parts]).amax()
        self.first_sigma.copy_(largest.clamp_min(self.cfg.sigma_max))

    @abstractmethod
    def fit_scales(self, pairs: Pairs) -> None:
        """Take the units of changes, and whatever else a world needs, from recorded control steps."""

    @abstractmethod
    def denoise(self, noisy: Tensor, sigma: Tensor, seen: Any) -> Tensor:
        """The clean change (B, d) expected behind `noisy` at noise `sigma` (B, 1), after what was seen."""

    @abstractmethod
    def delta(self, before: Tensor, after: Tensor) -> Tensor:
        """What happened between two observations (B, d), in units of the typical change."""

    @abstractmethod
    def advance(self, before: Tensor, delta: Tensor) -> Tensor:
        """The observation (B, d) after a change."""

    def drawn(self, before: Float[Tensor, "b d"], seen: Any, noise: Float[Tensor, "b d"]) -> Float[Tensor, "b d"]:
        """The next observation, made of unit noise."""
        sigmas = self.cfg.schedule(self.first_sigma)
        return self.advance(before, solved(lambda x, sigma: self.denoise(x, sigma, seen), noise, sigmas))

    def errors(self, change: Float[Tensor, "b d"], seen: Any) -> Float[Tensor, "b d"]:
        """Squared errors at random noise, weighted so that every level counts the same (arXiv 2206.00364, Eq. 8)."""
        cfg = self.cfg
        sigma = (cfg.sigma_mean + cfg.sigma_std * torch.randn_like(change[:, :1])).exp()
        clean = self.denoise(change + sigma * torch.randn_like(change), sigma, seen)
        weight = (sigma**2 + cfg.sigma_data**2) / (sigma * cfg.sigma_data) ** 2
        return weight * (clean - change).pow(2)


class DiffusionWorld(Denoiser):
    """Answers actions. Each step is a draw from p(next observation | last `context` of them and their actions)."""

    @property
    def length(self) -> int:
        """Rows of a window that its loss reads."""
        return self.cfg.context + 1

    @property
    def acted(self) -> int:
        """Control steps that windows of its loss end with, where episodes have as many."""
        return 1

    @abstractmethod
    def outcome(self, obs: Tensor) -> tuple[Tensor, Tensor]:
        """Reward (*batch,) and the logit of continuation (*batch,) of observations (*batch, d)."""

    @abstractmethod
    def see(self, obs: Tensor, action: Tensor, noise: Tensor) -> Any:
        """What the network makes of a context and of the noise (B, 1) on it; the same at every noise level."""

    def outcomes(self, segment: Segment) -> tuple[Tensor, Tensor]:
        """Rewards (B, T) and logits of continuation (B, T) of what was recorded."""
        return self.outcome(segment.obs)

    def begin(self, segment: Segment, key: int) -> Context:
        """See `World.begin`; needs at least `context` steps."""
        latest = segment.latest(self.cfg.context)
        return Context(latest.obs, latest.action, key)

    def step(self, context: Context, action: Float[Tensor, "b a"]) -> tuple[Context, Step]:
        """See `World.step`."""
        noise = unit_noise(context.key, (len(action), self.spec.obs_dim), action.device)
        actions = torch.cat([context.action[:, 1:], action[:, None]], dim=1)
        obs = self.sample(context.obs, actions, noise)
        reward, cont = self.outcome(obs)
        after = Context(torch.cat([context.obs[:, 1:], obs[:, None]], dim=1), actions, context.key + 1)
        return after, Step(obs, reward, cont.sigmoid())

    def sample(
        self, obs: Float[Tensor, "b w d"], action: Float[Tensor, "b w a"], noise: Float[Tensor, "b d"]
    ) -> Float[Tensor, "b d"]:
        """The next observation, made of unit noise."""
        return self.drawn(obs[:, -1], self.see(obs, action, torch.zeros_like(obs[:, 0, :1])), noise)

    def loss(self, segment: Segment) -> tuple[Tensor, dict[str, Tensor]]:
        """The denoising loss of the last step of each segment (B, context + 1, ...), and the heads' losses."""
        obs, after = segment.obs[:, :-1], segment.obs[:, -1]
        noise = context_noise(self.cfg, obs)
        blurred = obs + noise * torch.randn_like(obs)
        seen = self.see(blurred, segment.action[:, 1:], noise[:, 0])
        diffusion = self.averaged(self.errors(self.delta(blurred[:, -1], after), seen))
        outcome = outcome_losses(self.outcome(after), segment[:, -1])
        return diffusion + outcome["reward"] + outcome["cont"], {"diffusion": diffusion, **outcome}

    def averaged(self, squared: Float[Tensor, "b d"]) -> Float[Tensor, ""]:
        """The mean of squared errors that is minimised."""
        return squared.mean()


def context_noise(cfg: DiffusionConfig, obs: Float[Tensor, "b w d"]) -> Float[Tensor, "b 1 1"]:
    """How much noise there is on each window's context in training; on half of them none."""
    like = obs[:, :1, :1]
    return cfg.context_noise * torch.rand_like(like) * (torch.rand_like(like) < 0.5)


def unit_noise(key: int, shape: tuple[int, ...], device: torch.device) -> Tensor:
    """Normal numbers that follow from a key alone."""
    return torch.randn(shape, generator=torch.Generator(device).manual_seed(key), device=device)


def solved(
    denoise: Callable[[Tensor, Tensor], Tensor],
    noise: Float[Tensor, "b d"],
    sigmas: Sequence[Tensor],
    heun: bool = False,
) -> Float[Tensor, "b d"]:
    """What unit noise becomes along falling noise levels, the last of them 0, by Euler's method or by Heun's, which
    looks ahead at each level but the last (arXiv 2206.00364, Alg. 1). `denoise` takes (B, d) and levels (B, 1)."""
    x = sigmas[0] * noise
    for i, (sigma, after) in enumerate(pairwise(sigmas)):
        clean = denoise(x, sigma.expand(len(x), 1))
        moved = clean + after / sigma * (x - clean)
        if heun and i < len(sigmas) - 2:
            slope, ahead = (x - clean) / sigma, (moved - denoise(moved, after.expand(len(x), 1))) / after
            moved = x + (after - sigma) * (slope + ahead) / 2
        x = moved
    return x


def preconditioned(network: Callable[[Tensor], Tensor], noisy: Tensor, sigma: Tensor, sigma_data: float) -> Tensor:
    """EDM's denoiser (arXiv 2206.00364, Eq. 7) around a network of the scaled input; (B, d), `sigma` (B, 1)."""
    variance = sigma**2 + sigma_data**2
    return sigma_data**2 / variance * noisy + sigma * sigma_data / variance.sqrt() * network(noisy / variance.sqrt())


def level_features(sigma: Float[Tensor, "b 1"]) -> Float[Tensor, "b f"]:
    """Noise-level embedding, (B, LEVEL_FEATURES)."""
    level = sigma.log() / 4
    return torch.cat([level, harmonics(level / 2, LEVEL_WAVES)], dim=-1)
