"""A global model of vectors: diffusion of the change that the features tell."""

from dataclasses import dataclass
from typing import Annotated

import torch
from torch import Tensor, nn

from glocal.core.features import FeaturesConfig
from glocal.core.nets import Narrow, Residual
from glocal.core.ranges import Range
from glocal.core.spec import Spec
from glocal.core.types import Pairs
from glocal.models.worlds.diffusion import (
    LEVEL_FEATURES,
    DiffusionConfig,
    DiffusionWorld,
    level_features,
    preconditioned,
)

SIZES = ((16, 1), (192, 2), (384, 3), (768, 4), (1536, 6))
"""Width and residual blocks by `size`."""


@dataclass(frozen=True)
class VectorWorldConfig(DiffusionConfig):
    """Choices for the diffusion model of vectors."""

    scales: Annotated[int, Range(1, 16)] = 5
    """Wavelengths of the positional features, halving from one to the next."""


class DenoisingNet(nn.Module):
    """Residual blocks on the noisy change, the noise level, and the features of what was seen."""

    def __init__(self, width: int, blocks: int, obs_dim: int, seen_dim: int):
        super().__init__()
        self.noisy = nn.Linear(obs_dim, width)
        self.level = nn.Linear(LEVEL_FEATURES, width)
        self.seen = Narrow(seen_dim, width)
        self.blocks = nn.Sequential(*[Residual(width) for _ in range(blocks)], nn.LayerNorm(width))
        self.out = nn.Linear(width, obs_dim)
        nn.init.zeros_(self.out.weight)
        nn.init.zeros_(self.out.bias)

    def forward(self, scaled: Tensor, level: Tensor, seen: Tensor) -> Tensor:
        return self.out(self.blocks(seen + self.level(level) + self.noisy(scaled)))


class VectorWorld(DiffusionWorld):
    """Diffuses the change of an observation, as its features tell it."""

    cfg: VectorWorldConfig

    def __init__(self, cfg: VectorWorldConfig, spec: Spec, features: FeaturesConfig):
        super().__init__(cfg, spec)
        self.features = features.build(spec, cfg.context, cfg.scales)
        self.denoiser = DenoisingNet(*SIZES[cfg.size], spec.obs_dim, self.features.dynamics_dim() + 1)
        self.head = self.features.outcome(cfg.head_width)

    @torch.no_grad()
    def fit_scales(self, pairs: Pairs) -> None:
        """Take the statistics of features and head from recorded control steps."""
        self.features.fit_statistics(pairs)
        self.head.fit_statistics(pairs.after, pairs.reward)

    def outcome(self, obs: Tensor) -> tuple[Tensor, Tensor]:
        return self.head(obs)

    def see(self, obs: Tensor, action: Tensor, noise: Tensor) -> Tensor:
        features = torch.cat([self.features.dynamics(obs, action, self.cfg.scales), 100 * noise], dim=-1)
        return self.denoiser.seen(features)

    def denoise(self, noisy: Tensor, sigma: Tensor, seen: Tensor) -> Tensor:
        level = level_features(sigma)
        return preconditioned(lambda x: self.denoiser(x, level, seen), noisy, sigma, self.cfg.sigma_data)

    def delta(self, before: Tensor, after: Tensor) -> Tensor:
        return self.features.delta(before, after)

    def advance(self, before: Tensor, delta: Tensor) -> Tensor:
        return self.features.advance(before, delta)
