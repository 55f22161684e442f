"""A global model of latent grids: diffusion by convolutions, with the agent and its target drawn on the plan."""

from dataclasses import dataclass
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn

from glocal.core.nets import ResidualConv, half_precision, mlp, outcome_head
from glocal.core.ranges import Amount
from glocal.core.spec import Part, Spec
from glocal.models.rigid2d.scene import SceneConfig
from glocal.models.worlds.diffusion import (
    LEVEL_FEATURES,
    DiffusionConfig,
    DiffusionWorld,
    level_features,
    preconditioned,
)

SIZES = ((8, 1), (48, 2), (96, 3), (192, 5), (384, 8))
"""Channels and residual blocks by `size`."""
BUMP_WIDTHS = (0.12, 0.4)
"""Standard deviations of the bumps that stand for agent and target, where the plan reaches from -1 to 1."""


@dataclass(frozen=True)
class GridWorldConfig(DiffusionConfig):
    """Choices for the diffusion model of latent grids."""

    context_noise: Amount = 0.05


class Sight(NamedTuple):
    """What the network makes of a context: maps for the grid, and features for the agent's own motion."""

    maps: Float[Tensor, "b f s s"]
    agent: Float[Tensor, "b f"]


class GridDenoiser(nn.Module):
    """Residual convolutions on the noisy change of the grid; the agent's two numbers leave by a path of their own."""

    def __init__(self, channels: int, blocks: int, grid: Part, seen_maps: int, seen_agent: int):
        super().__init__()
        self.cells, _, self.side = grid.shape
        self.noisy = nn.Conv2d(self.cells + 2, channels, 3, padding=1)
        self.level = nn.Linear(LEVEL_FEATURES, channels)
        self.maps = nn.Conv2d(seen_maps, channels, 3, padding=1)
        self.blocks = nn.Sequential(*[ResidualConv(channels) for _ in range(blocks)], nn.GroupNorm(8, channels))
        self.out = nn.Conv2d(channels, self.cells, 3, padding=1)
        self.agent = mlp(2 + seen_agent + LEVEL_FEATURES + channels, 128, 2, 2)
        nn.init.zeros_(self.out.weight)
        nn.init.zeros_(self.out.bias)  # pyright: ignore[reportArgumentType]

    def forward(self, scaled: Float[Tensor, "b d"], level: Tensor, seen: Sight) -> Float[Tensor, "b d"]:
        side, agent = self.side, scaled[:, -2:]
        maps = scaled[:, :-2].unflatten(-1, (-1, side, side))
        maps = torch.cat([maps, agent[..., None, None].expand(-1, -1, side, side)], dim=1)
        hidden = self.noisy(maps.contiguous(memory_format=torch.channels_last)) + seen.maps
        hidden = nn.functional.silu(self.blocks(hidden + self.level(level)[..., None, None]))
        moved = self.agent(torch.cat([agent, seen.agent, level, hidden.mean((2, 3))], dim=-1))
        return torch.cat([self.out(hidden).flatten(1), moved], dim=-1)


class GridWorld(DiffusionWorld):
    """Diffuses the change of a latent grid and of the agent's position."""

    scale: Tensor
    plan: Tensor

    def __init__(self, cfg: GridWorldConfig, spec: Spec, features: SceneConfig):
        super().__init__(cfg, spec)
        names = [part.name for part in spec.parts]
        assert names == ["grid", "agent"], f"a grid world answers with a grid and an agent, found {', '.join(names)}"
        grid, self.reach = spec.part("grid"), features.reach
        channels, _, self.side = grid.shape
        line = (torch.arange(self.side) + 0.5) * 2 / self.side - 1
        self.register_buffer("plan", torch.stack([line.expand(self.side, -1), line[:, None].expand(-1, self.side)]))
        self.register_buffer("scale", torch.ones(spec.obs_dim))
        drawn = 3 * len(BUMP_WIDTHS)
        seen_agent = 4 * cfg.context
        seen_maps = cfg.context * channels + drawn + 2 + 1 + seen_agent
        self.denoiser = GridDenoiser(*SIZES[cfg.size], grid, seen_maps, seen_agent)
        self.head = outcome_head(spec.obs_dim, cfg.head_width)

    @torch.no_grad()
    def fit_scales(self, before: Tensor, after: Tensor, reward: Tensor) -> None:
        """Take the typical change of each channel and of the agent from recorded pairs (N, d)."""
        rows = torch.randperm(len(before), device=before.device)[:4096]
        change = (after[rows] - before[rows]).pow(2)
        cells = self.side**2
        channels = change[:, :-2].unflatten(-1, (-1, cells)).mean((0, 2)).sqrt().clamp_min(1e-3)
        agent = change[:, -2:].mean().sqrt().clamp_min(1e-3).expand(2)
        self.scale.copy_(torch.cat([channels.repeat_interleave(cells), agent]))

    def outcome(self, obs: Tensor) -> tuple[Tensor, Tensor]:
        reward, cont = self.head(obs).unbind(-1)
        return reward, cont

    def see(self, obs: Tensor, action: Tensor, noise: Tensor) -> Sight:
        side, now = self.side, obs[:, -1:, -2:]
        maps = obs[..., :-2].unflatten(-1, (-1, side, side)).flatten(1, 2)
        targets = (obs[..., -2:] + self.reach * action).clamp(-1, 1)
        agent = torch.cat([obs[..., -2:] - now, targets - now], dim=-1).flatten(1) / self.scale[-1]
        places = torch.stack([obs[:, -2, -2:], obs[:, -1, -2:], targets[:, -1]], dim=1)
        flat = torch.cat([agent, 20 * noise], dim=-1)
        plan = self.plan.expand(len(obs), -1, -1, -1)
        shown = [maps, self._bumps(places), plan, flat[..., None, None].expand(-1, -1, side, side)]
        with half_precision(obs.device):
            seen = self.denoiser.maps(torch.cat(shown, dim=1).contiguous(memory_format=torch.channels_last))
        return Sight(seen, agent)

    def denoise(self, noisy: Tensor, sigma: Tensor, seen: Sight) -> Tensor:
        level = level_features(sigma)

        def network(scaled: Tensor) -> Tensor:
            with half_precision(scaled.device):
                return self.denoiser(scaled, level, seen).float()

        return preconditioned(network, noisy, sigma, self.cfg.sigma_data)

    def delta(self, before: Tensor, after: Tensor) -> Tensor:
        return (after - before) / self.scale

    def advance(self, before: Tensor, delta: Tensor) -> Tensor:
        return (before + delta * self.scale).clamp(-1, 1)

    def _bumps(self, places: Float[Tensor, "b n 2"]) -> Float[Tensor, "b m s s"]:
        """Gaussian bumps of each width at the places."""
        squared = (places[..., None, None] - self.plan).pow(2).sum(2)
        return torch.cat([(-squared / (2 * width**2)).exp() for width in BUMP_WIDTHS], dim=1)
