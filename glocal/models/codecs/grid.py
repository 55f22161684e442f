"""A latent grid: an autoencoder that keeps the image's plan, a few numbers per cell. It asks nothing of a scene."""

from dataclasses import dataclass
from typing import Annotated, Literal

import torch
from jaxtyping import Float, UInt8
from torch import Tensor, nn

from glocal.core.nets import ResidualConv, half_precision
from glocal.core.pictures import CHANNELS
from glocal.core.ranges import Amount, Range, Small, Width
from glocal.models.codecs.autoencoder import PictureAutoencoder
from glocal.models.codecs.images import coordinates, drawing_loss, to_channels
from glocal.runtime.files import UserError


@dataclass(frozen=True)
class GridCodecConfig:
    """Choices for the latent grid."""

    side: Literal[4, 8, 16, 32] = 8
    """Cells along each side."""
    channels: Annotated[int, Range(1, 256)] = 8
    width: Width = 64
    blocks: Small = 2
    """Residual blocks at the grid's own resolution, in the encoder and in the decoder."""
    noise: Amount = 0.05
    """Standard deviation of the noise on the latent in training, of a range from -1 to 1: what is near looks alike."""
    worst_pixels: Annotated[int, Range(1, 4096)] = 128
    """Pixels of each image whose mean error is added to the loss: small things are otherwise left out."""
    shared: bool = False
    """Of several cameras whether one autoencoder is for all whose pictures are of one size; else each has its own."""

    @property
    def shape(self) -> tuple[int, int, int]:
        """Of a latent grid: channels, and cells along each side."""
        return self.channels, self.side, self.side

    def build(self, size: int) -> "GridAutoencoder":
        """An untrained autoencoder of pictures of `size` by `size` pixels."""
        return GridAutoencoder(self, size)


class GridAutoencoder(PictureAutoencoder):
    """Pictures (size, size) to a grid of numbers in [-1, 1], and back."""

    background: Tensor
    plan: Tensor

    def __init__(self, cfg: GridCodecConfig, size: int):
        super().__init__()
        self.cfg, self.shape = cfg, cfg.shape
        self.register_buffer("background", torch.zeros(CHANNELS, size, size))
        self.register_buffer("plan", coordinates(size // 2))
        halvings = (size // 2 // cfg.side).bit_length() - 1
        if halvings < 0 or cfg.side << (halvings + 1) != size:
            raise UserError(
                f"--codec.side is {cfg.side}, but a grid of {cfg.side} cells does not divide pictures of {size} pixels "
                "into cells of 2 or more"
            )
        self.encoder = _encoder(cfg, halvings)
        self.decoder = _decoder(cfg, halvings)

    @torch.no_grad()
    def fit_statistics(self, images: UInt8[Tensor, "n h w 3"]) -> None:
        """Take the background, the median, from recorded pictures."""
        self.background.copy_(to_channels(images).median(0).values)

    def compress(self, image: Float[Tensor, "b 3 h w"]) -> Float[Tensor, "b c s s"]:
        """The latent grid of pictures in [0, 1]."""
        half = nn.functional.pixel_unshuffle(image - self.background, 2)
        seen = torch.cat([half, self.plan.expand(len(image), -1, -1, -1)], dim=1)
        return self.encoder(seen.contiguous(memory_format=torch.channels_last)).float().tanh()

    def draw(self, latent: Float[Tensor, "b c s s"]) -> Float[Tensor, "b 3 h w"]:
        """The picture, in [0, 1], that a latent grid stands for."""
        drawn = self.decoder(latent.contiguous(memory_format=torch.channels_last))
        return self.background + nn.functional.pixel_shuffle(drawn, 2)

    def loss(self, images: UInt8[Tensor, "b h w 3"]) -> tuple[Tensor, dict[str, Tensor]]:
        """Squared error of what is drawn of recorded pictures, their worst pixels counted twice."""
        image = to_channels(images)
        with half_precision(image.device):
            latent = self.compress(image)
            drawn = self.draw(latent + self.cfg.noise * torch.randn_like(latent))
        return drawing_loss(drawn, image, self.cfg.worst_pixels)


def _encoder(cfg: GridCodecConfig, halvings: int) -> nn.Sequential:
    width = cfg.width
    layers: list[nn.Module] = [nn.Conv2d(4 * CHANNELS + 2, width, 3, padding=1), nn.SiLU()]
    for _ in range(halvings):
        layers += [nn.Conv2d(width, width, 4, stride=2, padding=1), nn.GroupNorm(8, width), nn.SiLU()]
    layers += [ResidualConv(width) for _ in range(cfg.blocks)]
    return nn.Sequential(*layers, nn.Conv2d(width, cfg.channels, 1))


def _decoder(cfg: GridCodecConfig, halvings: int) -> nn.Sequential:
    width = cfg.width
    layers: list[nn.Module] = [nn.Conv2d(cfg.channels, width, 3, padding=1)]
    layers += [ResidualConv(width) for _ in range(cfg.blocks)]
    for _ in range(halvings):
        layers += [nn.Conv2d(width, 4 * width, 1), nn.PixelShuffle(2), nn.GroupNorm(8, width), nn.SiLU()]
    return nn.Sequential(*layers, nn.Conv2d(width, 4 * CHANNELS, 3, padding=1))
