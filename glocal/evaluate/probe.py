"""A probe: a small network that reads agent and block off observations, to measure how much of them a codec keeps."""

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from glocal.core.nets import mlp
from glocal.core.ranges import Width
from glocal.core.spec import Spec
from glocal.evaluate.gates import Pose


@dataclass(frozen=True)
class ProbeConfig:
    """Choices for the probe."""

    width: Width = 256
    channels: Width = 64
    """Of its convolutions, where observations are grids."""


class Probe(nn.Module):
    """Observations (B, d) to agent and block position, each in [-1, 1]^2, and the block's (cos, sin): (B, 6).

    Two hidden layers on the numbers as they are; on grids three convolutions, with coordinates, come before them.
    """

    def __init__(self, cfg: ProbeConfig, spec: Spec):
        super().__init__()
        grid = next((part for part in spec.parts if len(part.shape) == 3), None)
        self.side = None if grid is None else grid.shape[-1]
        if grid is not None:
            self.columns = spec.columns(grid.name)
            cells, channels = grid.shape[1] * grid.shape[2], grid.shape[0] + 2
            layers: list[nn.Module] = []
            for _ in range(3):
                layers += [nn.Conv2d(channels, cfg.channels, 3, padding=1), nn.GroupNorm(4, cfg.channels), nn.SiLU()]
                channels = cfg.channels
            self.convolutions = nn.Sequential(*layers, nn.Conv2d(channels, 16, 1), nn.Flatten())
            self.body = mlp(16 * cells + spec.obs_dim - grid.size, cfg.width, 2, 6)
        else:
            self.body = mlp(spec.obs_dim, cfg.width, 2, 6)

    def forward(self, obs: Float[Tensor, "b d"]) -> Float[Tensor, "b 6"]:
        if self.side is not None:
            side = self.side
            axis = torch.linspace(-1, 1, side, device=obs.device)
            grid = torch.stack([axis.expand(side, side), axis[:, None].expand(side, side)])
            columns = self.columns
            cells = obs[:, columns].unflatten(-1, (-1, side, side))
            maps = torch.cat([cells, grid.expand(len(obs), -1, -1, -1)], dim=1)
            obs = torch.cat([self.convolutions(maps), obs[:, : columns.start], obs[:, columns.stop :]], dim=-1)
        return self.body(obs)

    def loss(self, obs: Tensor, agent: Tensor, pose: Tensor, table: float) -> tuple[Tensor, dict[str, Tensor]]:
        """Squared error against recorded agents (B, 2) and poses (B, 3), in pixels and radians."""
        angle = torch.stack([pose[:, 2].cos(), pose[:, 2].sin()], dim=-1)
        wanted = torch.cat([agent * (2 / table) - 1, pose[:, :2] * (2 / table) - 1, angle], dim=-1)
        error = (self(obs) - wanted).pow(2).mean()
        return error, {"squared": error}

    @torch.no_grad()
    def read(self, obs: Float[Tensor, "*batch d"], table: float) -> Pose:
        """Agent, block and angle in pixels and radians."""
        flat = obs.flatten(0, -2)
        found = torch.cat([self(part) for part in flat.split(4096)]).unflatten(0, obs.shape[:-1]).cpu().numpy()
        scale = table / 2
        agent, block = (found[..., :2] + 1) * scale, (found[..., 2:4] + 1) * scale
        return Pose(agent, block, np.arctan2(found[..., 5], found[..., 4]))
