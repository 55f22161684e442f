"""What an autoencoder of a camera's pictures promises, however it does it."""

from abc import ABC, abstractmethod

import torch
from jaxtyping import Bool, Float, UInt8
from torch import Tensor, nn

from glocal.models.codecs.images import to_bytes, to_channels


class PictureAutoencoder(nn.Module, ABC):
    """Pictures (size, size) to a few numbers in [-1, 1], and back."""

    shape: tuple[int, ...]
    """Of the numbers: channels and cells of a grid (c, h, w), tokens (n, d), or points (k, 2)."""

    @torch.no_grad()
    def fit_statistics(self, images: UInt8[Tensor, "n h w 3"]) -> None:
        """Take what it needs from recorded pictures; by default nothing."""

    def doubt(self) -> str:
        """What speaks against it after `fit_statistics`, in words; by default nothing."""
        return ""

    def unseen(self, images: UInt8[Tensor, "*batch h w 3"]) -> Bool[Tensor, "*batch n"] | None:
        """Which of the numbers that stand for pictures nothing in these shows; by default all are seen."""
        return None

    @abstractmethod
    def compress(self, image: Float[Tensor, "b 3 h w"]) -> Float[Tensor, "b _ *cells"]:
        """The numbers that stand for pictures in [0, 1]."""

    @abstractmethod
    def draw(self, latent: Float[Tensor, "b _ *cells"]) -> Float[Tensor, "b 3 h w"]:
        """The pictures, in [0, 1], that numbers stand for."""

    @abstractmethod
    def loss(self, images: UInt8[Tensor, "b h w 3"]) -> tuple[Tensor, dict[str, Tensor]]:
        """A scalar to minimise on recorded pictures, and metrics."""

    def encode(self, images: UInt8[Tensor, "*batch h w 3"]) -> Float[Tensor, "*batch n"]:
        """What stands for pictures, as a row of numbers."""
        latent = self.compress(to_channels(images.flatten(0, -4)))
        return latent.flatten(1).unflatten(0, images.shape[:-3])

    def decode(self, row: Float[Tensor, "*batch n"]) -> UInt8[Tensor, "*batch h w 3"]:
        """The pictures that rows of numbers stand for."""
        return to_bytes(self.draw(row.flatten(0, -2).unflatten(-1, self.shape)), row.shape[:-1])
