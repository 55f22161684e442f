"""What codecs of images share: channels, coordinates, and the error of what they draw."""

from collections.abc import Sequence

import torch
from jaxtyping import Float, UInt8
from torch import Tensor


def to_channels(images: UInt8[Tensor, "*batch h w c"]) -> Float[Tensor, "*batch c h w"]:
    """Pixels in [0, 1], channels first."""
    return images.movedim(-1, -3).float() / 255


def to_bytes(images: Float[Tensor, "n c h w"], batch: Sequence[int]) -> UInt8[Tensor, "*batch h w c"]:
    """Pixels as bytes, channels last, in the shape of a batch."""
    return (images * 255).clamp(0, 255).round().byte().movedim(1, -1).unflatten(0, list(batch))


def axis(size: int) -> Float[Tensor, " size"]:
    """Pixel centres from -1 to 1."""
    return (torch.arange(size) + 0.5) * 2 / size - 1


def coordinates(size: int) -> Float[Tensor, "2 size size"]:
    """x and y of each pixel."""
    line = axis(size)
    return torch.stack([line.expand(size, size), line[:, None].expand(size, size)])


def drawing_loss(drawn: Tensor, image: Tensor, worst_pixels: int) -> tuple[Tensor, dict[str, Tensor]]:
    """Squared error of drawn images (B, 3, h, w), plus that of each one's worst pixels; and both as metrics."""
    error = (drawn.float() - image).pow(2).mean(1).flatten(1)
    mean, worst = error.mean(), error.topk(min(worst_pixels, error.shape[1])).values.mean()
    return mean + worst, {"squared": mean, "worst": worst}
