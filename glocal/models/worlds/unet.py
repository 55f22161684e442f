"""The network of DIAMOND's diffusion model (arXiv 2405.12399, App. A): a U-Net of residual blocks that a vector scales
and shifts, with attention in its middle."""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn

GROUP = 32
"""Channels that are normalised together."""
HEAD = 8
"""Channels of a head of attention."""


def groups(channels: int) -> int:
    """Into how many equal groups of at least `GROUP` channels they fall, if there are as many."""
    return next(count for count in range(max(1, channels // GROUP), 0, -1) if channels % count == 0)


class AdaptiveNorm(nn.Module):
    """Group norm whose scale and shift a vector tells."""

    def __init__(self, channels: int, told: int):
        super().__init__()
        self.groups = groups(channels)
        self.told = nn.Linear(told, 2 * channels)

    def forward(self, x: Float[Tensor, "b c h w"], told: Float[Tensor, "b f"]) -> Float[Tensor, "b c h w"]:
        scale, shift = self.told(told)[..., None, None].chunk(2, dim=1)
        return torch.addcmul(shift, nn.functional.group_norm(x, self.groups), 1 + scale)


class Attention(nn.Module):
    """The normalised maps, and to them what every cell finds in all others, at first nothing."""

    def __init__(self, channels: int):
        super().__init__()
        self.heads = max(1, channels // HEAD)
        self.norm = nn.GroupNorm(groups(channels), channels)
        self.ask = nn.Conv2d(channels, 3 * channels, 1)
        self.out = nn.Conv2d(channels, channels, 1)
        nn.init.zeros_(self.out.weight)
        nn.init.zeros_(self.out.bias)  # pyright: ignore[reportArgumentType]

    def forward(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c h w"]:
        x = self.norm(x)
        asked = self.ask(x).flatten(2).unflatten(1, (3, self.heads, -1)).transpose(-1, -2)
        found = nn.functional.scaled_dot_product_attention(*asked.unbind(1))
        return x + self.out(found.transpose(-1, -2).reshape(x.shape))


class Block(nn.Module):
    """Two convolutions, each after a norm that a vector adapts, and a way around them."""

    def __init__(self, inputs: int, outputs: int, told: int, attends: bool = False):
        super().__init__()
        self.around = nn.Identity() if inputs == outputs else nn.Conv2d(inputs, outputs, 1)
        self.norms = nn.ModuleList([AdaptiveNorm(inputs, told), AdaptiveNorm(outputs, told)])
        self.convs = nn.ModuleList(
            [nn.Conv2d(inputs, outputs, 3, padding=1), nn.Conv2d(outputs, outputs, 3, padding=1)]
        )
        self.attention = Attention(outputs) if attends else nn.Identity()
        nn.init.zeros_(self.convs[1].weight)  # pyright: ignore[reportArgumentType]

    def forward(self, x: Float[Tensor, "b c h w"], told: Float[Tensor, "b f"]) -> Float[Tensor, "b n h w"]:
        hidden = x
        for norm, conv in zip(self.norms, self.convs, strict=True):
            hidden = conv(nn.functional.silu(norm(hidden, told)))
        return self.attention(hidden + self.around(x))


class Middle(nn.Module):
    """Two blocks that attend."""

    def __init__(self, channels: int, told: int):
        super().__init__()
        self.blocks = nn.ModuleList([Block(channels, channels, told, attends=True) for _ in range(2)])

    def forward(self, x: Float[Tensor, "b c h w"], told: Float[Tensor, "b f"]) -> Float[Tensor, "b c h w"]:
        for block in self.blocks:
            x = block(x, told)
        return x


class Down(nn.Module):
    """The way to half the side at every level but the first."""

    def __init__(self, channels: Sequence[int], blocks: int, told: int):
        super().__init__()
        before = [channels[0], *channels[:-1]]
        self.halved = nn.ModuleList([nn.Conv2d(c, c, 3, stride=2, padding=1) for c in channels[:-1]])
        self.levels = nn.ModuleList(
            nn.ModuleList([Block(first if i == 0 else c, c, told) for i in range(blocks)])
            for first, c in zip(before, channels, strict=True)
        )

    def forward(self, x: Float[Tensor, "b c h w"], told: Float[Tensor, "b f"]) -> list[list[Tensor]]:
        """What enters each level, and what each of its blocks makes of it."""
        found = []
        for i, level in enumerate(self.levels):
            x = self.halved[i - 1](x) if i else x
            made = [x]
            for block in level:  # pyright: ignore[reportGeneralTypeIssues]
                made.append(block(made[-1], told))
            found.append(made)
            x = made[-1]
        return found


class UNet(nn.Module):
    """Maps to maps of the same shape (B, channels[0], h, w), told by a vector (B, f)."""

    def __init__(self, channels: Sequence[int], blocks: int, told: int):
        """`channels` by level, each of half the side of the one before, with as many `blocks` on the way down."""
        super().__init__()
        self.least = 2 ** (len(channels) - 1)
        before = [channels[0], *channels[:-1]]
        self.down, self.middle = Down(channels, blocks, told), Middle(channels[-1], told)
        self.doubled = nn.ModuleList([nn.Conv2d(c, c, 3, padding=1) for c in channels[:-1]])
        self.up = nn.ModuleList(
            nn.ModuleList([*(Block(2 * c, c, told) for _ in range(blocks)), Block(first + c, first, told)])
            for first, c in zip(before, channels, strict=True)
        )

    def forward(self, x: Float[Tensor, "b c h w"], told: Float[Tensor, "b f"]) -> Float[Tensor, "b c h w"]:
        height, width = x.shape[-2:]
        x = nn.functional.pad(x, (0, -width % self.least, 0, -height % self.least))
        kept = self.down(x, told)
        x = self.middle(kept[-1][-1], told)
        for i in reversed(range(len(self.up))):
            for block, skipped in zip(self.up[i], reversed(kept[i]), strict=True):  # pyright: ignore[reportArgumentType]
                x = block(torch.cat([x, skipped], dim=1), told)
            x = self.doubled[i - 1](nn.functional.interpolate(x, scale_factor=2.0)) if i else x
        return x[..., :height, :width]
