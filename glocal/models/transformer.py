"""A block-causal transformer (after Dreamer 4, arXiv 2509.24527): the tokens of a step see one another, and at some
layers each sees itself at the steps before. What was seen is kept in a cache, so that a step costs what it adds."""

from dataclasses import dataclass
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from glocal.core.types import Batched

NEVER = -(2**40)
"""The time of what was not seen: before all that can be looked back at."""
ROTATIONS = 10_000.0


@dataclass(frozen=True)
class Cache(Batched):
    """What the last steps left at the layers that look back: keys and values (B, L, N, h, P, e), and when they were
    (B, P); `NEVER` where there is nothing. Steps come last but one, as attention wants them, so that they are read as
    they lie."""

    keys: Float[Tensor, "b l n h p e"]
    values: Float[Tensor, "b l n h p e"]
    times: Int[Tensor, "b p"]

    def with_step(self, other: "Cache") -> "Cache":
        """The same number of steps, the latest of which are another cache's."""
        kept, added = self.times.shape[1], other.times.shape[1]
        if added >= kept:
            return Cache(other.keys[..., -kept:, :], other.values[..., -kept:, :], other.times[:, -kept:])
        return Cache(
            torch.cat([self.keys[..., added:, :], other.keys], -2),
            torch.cat([self.values[..., added:, :], other.values], -2),
            torch.cat([self.times[:, added:], other.times], 1),
        )


class Timing(NamedTuple):
    """When steps are: the cosines and sines that queries and keys are turned by (RoPE, arXiv 2104.09864), and which
    of the steps in the cache and of these each may look at; None where all before it."""

    cos: Float[Tensor, "b t 1 1 r"]
    sin: Float[Tensor, "b t 1 1 r"]
    mask: Bool[Tensor, "b t s"] | None


def attended(
    query: Float[Tensor, "*batch q e"],
    key: Float[Tensor, "*batch n e"],
    value: Float[Tensor, "*batch n e"],
    mask: Bool[Tensor, "*#batch q n"] | None = None,
    causal: bool = False,
) -> Float[Tensor, "*batch q e"]:
    """What queries find; in float32 on CPUs, where PyTorch's attention takes longer in bfloat16."""
    if query.device.type == "cpu" and query.dtype == torch.bfloat16:
        with torch.autocast("cpu", enabled=False):
            found = attended(query.float(), key.float(), value.float(), mask, causal)
        return found.to(query)
    return nn.functional.scaled_dot_product_attention(query, key, value, attn_mask=mask, is_causal=causal)


class Attention(nn.Module):
    """Attention with normalised queries and keys, over the last dimension but one."""

    def __init__(self, width: int, heads: int):
        super().__init__()
        self.heads = heads
        self.ask, self.out = nn.Linear(width, 3 * width, bias=False), nn.Linear(width, width, bias=False)
        self.sharpness = nn.Parameter(torch.ones(heads, 1))

    def asked(self, x: Float[Tensor, "*batch w"]) -> list[Float[Tensor, "*batch h e"]]:
        """Queries, keys and values."""
        query, key, value = self.ask(x).unflatten(-1, (3, self.heads, -1)).unbind(-3)
        query, key = (nn.functional.rms_norm(one, one.shape[-1:]) for one in (query, key))
        return [query * self.sharpness.to(query), key, value]


class SpaceAttention(Attention):
    """Among the tokens of each step."""

    def forward(self, x: Float[Tensor, "b t n w"]) -> Float[Tensor, "b t n w"]:
        query, key, value = (one.flatten(0, 1).transpose(1, 2) for one in self.asked(x))
        return self.out(attended(query, key, value).transpose(1, 2).flatten(-2).view(x.shape))


class TimeAttention(Attention):
    """Of each token to itself at the last steps."""

    def forward(
        self, x: Float[Tensor, "b t n w"], when: Timing, past: tuple[Tensor, Tensor] | None
    ) -> tuple[Float[Tensor, "b t n w"], Tensor, Tensor]:
        """What is found, and the keys and values of these steps, (b, n, h, t, e); `past` are those of the steps
        before."""
        query, key, value = self.asked(x)
        query, key = self.turned(query, when), self.turned(key, when)
        query, key, value = (one.permute(0, 2, 3, 1, 4) for one in (query, key, value))
        if past is None:
            tokens = x.shape[2]
            mask = None if when.mask is None else when.mask.repeat_interleave(tokens, 0)[:, None]
            flat = (one.flatten(0, 1) for one in (query, key, value))
            found = attended(*flat, mask=mask, causal=mask is None).unflatten(0, (len(x), tokens))
        else:
            found = self._recalled(query, (past[0].to(key), key), (past[1].to(value), value), when)
        return self.out(found.permute(0, 3, 1, 2, 4).flatten(-2)), key, value

    def turned(self, x: Float[Tensor, "b t n h e"], when: Timing) -> Float[Tensor, "b t n h e"]:
        """Pairs of numbers turned by their rates times the time."""
        even, odd = x.float().chunk(2, dim=-1)
        return torch.cat([even * when.cos - odd * when.sin, odd * when.cos + even * when.sin], dim=-1).to(x)

    def _recalled(
        self, query: Tensor, keys: tuple[Tensor, Tensor], values: tuple[Tensor, Tensor], when: Timing
    ) -> Float[Tensor, "b n h t e"]:
        """What queries find in the past and in the present, which are not copied together."""
        assert when.mask is not None
        scores = torch.cat([query @ one.transpose(-1, -2) for one in keys], -1) * query.shape[-1] ** -0.5
        share = scores.masked_fill(~when.mask[:, None, None], -torch.inf).softmax(-1).to(query)
        before = keys[0].shape[-2]
        return share[..., :before] @ values[0] + share[..., before:] @ values[1]


class Gated(nn.Module):
    """A gated hidden layer (SwiGLU, arXiv 2002.05202)."""

    def __init__(self, width: int, wide: int):
        super().__init__()
        self.enter, self.leave = nn.Linear(width, 2 * wide, bias=False), nn.Linear(wide, width, bias=False)

    def forward(self, x: Float[Tensor, "*batch w"]) -> Float[Tensor, "*batch w"]:
        gate, hidden = self.enter(x).chunk(2, dim=-1)
        return self.leave(nn.functional.silu(gate) * hidden)


class Layer(nn.Module):
    """Attention, then a gated hidden layer, each around what it is given, normalised."""

    gathered_alone = True
    """Of weights that are sharded over processes those of one layer are gathered at a time."""

    def __init__(self, attention: Attention, width: int):
        super().__init__()
        self.attention, self.gated = attention, Gated(width, 8 * width // 3 // 8 * 8)
        self.before, self.between = nn.RMSNorm(width), nn.RMSNorm(width)

    def forward(
        self, x: Float[Tensor, "b t n w"], when: Timing | None = None, past: tuple[Tensor, Tensor] | None = None
    ) -> tuple[Float[Tensor, "b t n w"], Tensor | None, Tensor | None]:
        """`when` and `past` are for attention in time."""
        key = value = None
        if isinstance(self.attention, TimeAttention):
            assert when is not None
            found, key, value = self.attention(self.before(x), when, past)
        else:
            found = self.attention(self.before(x))
        x = x + found
        return x + self.gated(self.between(x)), key, value


class BlockCausal(nn.Module):
    """Layers over tokens (B, T, N, w), the last of every `every` of which looks back, at `back` steps with its own."""

    rates: Tensor

    def __init__(self, width: int, heads: int, layers: int, every: int, back: int):
        super().__init__()
        self.back, self.heads, self.width = back, heads, width
        self.layers = nn.ModuleList(
            Layer(TimeAttention(width, heads) if i % every == every - 1 else SpaceAttention(width, heads), width)
            for i in range(layers)
        )
        self.look_back = sum(isinstance(layer.attention, TimeAttention) for layer in self.layers)
        self.norm = nn.RMSNorm(width)
        size = width // heads
        self.register_buffer("rates", ROTATIONS ** -(torch.arange(0, size, 2) / size), persistent=False)

    def forward(
        self, x: Float[Tensor, "b t n w"], times: Int[Tensor, "b t"], cache: Cache | None = None
    ) -> tuple[Float[Tensor, "b t n w"], Cache]:
        """What becomes of the tokens of steps at `times`, those in the cache being before them, and what these steps
        themselves leave to be looked back at."""
        keys, values, when = [], [], self._timing(times, cache)
        for layer in self.layers:
            at = len(keys) % self.look_back
            past = None if cache is None else (cache.keys[:, at], cache.values[:, at])
            x, key, value = layer(x, when, past)
            if key is not None and value is not None:
                keys.append(key)
                values.append(value)
        return self.norm(x), Cache(torch.stack(keys, 1), torch.stack(values, 1), times)

    def _timing(self, times: Int[Tensor, "b t"], cache: Cache | None) -> Timing:
        angle = (times[..., None] * self.rates)[:, :, None, None]  # in exact numbers: half precision counts to 256
        if cache is None and times.shape[1] <= self.back:
            return Timing(angle.cos(), angle.sin(), None)
        seen = times if cache is None else torch.cat([cache.times, times], 1)
        ago = times[:, :, None] - seen[:, None]
        return Timing(angle.cos(), angle.sin(), (ago >= 0) & (ago < self.back))

    def empty(self, count: int, tokens: int, device: torch.device, dtype: torch.dtype) -> Cache:
        """A cache of nothing, of as many steps as are looked back at beside the present one."""
        shape = count, self.look_back, tokens, self.heads, self.back - 1, self.width // self.heads
        nothing = torch.zeros(shape, device=device, dtype=dtype)
        return Cache(nothing, nothing, torch.full((count, self.back - 1), NEVER, device=device))
