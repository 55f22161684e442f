"""A picture cut up by colour: how much there is of each of a few colours, and where.

Hue counts for more than brightness, so that a thing in the shade is nearly the thing in the light.
"""

import math

import torch
from jaxtyping import Bool, Float, Int, UInt8
from torch import Tensor, nn

from glocal.core.pictures import CHANNELS
from glocal.models.codecs.images import axis, to_channels
from glocal.models.codecs.surroundings import Looks

HUE, LIGHT = 2.5, 0.15
"""What shares of red, green and blue count, and what their sum counts."""
GREY = 0.15
"""Added to the sum of red, green and blue, so that the hue of what is nearly black is not noise."""
ALIKE, OFTEN = 0.05, 0.0025
"""Hues this near one another are alike; one that has a smaller share of likes is noise."""
EDGES = 0.5
"""Share of a colour's pixels that may lie between two others and be a mixture of them: of the blurred edge between two
things most do."""
MIXED, OFF = 0.15, 0.1
"""A mixture has at least this share of both, and is no farther off, as a share of the distance between the two."""
LOOKED_AT, AMONG = 8000, 40_000
"""Pixels that may be chosen, by chance, and those among which their likes are counted."""
COUNTED = 500
"""Of the former, at once."""
SAME_HUE, SAME_DEPTH = 0.98, 1.4
"""Colours are of one thing, in the light and in the shade, where the cosine between their hues is no less, and one is
not deeper than the other by more than this factor."""
DEEP = 0.12
"""How far from grey, in shares of red, green and blue, a colour has to be to have a hue."""
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
    thing: Tensor
    """Of each colour, the first of those that are of the same thing."""
    mean: Tensor
    std: Tensor

    def __init__(self, count: int):
        super().__init__()
        self.register_buffer("palette", torch.zeros(count, CHANNELS + 1))
        self.register_buffer("thing", torch.arange(count))
        self.register_buffer("mean", torch.zeros(count, len(TOLD)))
        self.register_buffer("std", torch.ones(count, len(TOLD)))

    @torch.no_grad()
    def fit_statistics(self, images: UInt8[Tensor, "n h w 3"]) -> None:
        """Take colours, and the typical numbers of each, from recorded pictures."""
        self.palette.copy_(farthest(_frequent(hues(halved(images))), len(self.palette)))
        self.thing.copy_(things(self.palette))
        numbers = self._numbers(images)[0]
        self.mean.copy_(numbers.mean(0))
        self.std.copy_(numbers.std(0).clamp_min(1e-3))

    @torch.no_grad()
    def forward(self, images: UInt8[Tensor, "n h w 3"]) -> Looks:
        """How things of each colour look, (n, k, ...)."""
        numbers, area = self._numbers(images)
        least = VISIBLE * images.shape[1] * images.shape[2] / FINE**2
        middle = numbers[..., TOLD.index("x")] * (1 + area) / area.clamp_min(least)
        return Looks((numbers - self.mean) / self.std, area.clamp_min(least).log(), middle, area >= least)

    def _numbers(self, images: UInt8[Tensor, "n h w 3"]) -> tuple[Float[Tensor, "n k 9"], Float[Tensor, "n k"]]:
        """What is told of each colour, and its area in pixels; computed for a few pictures at a time."""
        at_once = max(1, AT_ONCE // (images[0, ..., 0].numel() * len(self.palette)))
        numbers, area = zip(*(self._numbers_of(some) for some in images.split(at_once)), strict=True)
        return torch.cat(numbers), torch.cat(area)

    def _numbers_of(self, images: UInt8[Tensor, "n h w 3"]) -> tuple[Float[Tensor, "n k 9"], Float[Tensor, "n k"]]:
        away = (hues(halved(images))[:, None] - self.palette[..., None, None]).square().sum(2)
        share = (-away / (2 * APART**2)).softmax(1)
        share = torch.zeros_like(share).index_add_(1, self.thing, share)
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


def halved(images: UInt8[Tensor, "n h w 3"]) -> Float[Tensor, "n 3 i j"]:
    """Pictures at half their size."""
    return nn.functional.avg_pool2d(to_channels(images), FINE)


def hues(image: Float[Tensor, "n 3 h w"]) -> Float[Tensor, "n 4 h w"]:
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
    return farthest(frequent, count)


def farthest(frequent: Float[Tensor, "m c"], count: int) -> Float[Tensor, "count c"]:
    """The most typical of some colours, and then again and again the one that differs most from all that were taken."""
    chosen = [(frequent - frequent.mean(0)).norm(dim=1).argmin()]
    nearest = torch.full((len(frequent),), torch.inf, device=frequent.device)
    for _ in range(count - 1):
        nearest = nearest.minimum((frequent - frequent[chosen[-1]]).norm(dim=1))
        chosen.append(nearest.argmax())
    return frequent[torch.stack(chosen)]


def _frequent(hues: Float[Tensor, "n c h w"]) -> Float[Tensor, "m c"]:
    """Hues of pixels that have likes enough, and not for the most part along edges."""
    edges = _edges(hues).flatten()
    pixels = hues.movedim(1, -1).flatten(0, -2)
    some = torch.randperm(len(pixels), generator=torch.Generator().manual_seed(0))[:AMONG].to(pixels.device)
    among, between, counted = pixels[some], edges[some].float(), []
    for chosen in among[:LOOKED_AT].split(COUNTED):
        near = (torch.cdist(chosen, among) < ALIKE).float()
        counted.append(torch.stack([near.sum(1), near @ between], dim=1))
    likes, mixed = torch.cat(counted).unbind(1)
    enough = likes >= min(max(LIKES, OFTEN * len(among)), float(likes.max()))
    whole = mixed <= EDGES * likes
    return among[:LOOKED_AT][enough & whole if bool((enough & whole).any()) else enough]


def _edges(hues: Float[Tensor, "n c h w"]) -> Bool[Tensor, "n h w"]:
    """Whether a pixel is a mixture of the two beside it, or of those above and below, where these differ."""
    found = torch.zeros_like(hues[:, 0], dtype=torch.bool)
    middle = hues[..., 1:-1, 1:-1]
    above, left = (hues[..., :-2, 1:-1], hues[..., 2:, 1:-1]), (hues[..., 1:-1, :-2], hues[..., 1:-1, 2:])
    for one, other in (above, left):
        way = other - one
        far = way.norm(dim=1)
        part = ((middle - one) * way).sum(1) / far.square().clamp_min(1e-9)
        off = (middle - one - part[:, None] * way).norm(dim=1)
        mixture = (part > MIXED) & (part < 1 - MIXED) & (off < ALIKE + OFF * far)
        found[:, 1:-1, 1:-1] |= mixture & (far > 2 * ALIKE)
    return found


def things(palette: Float[Tensor, "k 4"]) -> Int[Tensor, " k"]:
    """Of each hue, the first of those that are of the same thing: those that differ in brightness alone."""
    light = palette[:, 3:] / LIGHT
    paint = palette[:, :3] / HUE * light / (light - GREY).clamp_min(1e-6)  # shares of red, green and blue
    away = paint - paint.mean(1, keepdim=True)
    depth = away.norm(dim=1)
    cosine = nn.functional.cosine_similarity(away[:, None], away[None], dim=2)
    ratio = (depth[:, None] / depth.clamp_min(1e-6)).log().abs()
    same = (cosine >= SAME_HUE) & (ratio <= math.log(SAME_DEPTH)) & (torch.minimum(depth[:, None], depth) > DEEP)
    first = (same | torch.eye(len(palette), dtype=torch.bool, device=palette.device)).int().argmax(1)
    for _ in palette:
        first = first[first]
    return first
