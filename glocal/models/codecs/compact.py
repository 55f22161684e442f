"""A picture as a few numbers: an autoencoder with a narrow middle (as in World Models, arXiv 1803.10122).

It keeps no plan of the picture, so that nothing needs to stay where it is: cameras may move. What is small and far is
the first that it forgets.
"""

from dataclasses import dataclass
from itertools import pairwise
from typing import Annotated, Literal

import torch
from jaxtyping import Float, UInt8
from torch import Tensor, nn

from glocal.core.nets import ResidualConv, half_precision
from glocal.core.pictures import CHANNELS
from glocal.core.ranges import Amount, Range, Small
from glocal.models.codecs.autoencoder import PictureAutoencoder
from glocal.models.codecs.images import coordinates, drawing_loss, to_channels
from glocal.runtime.files import UserError

SIDE = 4
"""Cells along each side of the smallest maps."""


@dataclass(frozen=True)
class CompactCodecConfig:
    """Choices for the compact code."""

    numbers: Annotated[int, Range(1, 4096)] = 64
    width: Literal[8, 16, 32, 64, 128] = 32
    """Channels of the finest maps; coarser ones have up to four times as many."""
    blocks: Small = 1
    """Residual blocks at the smallest maps, in the encoder and in the decoder."""
    noise: Amount = 0.02
    """Standard deviation of the noise on the numbers in training, of a range from -1 to 1: what is near looks alike."""
    worst_pixels: Annotated[int, Range(1, 4096)] = 128
    """Pixels of each picture whose mean error is added to the loss: small things are otherwise left out."""
    shared: bool = False
    """Of several cameras whether one autoencoder is for all whose pictures are of one size; else each has its own."""

    @property
    def shape(self) -> tuple[int, int]:
        """Of what stands for a picture: one token of some numbers."""
        return 1, self.numbers

    def build(self, size: int) -> "CompactAutoencoder":
        """An untrained autoencoder of pictures of `size` by `size` pixels."""
        return CompactAutoencoder(self, size)


class CompactAutoencoder(PictureAutoencoder):
    """Pictures (size, size) to a row of numbers in [-1, 1], and back."""

    typical: Tensor
    plan: Tensor

    def __init__(self, cfg: CompactCodecConfig, size: int):
        super().__init__()
        self.cfg, self.shape = cfg, cfg.shape
        halvings = (size // 2 // SIDE).bit_length() - 1
        if halvings < 1 or SIDE << (halvings + 1) != size:
            raise UserError(
                f"a compact code is made of pictures of 16, 32, 64 ... pixels, not of {size}; choose another size in "
                "the mapping"
            )
        self.register_buffer("typical", torch.zeros(CHANNELS, size, size))
        self.register_buffer("plan", coordinates(size // 2), persistent=False)
        widths = [min(2**i, 4) * cfg.width for i in range(halvings + 1)]
        self.encoder = _encoder(widths, cfg.blocks, cfg.numbers)
        self.decoder = _decoder(widths[::-1], cfg.blocks, cfg.numbers)

    @torch.no_grad()
    def fit_statistics(self, images: UInt8[Tensor, "n h w 3"]) -> None:
        """Take the mean of recorded pictures."""
        self.typical.copy_(to_channels(images).mean(0))

    def compress(self, image: Float[Tensor, "b 3 h w"]) -> Float[Tensor, "b 1 n"]:
        """The numbers that stand for pictures in [0, 1]."""
        half = nn.functional.pixel_unshuffle(image - self.typical, 2)
        seen = torch.cat([half, self.plan.expand(len(image), -1, -1, -1)], dim=1)
        return self.encoder(seen.contiguous(memory_format=torch.channels_last)).float().tanh()[:, None]

    def draw(self, latent: Float[Tensor, "b 1 n"]) -> Float[Tensor, "b 3 h w"]:
        """The picture, in [0, 1], that numbers stand for."""
        return self.typical + nn.functional.pixel_shuffle(self.decoder(latent[:, 0]), 2)

    def loss(self, images: UInt8[Tensor, "b h w 3"]) -> tuple[Tensor, dict[str, Tensor]]:
        """Squared error of what is drawn of recorded pictures, their worst pixels counted twice."""
        image = to_channels(images)
        with half_precision(image.device):
            latent = self.compress(image)
            drawn = self.draw(latent + self.cfg.noise * torch.randn_like(latent))
        return drawing_loss(drawn, image, self.cfg.worst_pixels)


def _encoder(widths: list[int], blocks: int, numbers: int) -> nn.Sequential:
    layers: list[nn.Module] = [nn.Conv2d(4 * CHANNELS + 2, widths[0], 3, padding=1), nn.SiLU()]
    for width, wider in pairwise(widths):
        layers += [nn.Conv2d(width, wider, 4, stride=2, padding=1), nn.GroupNorm(8, wider), nn.SiLU()]
    layers += [ResidualConv(widths[-1]) for _ in range(blocks)]
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(widths[-1] * SIDE**2, numbers))


def _decoder(widths: list[int], blocks: int, numbers: int) -> nn.Sequential:
    layers: list[nn.Module] = [nn.Linear(numbers, widths[0] * SIDE**2), nn.Unflatten(1, (widths[0], SIDE, SIDE))]
    layers += [ResidualConv(widths[0]) for _ in range(blocks)]
    for width, narrower in pairwise(widths):
        layers += [nn.Conv2d(width, 4 * narrower, 1), nn.PixelShuffle(2), nn.GroupNorm(8, narrower), nn.SiLU()]
        layers += [nn.Conv2d(narrower, narrower, 3, padding=1), nn.SiLU()]
    return nn.Sequential(*layers, nn.Conv2d(widths[-1], 4 * CHANNELS, 3, padding=1))
