"""A few points for each picture: an autoencoder that passes through places alone, found without labels.

The encoder is a spatial softmax (after arXiv 1509.06113): the expected coordinates of a few heat maps, most of all of
what differs from the background. The decoder sees each point as a bump and draws that difference. Any code that can be
drawn again would do, a point beside a thing that says how the thing is turned, and motion would look contrived in it.
So points are also held to move as the picture does where all that differs from the background is shifted and turned
(after arXiv 1705.02193): then they stay on things.

All points would begin where most of a picture differs from the background, and what is small, or is next to a large
arm, would never have one. So some begin on a colour each, the most different ones among those that differ from the
background: a thing mostly has a colour of its own.

What something hides is not seen, and such a point would jump to wherever its colour is likest. So it stays where it was
last (`Codec.observe`).

It asks of a scene that the camera stands still, and that what matters can be told by where things are: what changes
without moving, a lamp that goes on, is not seen.
"""

from dataclasses import dataclass
from typing import Annotated, Literal

import torch
from jaxtyping import Bool, Float, UInt8
from torch import Tensor, nn

from glocal.core.nets import ResidualConv, half_precision
from glocal.core.pictures import CHANNELS
from glocal.core.ranges import Amount, Count, Range, Share, Width
from glocal.models.codecs.autoencoder import PictureAutoencoder
from glocal.models.codecs.colours import different
from glocal.models.codecs.images import coordinates, drawing_loss, to_channels
from glocal.models.codecs.landmarks import STARTS
from glocal.runtime.files import UserError

DILATIONS = (1, 2, 4, 2)
WIDTHS = (0.06, 0.16)
"""Standard deviations of the bumps that a point is drawn as, of half a picture's side."""
FAINT, CLEAR = 0.001, 0.12
"""Differences from the background, of 1: what counts as little as the background itself, and what is wholly apart."""
SHIFT = 0.3
"""The farthest that pictures are shifted in training, of half their side; they are turned by any angle."""
HAZE = 4.0
"""What differs from the background by less than so many times the median difference of recorded pictures is noise."""
ALIKE, OFTEN = 0.08, 0.001
"""Colours this near one another, of 1, are alike; one that has a smaller share of likes among the pixels that are apart
from the background is noise."""
PICKY = 4.0
"""At first, the logarithm of how much less a point sees of a colour for the squared distance from its own."""
UNLIKE = 1e-4
"""What a cell of the wrong colour counts for at least."""
VISIBLE = 0.1
"""Pixels of its own colour, and apart from the background, that have to be seen of a thing, at least. Where half of one
is asked for, a thing that is pushed from the camera's side counts as hidden too often."""
LEFT_IN = 0.98
"""Of a moved picture so much of what is apart from the background has to be left in it for its points to count."""


@dataclass(frozen=True)
class PointsCodecConfig:
    """Choices for the points of a picture."""

    points: Annotated[int, Range(1, 256)] = 24
    side: Literal[16, 32, 64] = 32
    """Cells along each side of the maps that points are found in."""
    width: Width = 32
    coloured: Share = 0.5
    """Share of the points that begin on a colour each; they may come to like another."""
    noise: Amount = 0.005
    """Standard deviation of the noise on points in training, of a range from -1 to 1: what is near looks alike."""
    moving: Amount = 10.0
    """Weight of the squared distance of a moved picture's points from where the motion takes those of the picture."""
    worst_pixels: Annotated[int, Range(1, 4096)] = 128
    """Pixels of each image whose mean error is added to the loss: small things are otherwise left out."""
    landmarks: Annotated[int, Range(0, STARTS)] = 2
    """Places on the robot that its own numbers tell, at most, beside the points of each camera's pictures."""
    landmark_updates: Count = 800
    """Of the search for these, before the autoencoder's."""
    shared: bool = False
    """Of several cameras whether one autoencoder is for all whose pictures are of one size; else each has its own."""

    @property
    def shape(self) -> tuple[int, int]:
        """Of what stands for a picture: points, and their two coordinates."""
        return self.points, 2

    def build(self, size: int) -> "PointsAutoencoder":
        """An untrained autoencoder of pictures of `size` by `size` pixels."""
        return PointsAutoencoder(self, size)


class PointsAutoencoder(PictureAutoencoder):
    """Pictures (size, size) to the places of points, from -1 to 1 (x, y), and back."""

    background: Tensor
    haze: Tensor
    plan: Tensor
    bumped: Tensor

    def __init__(self, cfg: PointsCodecConfig, size: int):
        super().__init__()
        self.cfg, self.shape = cfg, cfg.shape
        if size % cfg.side:
            raise UserError(
                f"--codec.side is {cfg.side}, but maps of {cfg.side} cells do not divide pictures of {size} pixels; "
                "choose other cells, or another size in the mapping"
            )
        self.cell = size // cfg.side
        self.register_buffer("background", torch.zeros(CHANNELS, size, size))
        self.register_buffer("haze", torch.zeros(()))
        self.register_buffer("plan", coordinates(cfg.side), persistent=False)
        self.register_buffer("bumped", coordinates(cfg.side // 2), persistent=False)
        self.encoder, self.decoder = _encoder(cfg, self.cell), _decoder(cfg, self.cell)
        count = round(cfg.coloured * cfg.points)
        self.colours = nn.Parameter(torch.zeros(count, CHANNELS))
        self.picky = nn.Parameter(torch.full((count,), PICKY))

    @torch.no_grad()
    def fit_statistics(self, images: UInt8[Tensor, "n h w 3"]) -> None:
        """Take the background, the median, from recorded pictures, how far noise strays from it, and the colours of
        what is apart from it."""
        image = to_channels(images)
        self.background.copy_(image.median(0).values)
        self.haze.copy_((HAZE * (image - self.background).abs().amax(1).median()).clamp(max=CLEAR / 2))
        self.colours.copy_(
            different(image.movedim(1, -1)[self._apart(image)[:, 0] > CLEAR], len(self.colours), ALIKE, OFTEN)
        )

    def doubt(self) -> str:
        if self.haze < CLEAR / 2:
            return ""
        return (
            "most of a picture usually differs from the background; points ask for a camera that stands still, which "
            "codecs of grids and of tokens do not"
        )

    def compress(self, image: Float[Tensor, "b 3 h w"]) -> Float[Tensor, "b k 2"]:
        """Where the points of pictures in [0, 1] are."""
        cells = nn.functional.pixel_unshuffle(image - self.background, self.cell)
        seen = torch.cat([cells, self.plan.expand(len(image), -1, -1, -1)], dim=1)
        with half_precision(image.device):
            heat = self.encoder(seen.contiguous(memory_format=torch.channels_last))
        apart = nn.functional.avg_pool2d(self._apart(image), self.cell) + FAINT
        exact = heat.float() + self._liked(image) + apart.log()  # places would be rounded
        weight = exact.flatten(2).softmax(-1)
        return (weight[:, :, None] * self.plan.flatten(1)).sum(-1)

    @torch.no_grad()
    def unseen(self, images: UInt8[Tensor, "*batch h w 3"]) -> Bool[Tensor, "*batch n"] | None:
        """Points that began on a colour of which next to nothing is apart from the background."""
        if not len(self.colours):
            return None
        image = to_channels(images.flatten(0, -4))
        apart = (self._apart(image) / (CLEAR - self.haze)).clamp(max=1.0)
        hidden = (self._alike(image) * apart).sum((2, 3)) < VISIBLE
        others = hidden.new_zeros(len(hidden), self.cfg.points - hidden.shape[1])
        return torch.cat([hidden, others], dim=1).repeat_interleave(2, 1).unflatten(0, images.shape[:-3])

    def draw(self, latent: Float[Tensor, "b k 2"]) -> Float[Tensor, "b 3 h w"]:
        """The pictures, in [0, 1], that points stand for."""
        away = (self.bumped - latent[..., None, None]).pow(2).sum(2)
        bumps = torch.cat([(-away / (2 * width**2)).exp() for width in WIDTHS], dim=1)
        told = torch.cat([bumps, self.bumped.expand(len(latent), -1, -1, -1)], dim=1)
        with half_precision(latent.device):
            drawn = self.decoder(told.contiguous(memory_format=torch.channels_last))
        return self.background + nn.functional.pixel_shuffle(drawn.float(), self.cell)

    def loss(self, images: UInt8[Tensor, "b h w 3"]) -> tuple[Tensor, dict[str, Tensor]]:
        """Squared error of what is drawn of recorded pictures, their worst pixels counted twice, and of the points of
        every second one after it was moved."""
        image = to_channels(images)
        matrix, shift = _motions(image[::2])
        moved, left = self._moved(image[::2], matrix, shift)
        points, found = self.compress(torch.cat([image, moved])).split([len(image), len(moved)])
        drawn = self.draw(points + self.cfg.noise * torch.randn_like(points))
        loss, metrics = drawing_loss(drawn, image, self.cfg.worst_pixels)
        expected = points[::2] @ matrix.transpose(1, 2) + shift[:, None]
        off = (found - expected).pow(2).sum(-1).mean(-1)
        strayed = (off * left).sum() / left.sum().clamp_min(1)
        return loss + self.cfg.moving * strayed, metrics | {"strayed": strayed, "counted": left.float().mean()}

    def _liked(self, image: Float[Tensor, "b 3 h w"]) -> Float[Tensor, "#b #k #s #s"]:
        """How much cells have the colour that a point begins on, as logarithms; 0 for points that begin on none."""
        if not len(self.colours):
            return image.new_zeros(1, 1, 1, 1)
        liked = nn.functional.avg_pool2d(self._alike(image), self.cell).clamp_min(UNLIKE).log()
        return nn.functional.pad(liked, (0, 0, 0, 0, 0, self.cfg.points - len(self.colours)))

    def _alike(self, image: Float[Tensor, "b 3 h w"]) -> Float[Tensor, "b c h w"]:
        """How much pixels have the colours that points begin on, from 0 to 1."""
        own = self.colours[..., None, None]
        away = image.pow(2).sum(1, keepdim=True) - 2 * nn.functional.conv2d(image, own) + own.pow(2).sum(1)
        return (-self.picky.exp()[:, None, None] * away).exp()

    def _apart(self, image: Float[Tensor, "b 3 h w"]) -> Float[Tensor, "b 1 h w"]:
        """How far pixels are from the background's, beyond noise."""
        return ((image - self.background).abs().amax(1, keepdim=True) - self.haze).clamp_min(0)

    def _moved(
        self, image: Float[Tensor, "b 3 h w"], matrix: Float[Tensor, "b 2 2"], shift: Float[Tensor, "b 2"]
    ) -> tuple[Float[Tensor, "b 3 h w"], Bool[Tensor, " b"]]:
        """Pictures in which all that is apart from the background has moved over it, and which still hold it all."""
        mask = (self._apart(image) / (CLEAR - self.haze)).clamp(max=1.0)
        back = torch.cat([matrix.transpose(1, 2), -matrix.transpose(1, 2) @ shift[..., None]], dim=-1)
        places = nn.functional.affine_grid(back, list(image.shape), align_corners=False)
        layers = torch.cat([image * mask, mask], dim=1)
        moved = nn.functional.grid_sample(layers, places, padding_mode="zeros", align_corners=False)
        whole = mask.sum((1, 2, 3))
        left = (whole > 0) & (moved[:, 3].sum((1, 2)) >= LEFT_IN * whole)
        return moved[:, :3] + (1 - moved[:, 3:]) * self.background, left


def _motions(image: Float[Tensor, "b 3 h w"]) -> tuple[Float[Tensor, "b 2 2"], Float[Tensor, "b 2"]]:
    """Turns about the middle of pictures, and shifts after them, by chance."""
    angle = 2 * torch.pi * torch.rand(len(image), device=image.device)
    cos, sin = angle.cos(), angle.sin()
    matrix = torch.stack([torch.stack([cos, -sin], -1), torch.stack([sin, cos], -1)], -2)
    return matrix, SHIFT * (2 * torch.rand(len(image), 2, device=image.device) - 1)


def _encoder(cfg: PointsCodecConfig, cell: int) -> nn.Sequential:
    width = cfg.width
    layers: list[nn.Module] = [nn.Conv2d(CHANNELS * cell**2 + 2, width, 3, padding=1), nn.SiLU()]
    for dilation in DILATIONS:
        layers += [nn.Conv2d(width, width, 3, padding=dilation, dilation=dilation), nn.GroupNorm(4, width), nn.SiLU()]
    return nn.Sequential(*layers, nn.Conv2d(width, cfg.points, 1))


def _decoder(cfg: PointsCodecConfig, cell: int) -> nn.Sequential:
    width = cfg.width
    layers: list[nn.Module] = [nn.Conv2d(len(WIDTHS) * cfg.points + 2, 2 * width, 3, padding=1)]
    layers += [ResidualConv(2 * width), nn.Conv2d(2 * width, 4 * width, 1)]
    layers += [nn.PixelShuffle(2), nn.GroupNorm(8, width), nn.SiLU()]
    return nn.Sequential(*layers, nn.Conv2d(width, CHANNELS * cell**2, 3, padding=1))
