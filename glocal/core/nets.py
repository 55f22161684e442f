"""Blocks that the models are built of."""

import copy
import math
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn


class _Precision:
    """Whether everything is in float32 now; an attribute, which `torch.compile` can look at."""

    full = False


def mlp(inputs: int, width: int, depth: int, outputs: int, last_scale: float = 1.0) -> nn.Sequential:
    """`depth` hidden layers of `width` with LayerNorm and SiLU; the last layer's weights are scaled by `last_scale`."""
    layers: list[nn.Module] = []
    for _ in range(depth):
        layers += [nn.Linear(inputs, width), nn.LayerNorm(width), nn.SiLU()]
        inputs = width
    last = nn.Linear(inputs, outputs)
    nn.init.zeros_(last.bias)
    last.weight.data.mul_(last_scale)
    return nn.Sequential(*layers, last)


class Narrow(nn.Linear):
    """A linear layer of at most `in_features` inputs; where fewer come it begins as one that was made for so many."""

    def forward(self, input: Tensor) -> Tensor:
        given = input.shape[-1]
        if given == self.in_features:
            return super().forward(input)
        scaled = input * math.sqrt(self.in_features / given)
        return nn.functional.linear(scaled, self.weight[:, :given], self.bias)


def outcome_head(inputs: int, width: int) -> nn.Sequential:
    """Reward and the logit of continuation, (*batch, 2); untrained, it expects that episodes go on (0.95)."""
    head = mlp(inputs, width, 2, 2)
    nn.init.constant_(head[-1].bias[1:], 3.0)  # pyright: ignore[reportIndexIssue]
    return head


class Residual(nn.Module):
    """x + W2 silu(W1 norm(x)); it starts as the identity."""

    def __init__(self, width: int):
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.inner = nn.Linear(width, width)
        self.outer = nn.Linear(width, width)
        nn.init.zeros_(self.outer.weight)
        nn.init.zeros_(self.outer.bias)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.outer(nn.functional.silu(self.inner(self.norm(x))))


class ResidualConv(nn.Module):
    """x + conv(silu(norm(conv(silu(norm(x)))))) on maps (B, c, h, w), c a multiple of 8; it starts as the identity."""

    def __init__(self, channels: int):
        super().__init__()
        self.inner = nn.Sequential(nn.GroupNorm(8, channels), nn.SiLU(), nn.Conv2d(channels, channels, 3, padding=1))
        self.norm = nn.GroupNorm(8, channels)
        self.outer = nn.Conv2d(channels, channels, 3, padding=1)
        nn.init.zeros_(self.outer.weight)
        nn.init.zeros_(self.outer.bias)  # pyright: ignore[reportArgumentType]

    def forward(self, x: Tensor) -> Tensor:
        return x + self.outer(nn.functional.silu(self.norm(self.inner(x))))


class AdaptiveConv(nn.Module):
    """Residual convolutions on maps (B, c, h, w) that a vector (B, f) scales and shifts (arXiv 2405.12399, App. A)."""

    def __init__(self, channels: int, told: int):
        super().__init__()
        self.norm = nn.GroupNorm(8, channels, affine=False)
        self.told = nn.Linear(told, 2 * channels)
        self.inner = nn.Conv2d(channels, channels, 3, padding=1)
        self.outer = nn.Sequential(nn.GroupNorm(8, channels), nn.SiLU(), nn.Conv2d(channels, channels, 3, padding=1))
        nn.init.zeros_(self.outer[-1].weight)  # pyright: ignore[reportArgumentType]
        nn.init.zeros_(self.outer[-1].bias)  # pyright: ignore[reportArgumentType]

    def forward(self, maps: Tensor, told: Tensor) -> Tensor:
        scale, shift = self.told(told)[..., None, None].chunk(2, dim=1)
        return maps + self.outer(self.inner(nn.functional.silu(self.norm(maps) * (1 + scale) + shift)))


def harmonics(x: Tensor, scales: int) -> Tensor:
    """sin and cos of pi 2^k x for k < scales: (*batch, d) -> (*batch, 2 scales d)."""
    waves = torch.stack([math.pi * 2**k * x for k in range(scales)], dim=-1).flatten(-2)
    return torch.cat([waves.sin(), waves.cos()], dim=-1)


def half_precision(device: torch.device) -> AbstractContextManager[Any]:
    """bfloat16 for convolutions and products: with channels last it is what makes images affordable, on CPUs too."""
    known = torch.amp.is_autocast_available(device.type) and not _Precision.full
    return torch.autocast(device.type, torch.bfloat16) if known else nullcontext()


@contextmanager
def full_precision() -> Iterator[None]:
    """Everything in float32 within: for what runs elsewhere, which may know no bfloat16."""
    before, _Precision.full = _Precision.full, True
    try:
        yield
    finally:
        _Precision.full = before


class Average:
    """The exponential moving average of a module's parameters, warmed up so that it never lags a young model; what the
    module takes note of while it is trained, its buffers, is as it was last."""

    def __init__(self, module: nn.Module, decay: float):
        self.module = copy.deepcopy(module).requires_grad_(False)
        self.decay = decay

    @torch.no_grad()
    def update(self, module: nn.Module, iteration: int) -> None:
        """Move towards the module's present parameters."""
        decay = min(self.decay, (1 + iteration) / (10 + iteration))
        for mean, now in zip(self.module.parameters(), module.parameters(), strict=True):
            mean.lerp_(now, 1 - decay)
        for kept, now in zip(self.module.buffers(), module.buffers(), strict=True):
            kept.copy_(now)
