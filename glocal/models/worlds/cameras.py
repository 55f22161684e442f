"""A global model of any robot's cameras, as latent grids, and of the numbers beside them: diffusion by convolutions."""

from dataclasses import dataclass
from typing import Annotated, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn

from glocal.core.features import PlainOutcome, Standard
from glocal.core.nets import AdaptiveConv, half_precision, harmonics, mlp
from glocal.core.ranges import Amount, Range
from glocal.core.spec import Spec
from glocal.core.types import Pairs
from glocal.models.worlds.diffusion import (
    LEVEL_FEATURES,
    DiffusionConfig,
    DiffusionWorld,
    level_features,
    preconditioned,
)

SIZES = ((8, 1), (48, 2), (96, 3), (192, 5), (384, 8))
"""Channels and residual blocks by `size`."""


@dataclass(frozen=True)
class CamerasWorldConfig(DiffusionConfig):
    """Choices for the diffusion model of cameras."""

    scales: Annotated[int, Range(1, 16)] = 3
    """Wavelengths of the features of numbers, halving from one to the next."""
    context_noise: Amount = 0.05


class Sight(NamedTuple):
    """What the network makes of a context: maps of what the cameras showed, and features of numbers and actions."""

    maps: Float[Tensor, "b c s s"]
    flat: Float[Tensor, "b f"]


class CamerasDenoiser(nn.Module):
    """Convolutions on the noisy change of all grids, one behind the other in channels; numbers leave by a path of their
    own. Both are told of each other."""

    def __init__(self, channels: int, blocks: int, grids: tuple[int, int], numbers: int, seen: tuple[int, int]):
        """`grids` are the channels of all grids and their side, `seen` the maps and features that a context makes."""
        super().__init__()
        self.numbers, self.side = numbers, grids[1]
        self.told = mlp(seen[1] + LEVEL_FEATURES + numbers, 2 * channels, 1, 2 * channels)
        self.noisy = nn.Conv2d(grids[0], channels, 3, padding=1)
        self.maps = nn.Conv2d(seen[0], channels, 3, padding=1)
        self.blocks = nn.ModuleList([AdaptiveConv(channels, 2 * channels) for _ in range(blocks)])
        self.out = nn.Sequential(nn.GroupNorm(8, channels), nn.SiLU(), nn.Conv2d(channels, grids[0], 3, padding=1))
        entering = numbers + seen[1] + LEVEL_FEATURES + channels
        self.moved = mlp(entering, max(64, 2 * channels), 2, numbers) if numbers else None
        nn.init.zeros_(self.out[-1].weight)  # pyright: ignore[reportArgumentType]
        nn.init.zeros_(self.out[-1].bias)  # pyright: ignore[reportArgumentType]

    def forward(self, scaled: Float[Tensor, "b d"], level: Tensor, seen: Sight) -> Float[Tensor, "b d"]:
        numbers, grids = scaled[:, : self.numbers], scaled[:, self.numbers :]
        told = nn.functional.silu(self.told(torch.cat([seen.flat, level, numbers], dim=-1)))
        maps = grids.unflatten(-1, (-1, self.side, self.side)).contiguous(memory_format=torch.channels_last)
        hidden = self.noisy(maps) + seen.maps
        for block in self.blocks:
            hidden = block(hidden, told)
        drawn = self.out(hidden).flatten(1)
        if self.moved is None:
            return drawn
        moved = self.moved(torch.cat([numbers, seen.flat, level, hidden.mean((2, 3))], dim=-1))
        return torch.cat([moved, drawn], dim=-1)


class CamerasWorld(DiffusionWorld):
    """Diffuses the change of what every camera shows and of all numbers, together."""

    plan: Tensor

    def __init__(self, cfg: CamerasWorldConfig, spec: Spec):
        super().__init__(cfg, spec)
        self.cfg: CamerasWorldConfig = cfg
        shapes = [part.shape for part in spec.parts]
        grids = [shape for shape in shapes if len(shape) == 3]
        assert grids and shapes[-len(grids) :] == grids, "grids are the last parts of an observation"
        assert len({shape[1:] for shape in grids}) == 1, "all grids have as many cells"
        self.side, self.numbers = grids[0][1], sum(shape[0] for shape in shapes[: -len(grids)])
        line = (torch.arange(self.side) + 0.5) * 2 / self.side - 1
        self.register_buffer("plan", torch.stack([line.expand(self.side, -1), line[:, None].expand(-1, self.side)]))
        self.features = Standard(spec, cfg.context, cfg.scales)
        cells = sum(shape[0] for shape in grids)
        seen_from = len(self.features.relations.weight) * (1 + 2 * cfg.scales)
        flat = self.numbers * (1 + 2 * cfg.scales + cfg.context - 1) + cfg.context * spec.action_dim + seen_from + 1
        seen = cfg.context * cells + 2, flat
        self.denoiser = CamerasDenoiser(*SIZES[cfg.size], (cells, self.side), self.numbers, seen)
        self.head = PlainOutcome(spec.obs_dim, cfg.head_width)

    def fit_scales(self, pairs: Pairs) -> None:
        """Take the typical change of every number and of each grid's channels from recorded control steps."""
        self.features.fit_statistics(pairs)

    def outcome(self, obs: Tensor) -> tuple[Tensor, Tensor]:
        return self.head(obs)

    def see(self, obs: Tensor, action: Tensor, noise: Tensor) -> Sight:
        maps = obs[..., self.numbers :].unflatten(-1, (-1, self.side, self.side)).flatten(1, 2)
        shown = torch.cat([maps, self.plan.expand(len(obs), -1, -1, -1)], dim=1)
        with half_precision(obs.device):
            seen = self.denoiser.maps(shown.contiguous(memory_format=torch.channels_last))
        return Sight(seen, torch.cat([self._flat(obs, action), 20 * noise], dim=-1))

    def denoise(self, noisy: Tensor, sigma: Tensor, seen: Sight) -> Tensor:
        level = level_features(sigma)

        def network(scaled: Tensor) -> Tensor:
            with half_precision(scaled.device):
                return self.denoiser(scaled, level, seen).float()

        return preconditioned(network, noisy, sigma, self.cfg.sigma_data)

    def delta(self, before: Tensor, after: Tensor) -> Tensor:
        return self.features.delta(before, after)

    def advance(self, before: Tensor, delta: Tensor) -> Tensor:
        after = self.features.advance(before, delta)
        return torch.cat([after[:, : self.numbers], after[:, self.numbers :].clamp(-1, 1)], dim=-1)

    def averaged(self, squared: Float[Tensor, "b d"]) -> Float[Tensor, ""]:
        """Every part counts the same, however many numbers it has."""
        return torch.stack([part.mean() for part in self.spec.split(squared).values()]).mean()

    def _flat(self, obs: Tensor, action: Tensor) -> Float[Tensor, "b f"]:
        """The numbers now, in waves as well, how they changed, the actions, and what is seen from what moves it."""
        now, scale = obs[:, -1, : self.numbers], self.features.scale[: self.numbers]
        past = (obs[:, 1:, : self.numbers] - obs[:, :-1, : self.numbers]) / scale
        seen_from = self.features.relations(now, self.cfg.scales)
        waves = harmonics(now / 4, self.cfg.scales)
        return torch.cat([now, waves, past.asinh().flatten(1), action.flatten(1), seen_from], dim=-1)
