"""A global model of scenes of points."""

from dataclasses import dataclass
from typing import Annotated

import torch
from torch import Tensor, nn

from glocal.core.geometry import Outcome, Scene
from glocal.core.nets import Residual
from glocal.core.ranges import Range
from glocal.core.types import Spec
from glocal.worlds.diffusion import LEVEL_FEATURES, DiffusionConfig, DiffusionWorld, level_features, preconditioned

SIZES = ((16, 1), (192, 2), (384, 3), (768, 4), (1536, 6))
"""Width and residual blocks by `size`."""


@dataclass(frozen=True)
class KeypointWorldConfig(DiffusionConfig):
    """Choices for the diffusion model of points."""

    scales: Annotated[int, Range(1, 16)] = 5
    """Wavelengths of the positional features, halving from twice the table's width."""


class Denoiser(nn.Module):
    """Residual blocks on the noisy change, the noise level, and the features of a situation."""

    def __init__(self, width: int, blocks: int, obs_dim: int, situation_dim: int):
        super().__init__()
        self.noisy = nn.Linear(obs_dim, width)
        self.level = nn.Linear(LEVEL_FEATURES, width)
        self.situation = nn.Linear(situation_dim, width)
        self.blocks = nn.Sequential(*[Residual(width) for _ in range(blocks)], nn.LayerNorm(width))
        self.out = nn.Linear(width, obs_dim)
        nn.init.zeros_(self.out.weight)
        nn.init.zeros_(self.out.bias)

    def forward(self, scaled: Tensor, level: Tensor, seen: Tensor) -> Tensor:
        return self.out(self.blocks(seen + self.level(level) + self.noisy(scaled)))


class KeypointWorld(DiffusionWorld):
    """Diffuses the change of points and agent; of a rigid body in its own frame."""

    cfg: KeypointWorldConfig

    def __init__(self, cfg: KeypointWorldConfig, spec: Spec):
        super().__init__(cfg, spec)
        self.scene = Scene(spec, cfg.context, cfg.scales)
        self.denoiser = Denoiser(*SIZES[cfg.size], spec.obs_dim, self.scene.situation_dim() + 1)
        self.head = Outcome(spec.obs_dim, cfg.head_width)

    @torch.no_grad()
    def measure(self, before: Tensor, after: Tensor, reward: Tensor) -> None:
        """Take scales, the body's shape and the head's reference from recorded pairs (N, d) and rewards (N,)."""
        self.scene.measure(before, after, reward)
        self.head.reference.copy_(after[reward.argmax(), :-2])

    def outcome(self, obs: Tensor) -> tuple[Tensor, Tensor]:
        return self.head(obs)

    def see(self, obs: Tensor, action: Tensor, noise: Tensor) -> Tensor:
        features = torch.cat([self.scene.situation(obs, action, self.cfg.scales), 100 * noise], dim=-1)
        return self.denoiser.situation(features)

    def denoise(self, noisy: Tensor, sigma: Tensor, seen: Tensor) -> Tensor:
        level = level_features(sigma)
        return preconditioned(lambda x: self.denoiser(x, level, seen), noisy, sigma, self.cfg.sigma_data)

    def change(self, before: Tensor, after: Tensor) -> Tensor:
        return self.scene.change(before, after)

    def changed(self, before: Tensor, change: Tensor) -> Tensor:
        return self.scene.changed(before, change)
