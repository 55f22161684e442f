"""A probe: a small convolutional network that reads agent and block off images, to measure models that show images."""

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor, nn

from glocal.core.types import Codec
from glocal.evaluate.gates import Pose, Reader


@dataclass(frozen=True)
class ProbeConfig:
    """Choices for the probe."""

    width: int = 32


class Probe(nn.Module):
    """Images (B, 64, 64, 3) to agent and block position, each in [-1, 1]^2, and the block's (cos, sin): (B, 6)."""

    def __init__(self, cfg: ProbeConfig):
        super().__init__()
        layers: list[nn.Module] = []
        channels = 5
        for width in (cfg.width, 2 * cfg.width, 4 * cfg.width):
            layers += [nn.Conv2d(channels, width, 3, stride=2, padding=1), nn.GroupNorm(4, width), nn.SiLU()]
            channels = width
        self.body = nn.Sequential(*layers, nn.Flatten(), nn.Linear(64 * channels, 256), nn.SiLU(), nn.Linear(256, 6))

    def forward(self, images: UInt8[Tensor, "b h w 3"]) -> Float[Tensor, "b 6"]:
        pixels = images.movedim(-1, 1).float() / 127.5 - 1
        axis = torch.linspace(-1, 1, pixels.shape[-1])
        rows, columns = torch.meshgrid(axis, axis, indexing="ij")
        grid = torch.stack([columns, rows]).expand(len(pixels), -1, -1, -1)
        return self.body(torch.cat([pixels, grid], dim=1))

    def loss(self, images: Tensor, agent: Tensor, pose: Tensor, table: float) -> tuple[Tensor, dict[str, Tensor]]:
        """Squared error against recorded agents (B, 2) and poses (B, 3), in pixels and radians."""
        angle = torch.stack([pose[:, 2].cos(), pose[:, 2].sin()], dim=-1)
        wanted = torch.cat([agent * (2 / table) - 1, pose[:, :2] * (2 / table) - 1, angle], dim=-1)
        error = (self(images) - wanted).pow(2).mean()
        return error, {"squared": error}

    @torch.no_grad()
    def read(self, images: UInt8[Tensor, "*batch h w 3"], table: float) -> Pose:
        """Agent, block and angle in pixels and radians."""
        flat = images.flatten(0, -4)
        found = torch.cat([self(part) for part in flat.split(256)]).unflatten(0, images.shape[:-3]).numpy()
        scale = table / 2
        agent, block = (found[..., :2] + 1) * scale, (found[..., 2:4] + 1) * scale
        return Pose(agent, block, np.arctan2(found[..., 5], found[..., 4]))


def image_reader(probe: Probe, codec: Codec, table: float) -> Reader:
    """Reads observations off the images that a codec decodes them to."""

    @torch.no_grad()
    def read(obs: Tensor) -> Pose:
        flat = obs.flatten(0, -2)
        images = torch.cat([codec.decode(part)["image"] for part in flat.split(256)])
        return probe.read(images.unflatten(0, obs.shape[:-1]), table)

    return read
