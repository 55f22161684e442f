"""A picture cut up by colour: how much there is of each of a few colours, and where.

Hue counts for more than brightness, so that a thing in the shade is nearly the thing in the light.
"""

import torch
from jaxtyping import Float, UInt8
from torch import Tensor, nn

from glocal.core.pictures import CHANNELS
from glocal.models.codecs.images import axis, to_channels
from glocal.models.codecs.surroundings import Looks

HUE, LIGHT = 2.5, 0.15
"""What shares of red, green and blue count, and what their sum counts."""
GREY = 0.15
"""Added to the sum of red, green and blue, so that the hue of what is nearly black is not noise."""
ALIKE, OFTEN, LOOKED_AT = 0.05, 0.0025, 8000
"""Hues this near one another are alike; one that has a smaller share of likes is noise, or an edge between two things
that a video has blurred, among so many pixels, by chance."""
LIKES = 3
"""Likes that a colour has to have, in any case."""
APART = 0.03
"""Distance within which a pixel may be of a colour nearly as well as of the nearest one."""
VISIBLE = 0.003
"""Share of a picture's pixels that have to be of a colour, for the thing to be seen."""
FINE = 2
"""Pixels, along a side, that are looked at as one: in videos colours are no finer, and there things have edges of
colours that no camera sees."""
AT_ONCE = 2**23
"""Pixels, each counted once for every colour, that are looked at together: of large pictures fewer, or one."""
EDGE = 30.0
"""How sharply a colour's extent ends."""
TOLD = ("size", "x", "y", "width", "height", "left", "right", "top", "bottom")
"""Numbers of each colour; places and extents from -1 to 1."""


class Colours(nn.Module):
    """The most different of the colours that pictures (h, w, 3) show often enough, and what pictures show of each."""

    palette: Tensor
    mean: Tensor
    std: Tensor

    def __init__(self, count: int):
        super().__init__()
        self.register_buffer("palette", torch.zeros(count, CHANNELS + 1))
        self.register_buffer("mean", torch.zeros(count, len(TOLD)))
        self.register_buffer("std", torch.ones(count, len(TOLD)))

    @torch.no_grad()
    def fit_statistics(self, images: UInt8[Tensor, "n h w 3"]) -> None:
        """Take colours, and the typical numbers of each, from recorded pictures."""
        pixels = _hues(_halved(images)).movedim(1, -1).flatten(0, -2)
        self.palette.copy_(different(pixels, len(self.palette), ALIKE, OFTEN, LOOKED_AT))
        numbers = self._numbers(images)[0]
        self.mean.copy_(numbers.mean(0))
        self.std.copy_(numbers.std(0).clamp_min(1e-3))

    @torch.no_grad()
    def forward(self, images: UInt8[Tensor, "n h w 3"]) -> Looks:
        """How things of each colour look, (n, k, ...)."""
        numbers, area = self._numbers(images)
        least = VISIBLE * images.shape[1] * images.shape[2] / FINE**2
        middle = numbers[..., TOLD.index("x")]
        return Looks((numbers - self.mean) / self.std, area.clamp_min(least).log(), middle, area >= least)

    def _numbers(self, images: UInt8[Tensor, "n h w 3"]) -> tuple[Float[Tensor, "n k 9"], Float[Tensor, "n k"]]:
        """What is told of each colour, and its area in pixels; computed for a few pictures at a time."""
        at_once = max(1, AT_ONCE // (images[0, ..., 0].numel() * len(self.palette)))
        numbers, area = zip(*(self._numbers_of(some) for some in images.split(at_once)), strict=True)
        return torch.cat(numbers), torch.cat(area)

    def _numbers_of(self, images: UInt8[Tensor, "n h w 3"]) -> tuple[Float[Tensor, "n k 9"], Float[Tensor, "n k"]]:
        away = (_hues(_halved(images))[:, None] - self.palette[..., None, None]).square().sum(2)
        share = (-away / (2 * APART**2)).softmax(1)
        columns, rows = share.sum(2), share.sum(3)
        (x, width, left, right), (y, height, top, bottom) = _along(columns), _along(rows)
        area = columns.sum(-1)
        size = (1 + area).log() / 8
        return torch.stack([size, x, y, width, height, left, right, top, bottom], dim=-1), area


def _along(profile: Float[Tensor, "n k s"]) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Mean, deviation, beginning and end of how much there is of a colour along one side of a picture, (n, k) each; of
    next to nothing the mean is in the middle."""
    line = axis(profile.shape[-1]).to(profile)
    whole = profile.sum(-1) + 1
    mean = (profile * line).sum(-1) / whole
    deviation = ((profile * (line - mean[..., None]).square()).sum(-1) / whole).sqrt()
    there = profile.clamp(1e-4, 1.0).log() / 6
    first, last = ((EDGE * (sign * line + there)).logsumexp(-1) / EDGE for sign in (-1, 1))
    return mean, deviation, -first, last


def _halved(images: UInt8[Tensor, "n h w 3"]) -> Float[Tensor, "n 3 i j"]:
    """Pictures at half their size."""
    return nn.functional.avg_pool2d(to_channels(images), FINE)


def _hues(image: Float[Tensor, "n 3 h w"]) -> Float[Tensor, "n 4 h w"]:
    """Pixels by their hue, and a little by their brightness."""
    light = image.sum(1, keepdim=True) + GREY
    return torch.cat([HUE * image / light, LIGHT * light], dim=1)


def different(
    seen: Float[Tensor, "n c"], count: int, alike: float, often: float, looked_at: int = 4000
) -> Float[Tensor, "count c"]:
    """The colours that differ most from one another, the most typical first, among those of which a share `often` of
    all is no farther than `alike`; so many are looked at, by chance."""
    if not len(seen) or not count:
        return seen.new_zeros(count, seen.shape[1])
    some = torch.randperm(len(seen), generator=torch.Generator().manual_seed(0))[:looked_at]
    seen = seen[some.to(seen.device)]
    others = (torch.cdist(seen, seen) < alike).sum(1) - 1
    frequent = seen[others >= min(max(LIKES, round(often * len(seen))), int(others.max()))]
    chosen = [(frequent - frequent.mean(0)).norm(dim=1).argmin()]
    nearest = torch.full((len(frequent),), torch.inf, device=seen.device)
    for _ in range(count - 1):
        nearest = nearest.minimum((frequent - frequent[chosen[-1]]).norm(dim=1))
        chosen.append(nearest.argmax())
    return frequent[torch.stack(chosen)]
