"""The dynamics of Dreamer 4 (arXiv 2509.24527) as a global model: a block-causal transformer by shortcut forcing.

What a step shows is drawn from noise in a few evaluations. In training every step of a window has a noise level and a
stride of its own: of the finest the model learns what is behind the noise (diffusion forcing, arXiv 2407.01392), of
longer ones where two of half the length would lead (shortcut models, arXiv 2410.12557).
"""

from dataclasses import dataclass
from typing import Annotated, Literal, NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from glocal.core.features import outcome_losses
from glocal.core.nets import half_precision, outcome_head
from glocal.core.ranges import Part, Range, Small, Width
from glocal.core.spec import Part as Seen
from glocal.core.spec import Spec
from glocal.core.types import Batched, Pairs, Segment, Step
from glocal.models.transformer import BlockCausal, Cache
from glocal.models.worlds.diffusion import unit_noise
from glocal.runtime.files import UserError

SIZES = ((32, 2, 2, 2), (128, 4, 4, 2), (256, 8, 4, 4), (512, 12, 8, 4), (1024, 24, 16, 4))
"""Width, layers, heads, and of how many layers one looks back, by `size`."""
FINEST_WEIGHT, WEIGHT_RISE = 0.1, 0.9
"""The weight of a loss at signal level tau is 0.9 tau + 0.1: what is nearly clean counts more (Eq. 8)."""
PULL = 0.1
"""Share of the gradient of rewards and ends that reaches the transformer: enough that what they depend on is
remembered, and too little to make its pictures worse (ours)."""


@dataclass(frozen=True)
class ShortcutConfig:
    """Choices for the transformer world."""

    context: Small = 32
    """Observations that it begins with: the paper's prefill."""
    back: Annotated[int, Range(2, 1000)] = 32
    """Steps that it looks back, its own among them: what its cache holds. The paper's are 96."""
    window: Annotated[int, Range(2, 1000)] = 32
    """Rows of the windows that it is trained on, at least as many as it looks back."""
    size: Literal[0, 1, 2, 3, 4] = 1
    """0 (for tests) to 4: width and depth of the transformer."""
    pack: Literal[1, 2, 4, 8] = 2
    """Cells along the side of a square of a latent grid that makes one token."""
    registers: Annotated[int, Range(0, 64)] = 2
    """Tokens of each step that stand for nothing, and are free to be used."""
    finest: Literal[4, 8, 16, 32, 64] = 64
    """Steps of the finest way from noise to what is clean."""
    sampling_steps: Literal[1, 2, 4, 8, 16, 32, 64] = 4
    """Evaluations of the network for a step, of which one more fills the cache."""
    bootstrap: Part = 0.25
    """Share of a minibatch that learns longer strides."""
    context_noise: Part = 0.1
    """Share of noise in what was seen and is looked back at, so that its own errors do not lead it away."""
    head_width: Width = 128


@dataclass(frozen=True)
class Context(Batched):
    """What is looked back at, the time (B,) of the next step, and the key of the next draw."""

    cache: Cache
    now: Int[Tensor, " b"]
    key: int


class Levels(NamedTuple):
    """How far each step (B, T) is from noise (0) to clean (`finest`), and how far an evaluation is to lead it."""

    signal: Int[Tensor, "b t"]
    stride: Int[Tensor, "b t"]


class Tokens(nn.Module):
    """Observations as tokens of the transformer's width, and back: a token for a vector, one for each token of a part,
    and one for each square of `pack` by `pack` cells of a grid."""

    def __init__(self, spec: Spec, pack: int, width: int):
        super().__init__()
        self.spec, self.pack = spec, pack
        shapes = [_tokens(part, pack) for part in spec.parts]
        self.counts = [count for count, _ in shapes]
        self.enter = nn.ModuleList([nn.Linear(dim, width) for _, dim in shapes])
        self.leave = nn.ModuleList([nn.Linear(width, dim) for _, dim in shapes])
        self.place = nn.Parameter(0.5 * torch.randn(sum(self.counts), width))

    def forward(self, obs: Float[Tensor, "*batch d"]) -> Float[Tensor, "*batch n w"]:
        parts = zip(self.enter, self.spec.parts, self.spec.split(obs).values(), strict=True)
        return torch.cat([enter(_squares(x, part, self.pack)) for enter, part, x in parts], dim=-2) + self.place

    def read(self, tokens: Float[Tensor, "*batch n w"]) -> Float[Tensor, "*batch d"]:
        """The observations that tokens stand for."""
        each = zip(self.leave, self.spec.parts, tokens.split(self.counts, dim=-2), strict=True)
        return torch.cat([_row(leave(x), part, self.pack) for leave, part, x in each], dim=-1)


def _tokens(part: Seen, pack: int) -> tuple[int, int]:
    """Tokens of a part, and numbers of each."""
    if len(part.shape) == 1:
        return 1, part.size
    if len(part.shape) == 2:
        return part.shape
    channels, height, width = part.shape
    if height % pack or width % pack:
        raise UserError(f"--world.pack is {pack}, which does not divide the {height} by {width} cells of {part.name}")
    return height * width // pack**2, channels * pack**2


def _squares(x: Tensor, part: Seen, pack: int) -> Float[Tensor, "*batch n m"]:
    """A part (*batch, *shape) as its tokens' numbers."""
    if len(part.shape) == 1:
        return x[..., None, :]
    return nn.functional.pixel_unshuffle(x, pack).flatten(-2).transpose(-1, -2) if len(part.shape) == 3 else x


def _row(tokens: Float[Tensor, "*batch n m"], part: Seen, pack: int) -> Float[Tensor, "*batch d"]:
    """The inverse of `_squares`, as a row of numbers."""
    if len(part.shape) < 3:
        return tokens.flatten(-2)
    grid = tokens.transpose(-1, -2).unflatten(-1, (part.shape[1] // pack, part.shape[2] // pack))
    return nn.functional.pixel_shuffle(grid, pack).flatten(-3)


class ShortcutWorld(nn.Module):
    """Each step is a draw from p(next observation | the last `back` of them and their actions)."""

    mean: Tensor
    scale: Tensor

    def __init__(self, cfg: ShortcutConfig, spec: Spec):
        super().__init__()
        self.cfg, self.spec = cfg, spec
        width, layers, heads, every = SIZES[cfg.size]
        self.register_buffer("mean", torch.zeros(spec.obs_dim))
        self.register_buffer("scale", torch.ones(spec.obs_dim))
        self.tokens = Tokens(spec, cfg.pack, width)
        self.action = nn.Linear(spec.action_dim, width)
        self.signal = nn.Embedding(cfg.finest + 1, width)
        self.stride = nn.Embedding(cfg.finest.bit_length(), width)
        self.registers = nn.Parameter(0.5 * torch.randn(cfg.registers, width))
        self.net = BlockCausal(width, heads, layers, every, cfg.back)
        self.head = outcome_head(spec.obs_dim + width, cfg.head_width)

    @property
    def length(self) -> int:
        """Rows of a window that its loss reads."""
        return self.cfg.window

    @property
    def acted(self) -> int:
        """Control steps that windows of its loss end with, where episodes have as many."""
        return self.cfg.window - 1

    @torch.no_grad()
    def fit_statistics(self, pairs: Pairs) -> None:
        """Take mean and spread of every number, the cells of a grid sharing each channel's, of what was recorded."""
        for name, x in self.spec.split(pairs.after).items():
            cells = x if x.ndim == 2 else x.flatten(2).transpose(1, 2).flatten(0, 1) if x.ndim == 4 else x.flatten(0, 1)
            columns, shape = self.spec.columns(name), self.spec.part(name).shape
            for buffer, found in ((self.mean, cells.mean(0)), (self.scale, _spread(cells))):
                each = found[:, None, None] if len(shape) == 3 else found
                buffer[columns] = each.expand(shape).flatten()

    def outcomes(self, segment: Segment) -> tuple[Tensor, Tensor]:
        """Rewards (B, T) and logits of continuation (B, T) of what was recorded, as far back as it looks."""
        obs = self._normal(segment.obs)
        times = torch.arange(obs.shape[1], device=obs.device).expand(len(obs), -1)
        hidden, _ = self._told(obs, segment.action, unit_noise(0, obs.shape, obs.device), times, None)
        return self._outcome(obs, hidden)

    def begin(self, segment: Segment, key: int) -> Context:
        """See `World.begin`; needs at least `context` steps."""
        latest = segment.latest(self.cfg.context)
        count, steps = latest.reward.shape
        times = torch.arange(steps, device=latest.obs.device).expand(count, -1)
        noise = unit_noise(key, latest.obs.shape, latest.obs.device)
        cache = self._empty(count, latest.obs.device)
        _, seen = self._told(self._normal(latest.obs), latest.action, noise, times, None)
        return Context(cache.with_step(seen), times[:, -1] + 1, key + 1)

    def step(self, context: Context, action: Float[Tensor, "b a"]) -> tuple[Context, Step]:
        """See `World.step`."""
        noise = unit_noise(context.key, (2, len(action), self.spec.obs_dim), action.device)
        obs, hidden, seen = self.sample(context, action, noise)
        reward, cont = (one[:, 0] for one in self._outcome(self._normal(obs)[:, None], hidden))
        cache = context.cache.with_step(seen)
        return Context(cache, context.now + 1, context.key + 1), Step(obs, reward, cont.sigmoid())

    def sample(
        self, context: Context, action: Float[Tensor, "b a"], noise: Float[Tensor, "2 b d"]
    ) -> tuple[Float[Tensor, "b d"], Float[Tensor, "b 1 n w"], Cache]:
        """The next observation, made of unit noise, what the tokens of its step hold, and what it leaves to be looked
        back at."""
        finest, steps = self.cfg.finest, self.cfg.sampling_steps
        times, action, x = context.now[:, None], action[:, None], noise[0, :, None]
        for k in range(steps):
            levels = Levels(torch.full_like(times, k * finest // steps), torch.full_like(times, finest // steps))
            clean, _ = self._clean(x, action, levels, times, context.cache)
            x = x + (clean - x) / (steps - k)
        hidden, seen = self._told(x, action, noise[1, :, None], times, context.cache)
        return self.spec.bounded(x[:, 0] * self.scale + self.mean), hidden, seen

    def loss(self, segment: Segment) -> tuple[Tensor, dict[str, Tensor]]:
        """The losses of shortcut forcing (Eq. 7) on windows (B, window, ...), and the head's losses."""
        obs, count = self._normal(segment.obs), len(segment.obs)
        times = torch.arange(obs.shape[1], device=obs.device).expand(count, -1)
        some = min(count - 1, max(1, round(self.cfg.bootstrap * count))) if self.cfg.bootstrap else 0
        levels, noise = self._levels(count, obs.shape[1], some, obs.device), torch.randn_like(obs)
        signal = levels.signal[..., None] / self.cfg.finest
        x = (1 - signal) * noise + signal * obs
        hidden, _ = self._hidden(x, segment.action, levels, times, None)
        clean = self._read(hidden)
        weight = FINEST_WEIGHT + WEIGHT_RISE * signal
        flow = (weight * (clean - obs).pow(2))[some:].mean() if some < count else clean.new_zeros(())
        ahead = clean.new_zeros(())
        if some:
            chosen, left = slice(some), 1 - signal[:some]
            far = self._two_halves(x[chosen], segment.action[chosen], Levels(*(one[chosen] for one in levels)))
            ahead = (weight[chosen] * left.pow(2) * ((clean[chosen] - x[chosen]) / left - far).pow(2)).mean()
        pulled = hidden.detach() + PULL * (hidden - hidden.detach())
        outcome = outcome_losses(self._outcome(obs, pulled), segment)
        share = some / count
        loss = (1 - share) * flow + share * ahead + outcome["reward"] + outcome["cont"]
        return loss, {"flow": flow, "bootstrap": ahead, **outcome}

    @torch.no_grad()
    def _two_halves(self, x: Tensor, action: Tensor, levels: Levels) -> Float[Tensor, "b t d"]:
        """The mean velocity along two strides of half the length."""
        finest, half = self.cfg.finest, Levels(levels.signal, levels.stride // 2)
        times = torch.arange(x.shape[1], device=x.device).expand(len(x), -1)
        first = (self._clean(x, action, half, times, None)[0] - x) / (1 - half.signal / finest)[..., None]
        x = x + first * (half.stride / finest)[..., None]
        half = Levels(half.signal + half.stride, half.stride)
        second = (self._clean(x, action, half, times, None)[0] - x) / (1 - half.signal / finest)[..., None]
        return (first + second) / 2

    def _levels(self, count: int, steps: int, some: int, device: torch.device) -> Levels:
        """Random levels: of the first `some` windows with longer strides than the finest, of the others with that."""
        finest = self.cfg.finest
        power = torch.randint(1, finest.bit_length(), (count, steps), device=device)
        power = power * (torch.arange(count, device=device) < some)[:, None]
        stride = 2**power
        places = finest // stride
        signal = (torch.rand(count, steps, device=device) * places).long().clamp_max(places - 1)
        return Levels(signal * stride, stride)

    def _told(
        self, obs: Tensor, action: Tensor, noise: Tensor, times: Int[Tensor, "b t"], cache: Cache | None
    ) -> tuple[Float[Tensor, "b t n w"], Cache]:
        """What the tokens of steps that were seen (B, T, d) hold, and what they leave to be looked back at, slightly
        noised."""
        finest = self.cfg.finest
        signal = min(finest - 1, round((1 - self.cfg.context_noise) * finest))
        x = signal / finest * obs + (1 - signal / finest) * noise
        levels = Levels(torch.full_like(times, signal), torch.ones_like(times))
        return self._hidden(x, action, levels, times, cache)

    def _clean(
        self, x: Float[Tensor, "b t d"], action: Tensor, levels: Levels, times: Int[Tensor, "b t"], cache: Cache | None
    ) -> tuple[Float[Tensor, "b t d"], Cache]:
        """What is expected behind noisy steps, and what these leave to be looked back at."""
        hidden, seen = self._hidden(x, action, levels, times, cache)
        return self._read(hidden), seen

    def _hidden(
        self, x: Float[Tensor, "b t d"], action: Tensor, levels: Levels, times: Int[Tensor, "b t"], cache: Cache | None
    ) -> tuple[Float[Tensor, "b t n w"], Cache]:
        """What the tokens of noisy steps hold, and what these leave to be looked back at."""
        told = self.signal(levels.signal) + self.stride(levels.stride.float().log2().round().long())
        registers = self.registers.expand(*times.shape, -1, -1)
        tokens = torch.cat([self.action(action)[:, :, None], told[:, :, None], registers, self.tokens(x)], dim=2)
        with half_precision(x.device):
            hidden, seen = self.net(tokens, times, cache)
        return hidden.float(), seen

    def _read(self, hidden: Float[Tensor, "b t n w"]) -> Float[Tensor, "b t d"]:
        """The observations that the tokens of steps expect."""
        return self.tokens.read(hidden[:, :, self._beside :])

    def _outcome(
        self, obs: Float[Tensor, "b t d"], hidden: Float[Tensor, "b t n w"]
    ) -> tuple[Float[Tensor, "b t"], Float[Tensor, "b t"]]:
        """Rewards and logits of continuation, by what is seen, normalised, and by what tokens hold, which look back."""
        reward, cont = self.head(torch.cat([obs, hidden.mean(2)], dim=-1)).unbind(-1)
        return reward, cont

    @property
    def _beside(self) -> int:
        """Tokens of a step beside those of its observation: the action, its level, and the registers."""
        return 2 + self.cfg.registers

    def _empty(self, count: int, device: torch.device) -> Cache:
        tokens = self._beside + sum(self.tokens.counts)
        with half_precision(device):
            dtype = self.action(torch.zeros(1, self.spec.action_dim, device=device)).dtype
        return self.net.empty(count, tokens, device, dtype)

    def _normal(self, obs: Tensor) -> Tensor:
        return (obs - self.mean) / self.scale


def _spread(x: Float[Tensor, "n d"]) -> Float[Tensor, " d"]:
    """Standard deviations, and 1 where nothing varies."""
    std = x.std(0, correction=0)
    return torch.where(std > 1e-3, std, torch.ones_like(std))
