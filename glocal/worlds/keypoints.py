"""A global model of points: diffusion (EDM) of the change that an action makes, given the last few observations."""

from dataclasses import dataclass
from itertools import pairwise

import torch
from jaxtyping import Float
from torch import Tensor, nn

from glocal.core.geometry import Outcome, Scene
from glocal.core.nets import Residual, harmonics
from glocal.core.types import Batched, Segment, Spec, Step


@dataclass(frozen=True)
class KeypointWorldConfig:
    """Choices for the diffusion model of points."""

    context: int = 4
    """Observations that it sees."""
    width: int = 384
    blocks: int = 3
    scales: int = 5
    """Wavelengths of the positional features, halving from twice the table's width."""
    sampling_steps: int = 3
    """Euler steps; each is one evaluation of the network."""
    sigma_min: float = 0.02
    sigma_max: float = 5.0
    sigma_data: float = 1.0
    """Changes are normalised to about one."""
    sigma_mean: float = -0.4
    sigma_std: float = 1.4
    """Training noise: ln sigma ~ N(sigma_mean, sigma_std^2)."""
    rho: float = 7.0
    context_noise: float = 0.01
    """Largest noise on the context in training, in observation units; the model is told how much there is."""
    head_width: int = 128


@dataclass(frozen=True)
class Context(Batched):
    """The last observations and the actions that led to them (B, W, ...), and the key of the next draw."""

    obs: Float[Tensor, "b w d"]
    action: Float[Tensor, "b w a"]
    key: int


class Denoiser(nn.Module):
    """EDM's preconditioned denoiser (arXiv 2206.00364, Eq. 7) of changes, given the features of a situation."""

    def __init__(self, cfg: KeypointWorldConfig, obs_dim: int, situation_dim: int):
        super().__init__()
        self.sigma_data = cfg.sigma_data
        self.noisy = nn.Linear(obs_dim, cfg.width)
        self.level = nn.Linear(1 + 2 * 4, cfg.width)
        self.situation = nn.Linear(situation_dim, cfg.width)
        self.blocks = nn.Sequential(*[Residual(cfg.width) for _ in range(cfg.blocks)], nn.LayerNorm(cfg.width))
        self.out = nn.Linear(cfg.width, obs_dim)
        nn.init.zeros_(self.out.weight)
        nn.init.zeros_(self.out.bias)

    def forward(self, noisy: Tensor, sigma: Tensor, seen: Tensor) -> Tensor:
        """The clean change (B, d) expected behind `noisy` at noise `sigma` (B, 1); `seen` = `situation(features)`."""
        variance = sigma**2 + self.sigma_data**2
        c_noise = sigma.log() / 4
        level = self.level(torch.cat([c_noise, harmonics(c_noise / 2, 4)], dim=-1))
        hidden = self.blocks(seen + level + self.noisy(noisy / variance.sqrt()))
        c_skip = self.sigma_data**2 / variance
        c_out = sigma * self.sigma_data / variance.sqrt()
        return c_skip * noisy + c_out * self.out(hidden)


class KeypointWorld(nn.Module):
    """Answers actions on scenes of points. Each step is a draw from p(next observation | last `context` of them)."""

    def __init__(self, cfg: KeypointWorldConfig, spec: Spec):
        super().__init__()
        self.cfg = cfg
        self.spec = spec
        self.scene = Scene(spec, cfg.context, cfg.scales)
        self.denoiser = Denoiser(cfg, spec.obs_dim, self.scene.situation_dim() + 1)
        self.outcome = Outcome(spec.obs_dim, cfg.head_width)

    @torch.no_grad()
    def measure(self, before: Tensor, after: Tensor, reward: Tensor) -> None:
        """Take scales, the body's shape and the heads' reference from recorded (N, d) observations and rewards."""
        self.scene.measure(before, after, reward)
        self.outcome.reference.copy_(after[reward.argmax(), :-2])

    def begin(self, segment: Segment, key: int) -> Context:
        """See `World.begin`; needs at least `context` steps."""
        length = segment.obs.shape[1]
        if length < self.cfg.context:
            raise ValueError(f"the world needs {self.cfg.context} observations to begin, found {length}")
        return Context(segment.obs[:, -self.cfg.context :], segment.action[:, -self.cfg.context :], key)

    def step(self, context: Context, action: Float[Tensor, "b a"]) -> tuple[Context, Step]:
        """See `World.step`."""
        generator = torch.Generator(action.device).manual_seed(context.key)
        actions = torch.cat([context.action[:, 1:], action[:, None]], dim=1)
        obs = self.sample(context.obs, actions, generator)
        reward, cont = self.outcome(obs)
        after = Context(torch.cat([context.obs[:, 1:], obs[:, None]], dim=1), actions, context.key + 1)
        return after, Step(obs, reward, cont.sigmoid())

    def sample(self, obs: Float[Tensor, "b w d"], action: Float[Tensor, "b w a"], generator: torch.Generator) -> Tensor:
        """Euler's method on the probability flow (arXiv 2206.00364, Alg. 1): the next observation (B, d)."""
        seen = self._see(obs, action, torch.zeros_like(obs[:, 0, :1]))
        sigmas = self.schedule().to(obs)
        change = sigmas[0] * torch.randn(seen.shape[0], obs.shape[-1], generator=generator, device=obs.device)
        for sigma, after in pairwise(sigmas):
            clean = self.denoiser(change, sigma.expand(change.shape[0], 1), seen)
            change = clean + after / sigma * (change - clean)
        return self.scene.changed(obs[:, -1], change)

    def schedule(self) -> Float[Tensor, " n"]:
        """The noise levels of the sampler, from `sigma_max` to 0 (arXiv 2206.00364, Eq. 5)."""
        cfg = self.cfg
        ramp = torch.linspace(0, 1, cfg.sampling_steps) if cfg.sampling_steps > 1 else torch.zeros(1)
        low, high = cfg.sigma_min ** (1 / cfg.rho), cfg.sigma_max ** (1 / cfg.rho)
        return torch.cat([(high + ramp * (low - high)) ** cfg.rho, torch.zeros(1)])

    def loss(self, segment: Segment) -> tuple[Tensor, dict[str, Tensor]]:
        """The denoising loss of the last step of each segment (B, context + 1, ...), and the heads' losses."""
        obs, after = segment.obs[:, :-1], segment.obs[:, -1]
        noise = self.cfg.context_noise * torch.rand_like(obs[:, :1, :1]) * (torch.rand_like(obs[:, :1, :1]) < 0.5)
        blurred = obs + noise * torch.randn_like(obs)
        seen = self._see(blurred, segment.action[:, 1:], noise[:, 0])
        change = self.scene.change(blurred[:, -1], after)
        diffusion = self._denoising_loss(change, seen)
        reward, cont = self.outcome(after)
        reward_loss = nn.functional.smooth_l1_loss(reward, segment.reward[:, -1], beta=0.02)
        cont_loss = nn.functional.binary_cross_entropy_with_logits(cont, segment.cont[:, -1])
        loss = diffusion + reward_loss + cont_loss
        return loss, {"diffusion": diffusion, "reward": reward_loss, "cont": cont_loss}

    def _see(self, obs: Tensor, action: Tensor, noise: Tensor) -> Tensor:
        features = torch.cat([self.scene.situation(obs, action, self.cfg.scales), 100 * noise], dim=-1)
        return self.denoiser.situation(features)

    def _denoising_loss(self, change: Tensor, seen: Tensor) -> Tensor:
        """EDM's loss, weighted so that every noise level counts the same (arXiv 2206.00364, Eq. 8)."""
        cfg = self.cfg
        sigma = (cfg.sigma_mean + cfg.sigma_std * torch.randn_like(change[:, :1])).exp()
        clean = self.denoiser(change + sigma * torch.randn_like(change), sigma, seen)
        weight = (sigma**2 + cfg.sigma_data**2) / (sigma * cfg.sigma_data) ** 2
        return (weight * (clean - change).pow(2)).mean()
