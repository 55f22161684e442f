"""A network that draws a camera's next picture: parts of an earlier one that each move, what stays, and what is new."""

from typing import NamedTuple

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from glocal.core.nets import AdaptiveConv, half_precision, harmonics, mlp
from glocal.core.pictures import CHANNELS
from glocal.models.codecs.images import coordinates

SIZES = ((16, 16), (32, 64), (48, 128), (64, 192), (96, 320))
"""Channels at a quarter and at an eighth of a picture's side, by `size`."""
PATCH = 4
"""Pixels along the side of a cell at which pictures enter and leave the network."""
PLACES = 32
"""Channels of the map of places that numbers and actions point to."""
WAVES = 4
POINTS, POINT_WAVES = 8, 2
"""Points of a picture that the network finds by itself, and wavelengths in which they are told."""
UNIT = 0.2
"""What a motion's parameter of one stands for: a fifth of half a picture's side, or of a radian."""


class Source(NamedTuple):
    """What a camera's pictures are made of: an earlier one, which pixels of it belong to each part (logits), and the
    maps from where the parts are now back to where they are in it."""

    picture: Float[Tensor, "b 3 s s"]
    masks: Float[Tensor, "b k s s"]
    back: Float[Tensor, "b k 2 3"]


class Drawn(NamedTuple):
    """A camera's next picture, what it is made of, and features of the whole of it."""

    picture: Float[Tensor, "b 3 s s"]
    source: Source
    pooled: Float[Tensor, "b f"]


class Painter(nn.Module):
    """Draws a camera's next picture from the last ones and from what it is told (B, f)."""

    plan: Tensor
    waves: Tensor
    pixels: Tensor

    def __init__(self, size: int, context: int, parts: int, affine: bool, side: int, told: int):
        """For pictures of `side` by `side`, `context` of which it sees beside `told` numbers; `affine` parts are scaled
        and sheared, too, others shifted and turned alone."""
        super().__init__()
        self.parts, self.affine = parts, affine
        channels, deep = SIZES[size]
        plan = coordinates(side // PATCH)
        self.register_buffer("plan", plan, persistent=False)
        self.register_buffer("waves", harmonics(plan.movedim(0, -1), WAVES).movedim(-1, 0)[None], persistent=False)
        self.register_buffer("pixels", coordinates(side).movedim(0, -1), persistent=False)
        self.cells = nn.Conv2d(CHANNELS * PATCH**2 * context + 2, channels, 1)
        self.look = nn.Sequential(
            nn.SiLU(), nn.Conv2d(channels, channels, 3, padding=1), nn.SiLU(), nn.Conv2d(channels, POINTS, 3, padding=1)
        )
        told += 2 * POINTS * (1 + 2 * POINT_WAVES)
        self.told = mlp(told, deep, 1, deep)
        self.pointer, self.place = mlp(told, 2 * PLACES, 1, 2 * PLACES), nn.Conv2d(4 * WAVES, 2 * PLACES, 1)
        self.placed = nn.Conv2d(2 * PLACES, PLACES, 1)
        self.enter = nn.Conv2d(channels + PLACES, channels, 3, padding=1)
        self.fine = nn.ModuleList([AdaptiveConv(channels, deep) for _ in range(2)])
        self.down = nn.Conv2d(channels, deep, 4, stride=2, padding=1)
        self.coarse = nn.ModuleList([AdaptiveConv(deep, deep) for _ in range(3)])
        self.up = nn.Conv2d(deep, 4 * channels, 1)
        self.join = nn.Conv2d(2 * channels, channels, 1)
        self.finer = nn.ModuleList([AdaptiveConv(channels, deep) for _ in range(2)])
        self.norm = nn.GroupNorm(8, channels)
        self.out = nn.Conv2d(channels, PATCH**2 * (parts + 2 + CHANNELS), 1)
        self.attend = nn.Conv2d(channels, parts, 1)
        self.part = nn.Parameter(0.5 * torch.randn(parts, deep))
        self.motion = mlp(channels + 2 + deep, max(64, channels * 4), 2, 6 if affine else 3, 0.0)
        self.pooled = channels + deep

    def forward(
        self,
        pictures: Float[Tensor, "b w 3 s s"],
        told: Float[Tensor, "b f"],
        source: Source,
        fresh: Bool[Tensor, " b"],
    ) -> Drawn:
        """Where the source is `fresh`, the last picture, it is divided into parts anew; they keep their pixels then."""
        parts = self.parts
        hidden, deep, known = self._features(pictures, told)
        with half_precision(told.device):
            maps, attention = self.out(hidden), self.attend(hidden)
        maps = nn.functional.pixel_shuffle(maps.float(), PATCH)
        masks = torch.where(fresh[:, None, None, None], maps[:, :parts], source.masks)
        back = combined(source.back, self._back(hidden.float(), attention.float(), known))
        moved = self._moved(
            torch.cat([source.picture[:, None].expand(-1, parts, -1, -1, -1), masks[:, :, None]], 2), back
        )
        share = torch.cat([moved[:, :, 3], maps[:, parts : parts + 2]], dim=1).softmax(1)
        picture = (share[:, :parts, None] * moved[:, :, :3]).sum(1) + share[:, parts, None] * pictures[:, -1]
        picture = picture + share[:, parts + 1, None] * maps[:, parts + 2 :].tanh()
        pooled = torch.cat([hidden.float().mean((2, 3)), deep.float().mean((2, 3))], dim=-1)
        return Drawn(picture, Source(source.picture, masks, back), pooled)

    def _features(self, pictures: Tensor, told: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Maps at a quarter and at an eighth of the side, and what the network makes of what it is told."""
        silu, plan = nn.functional.silu, self.plan.expand(len(told), -1, -1, -1)
        with half_precision(told.device):
            patches = nn.functional.pixel_unshuffle(pictures.flatten(1, 2), PATCH)
            cells = self.cells(torch.cat([patches, plan], dim=1).contiguous(memory_format=torch.channels_last))
            points = self._expected(self.look(cells).float()).flatten(1)
            told = torch.cat([told, points, harmonics(points, POINT_WAVES)], dim=-1)
            known = silu(self.told(told))
            pointed = silu(self.place(self.waves) + self.pointer(told)[..., None, None])
            hidden = self.enter(torch.cat([cells, self.placed(pointed)], dim=1))
            for block in self.fine:
                hidden = block(hidden, known)
            deep = self.down(hidden)
            for block in self.coarse:
                deep = block(deep, known)
            hidden = self.join(torch.cat([nn.functional.pixel_shuffle(self.up(deep), 2), hidden], dim=1))
            for block in self.finer:
                hidden = block(hidden, known)
            return silu(self.norm(hidden)), deep, known.float()

    def _expected(self, attention: Float[Tensor, "b k s s"]) -> Float[Tensor, "b k 2"]:
        """Where maps of attention lie, in exact numbers: half precision would round them to a tenth of a pixel."""
        weight = attention.flatten(2).softmax(-1)
        return (weight[:, :, None] * self.plan.flatten(1)).sum(-1)

    def _back(self, hidden: Tensor, attention: Tensor, known: Tensor) -> Float[Tensor, "b k 2 3"]:
        """The maps from where each part is next back to where it is now: about the centre that the part attends to."""
        weight = attention.flatten(2).softmax(-1)
        pooled = torch.einsum("bkn,bcn->bkc", weight, hidden.flatten(2))
        centre = self._expected(attention)
        told = torch.cat([pooled, centre, known[:, None] + self.part], dim=-1)
        shift, turn = (UNIT * self.motion(told)).tensor_split([2], dim=-1)
        if self.affine:
            matrix = torch.eye(2, device=turn.device) + turn.unflatten(-1, (2, 2))
        else:
            cos, sin = turn[..., 0].cos(), turn[..., 0].sin()
            matrix = torch.stack([torch.stack([cos, sin], -1), torch.stack([-sin, cos], -1)], -2)
        return torch.cat([matrix, (centre[..., None] - matrix @ (centre + shift)[..., None])], dim=-1)

    def _moved(self, layers: Float[Tensor, "b k c s s"], back: Tensor) -> Float[Tensor, "b k c s s"]:
        """A layer for each part as its motion leaves it."""
        matrix, shift = back[..., :2], back[..., None, None, :, 2]
        places = torch.einsum("bkij,yxj->bkyxi", matrix, self.pixels) + shift
        moved = nn.functional.grid_sample(
            layers.flatten(0, 1), places.flatten(0, 1), "bilinear", "border", align_corners=False
        )
        return moved.unflatten(0, (len(layers), -1))


def combined(first: Float[Tensor, "*batch 2 3"], then: Float[Tensor, "*batch 2 3"]) -> Float[Tensor, "*batch 2 3"]:
    """The map that goes through `then`, and through `first` from there."""
    matrix = first[..., :2] @ then
    return torch.cat([matrix[..., :2], matrix[..., 2:] + first[..., 2:]], dim=-1)
