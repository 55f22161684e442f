"""Keypoints learned from images without labels: a spatial-softmax autoencoder (after arXiv 1509.06113 and 1806.07823).

Images become the expected coordinates of a few heat maps; to be drawn again, they have to lie on what moves. The median
frame is left out of it, so that no point is spent on the background.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from jaxtyping import Float, UInt8
from torch import Tensor, nn

from glocal.core.types import Codec


@dataclass(frozen=True)
class KeypointCodecConfig:
    """Choices for the learned keypoints."""

    points: int = 24
    width: int = 32
    decoder_width: int = 48
    bump_widths: tuple[float, float] = (0.06, 0.15)
    """Standard deviations of the bumps that the decoder sees, where the image reaches from -1 to 1."""
    worst_pixels: int = 128
    """Pixels of each image whose mean error is added to the loss: small things are otherwise left out."""


class KeypointCodec(Codec):
    """`image` (64, 64, 3) uint8 to points, beside the `agent`'s own position in pixels of a table of side `table`."""

    reads = ("image", "agent")
    median: Tensor
    grid: Tensor

    def __init__(self, cfg: KeypointCodecConfig, table: float, size: int = 64):
        super().__init__()
        self.cfg, self.table, self.size = cfg, table, size
        self.register_buffer("median", torch.zeros(3, size, size))
        self.register_buffer("grid", _grid(size // 2))
        self.encoder = _encoder(cfg)
        self.decoder = _decoder(cfg)

    @torch.no_grad()
    def measure(self, images: UInt8[Tensor, "n h w 3"]) -> None:
        """Take the background from recorded images: their median."""
        self.median.copy_(_to_channels(images).median(0).values)

    def encode(self, fields: Mapping[str, Tensor]) -> Tensor:
        image = fields["image"]
        points = self.locate(_to_channels(image.flatten(0, -4))).unflatten(0, image.shape[:-3])
        return torch.cat([points.flatten(-2), fields["agent"] * (2 / self.table) - 1], dim=-1)

    def decode(self, obs: Tensor) -> dict[str, Tensor]:
        points = obs[..., :-2].unflatten(-1, (-1, 2))
        image = self.draw(points.flatten(0, -3)) * 255
        image = image.clamp(0, 255).round().byte().movedim(1, -1).unflatten(0, obs.shape[:-1])
        return {"image": image, "agent": (obs[..., -2:] + 1) * (self.table / 2)}

    def locate(self, image: Float[Tensor, "b 3 h w"]) -> Float[Tensor, "b k 2"]:
        """Where the points are: the expected coordinates of their heat maps."""
        foreground = image - self.median
        grid = self.grid.expand(image.shape[0], -1, -1, -1)
        half = torch.cat([nn.functional.pixel_unshuffle(foreground, 2), grid], dim=1)
        heat = self.encoder(half.contiguous(memory_format=torch.channels_last)).flatten(2).float().softmax(-1)
        return heat @ self.grid.flatten(1).T

    def draw(self, points: Float[Tensor, "b k 2"]) -> Float[Tensor, "b 3 h w"]:
        """The image, in [0, 1], that points stand for."""
        bumps = self._bumps(points).contiguous(memory_format=torch.channels_last)
        return self.median + nn.functional.pixel_shuffle(self.decoder(bumps), 4)

    def loss(self, images: UInt8[Tensor, "b h w 3"]) -> tuple[Tensor, dict[str, Tensor]]:
        """Mean squared error, plus that of each image's worst pixels; and both as metrics."""
        image = _to_channels(images)
        with torch.autocast(image.device.type, torch.bfloat16):
            drawn = self.draw(self.locate(image))
        error = (drawn.float() - image).pow(2).mean(1).flatten(1)
        mean, worst = error.mean(), error.topk(self.cfg.worst_pixels).values.mean()
        return mean + worst, {"squared": mean, "worst": worst}

    def _bumps(self, points: Tensor) -> Tensor:
        """Gaussian bumps of two widths at the points, (B, 2k, h / 4, w / 4)."""
        axis = _axis(self.size // 4).to(points)
        squared = (points[..., None] - axis).pow(2)  # b k 2 n
        maps = []
        for width in self.cfg.bump_widths:
            fall = (-squared / (2 * width**2)).exp()
            maps.append(fall[:, :, 1, :, None] * fall[:, :, 0, None, :])
        return torch.cat(maps, dim=1)


def _encoder(cfg: KeypointCodecConfig) -> nn.Sequential:
    width = cfg.width
    layers: list[nn.Module] = [nn.Conv2d(12 + 2, width, 3, padding=1), nn.SiLU()]
    for dilation in (1, 2, 4, 2):
        layers += [nn.Conv2d(width, width, 3, padding=dilation, dilation=dilation), nn.GroupNorm(4, width), nn.SiLU()]
    return nn.Sequential(*layers, nn.Conv2d(width, cfg.points, 1))


def _decoder(cfg: KeypointCodecConfig) -> nn.Sequential:
    width = cfg.decoder_width
    layers: list[nn.Module] = [nn.Conv2d(2 * cfg.points, width, 3, padding=1), nn.SiLU()]
    for _ in range(2):
        layers += [nn.Conv2d(width, width, 3, padding=1), nn.GroupNorm(4, width), nn.SiLU()]
    return nn.Sequential(*layers, nn.Conv2d(width, 3 * 16, 3, padding=1))


def _to_channels(images: Tensor) -> Tensor:
    return images.movedim(-1, -3).float() / 255


def _axis(size: int) -> Tensor:
    """Pixel centres from -1 to 1."""
    return (torch.arange(size) + 0.5) * 2 / size - 1


def _grid(size: int) -> Tensor:
    """x and y of each pixel, (2, size, size)."""
    axis = _axis(size)
    return torch.stack([axis.expand(size, size), axis[:, None].expand(size, size)])
