"""A global model that draws pictures by diffusion, DIAMOND (arXiv 2405.12399): a U-Net that sees the last pictures, the
actions, and the noise level. It asks nothing of a scene; numbers beside the pictures are diffused with them."""

from dataclasses import dataclass
from typing import Annotated, Literal, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn

from glocal.core.features import outcome_losses
from glocal.core.nets import half_precision, mlp, outcome_head
from glocal.core.pictures import CHANNELS
from glocal.core.ranges import Amount, Finite, Part, Positive, Range, Small, Width
from glocal.core.spec import Spec
from glocal.core.types import Batched, Pairs, Segment
from glocal.models.codecs.cameras import CamerasCodec
from glocal.models.codecs.images import coordinates
from glocal.models.worlds.diffusion import (
    LEVEL_FEATURES,
    DiffusionConfig,
    level_features,
    preconditioned,
    solved,
    unit_noise,
)
from glocal.models.worlds.pictures import PictureWorld, Window, noised
from glocal.models.worlds.unet import Down, Middle, UNet, groups
from glocal.runtime.files import UserError

SIZES = (((8, 8), 1), ((48, 96), 1), ((64, 64, 64, 64), 2), ((96, 96, 128, 128), 2), ((128, 128, 256, 256), 3))
"""Channels by level, and blocks at each, by `size`; 2 is the paper's."""
OUTCOME_CHANNELS, OUTCOME_SIDE = 32, 8
JUDGED = 4
"""One window in so many of a minibatch trains what tells rewards, which looks at all rows of it."""


@dataclass(frozen=True)
class PixelConfig(DiffusionConfig):
    """Choices for the diffusion model of pictures; what it starts from is the paper's."""

    patch: Literal[1, 2, 4] = 1
    """Pixels along the side of a cell at which pictures enter and leave the network. Of larger ones it sees less, and
    is as many times faster as they have pixels."""
    diffuse: Literal["picture", "change"] = "picture"
    """What is diffused: the next picture, as in the paper, or how it differs from the last one."""
    solver: Literal["euler", "heun"] = "euler"
    """Heun's method evaluates the network twice for each of `sampling_steps` but the last."""
    sigma_min: Positive = 0.002
    sigma_data: Positive = 0.5
    """The typical size of what is diffused, of pixels from -1 to 1; smaller where changes are diffused."""
    sigma_offset: Amount = 0.3
    """In training, noise that all pixels of a channel share: so that a picture's mean is drawn, too, not kept."""
    sigma_mean: Finite = -0.4
    sigma_std: Positive = 1.2
    context_noise: Amount = 0.0
    """Largest noise on the pictures that it sees in training, of pixels from -1 to 1."""
    answers: Small = 2
    """Steps of a window that are denoised in training, each seeing what was made of those before."""
    worst: Part = 0.0
    """Share of each picture's pixels whose mean error is added to the loss: small things are otherwise left out."""
    scales: Annotated[int, Range(1, 16)] = 3
    """Wavelengths of the features of numbers, halving from one to the next."""
    told_width: Width = 256
    """Width of what the network is told beside pictures."""
    memory: Width = 128
    """Width of the recurrent network that tells rewards, and whether the episode goes on."""
    reward_steps: Small = 16
    """Rows of the windows that it is trained on."""


@dataclass(frozen=True)
class Context(Batched):
    """What is seen, what the recurrent network of rewards remembers (B, h), and the key of the next draw."""

    seen: Window
    memory: Float[Tensor, "b h"]
    key: int


class Sight(NamedTuple):
    """What the network makes of a context: maps of the pictures, and features of numbers and actions."""

    maps: Float[Tensor, "b c s s"]
    flat: Float[Tensor, "b f"]


class Denoiser(nn.Module):
    """A U-Net on the maps of all cameras' noisy pictures; numbers leave by a path of their own."""

    plan: Tensor

    def __init__(self, cfg: PixelConfig, frame: int, side: int, numbers: int, flat: int):
        """`frame` are the channels of the maps of one step, `side` their cells, `flat` the features of a context."""
        super().__init__()
        channels, blocks = SIZES[cfg.size]
        width, self.numbers = cfg.told_width, numbers
        self.register_buffer("plan", coordinates(side), persistent=False)
        self.told = mlp(flat + LEVEL_FEATURES + numbers, width, 1, width)
        self.noisy = nn.Conv2d(frame, channels[0], 3, padding=1)
        self.past = nn.Conv2d(frame * cfg.context + 2, channels[0], 3, padding=1, bias=False)
        self.unet = UNet(channels, blocks, width)
        self.norm = nn.GroupNorm(groups(channels[0]), channels[0])
        self.out = nn.Conv2d(channels[0], frame, 3, padding=1)
        self.moved = mlp(numbers + width + channels[0], width, 2, numbers, 0.0) if numbers else None
        nn.init.zeros_(self.out.weight)
        nn.init.zeros_(self.out.bias)  # pyright: ignore[reportArgumentType]

    def see(self, maps: Float[Tensor, "b n s s"]) -> Float[Tensor, "b c s s"]:
        """What all noise levels share: the part of the first convolution that looks at the last pictures."""
        shown = torch.cat([maps, self.plan.expand(len(maps), -1, -1, -1)], dim=1)
        return self.past(shown.contiguous(memory_format=torch.channels_last))

    def forward(
        self, maps: Float[Tensor, "b m s s"], numbers: Float[Tensor, "b n"], level: Tensor, seen: Sight
    ) -> tuple[Float[Tensor, "b m s s"], Float[Tensor, "b n"]]:
        """What is expected of the maps and of the numbers."""
        told = self.told(torch.cat([seen.flat, level, numbers], dim=-1))
        hidden = self.noisy(maps.contiguous(memory_format=torch.channels_last)) + seen.maps
        hidden = nn.functional.silu(self.norm(self.unet(hidden, told)))
        if self.moved is None:
            return self.out(hidden), numbers
        return self.out(hidden), self.moved(torch.cat([numbers, told, hidden.mean((2, 3))], dim=-1))


class RecurrentOutcome(nn.Module):
    """Rewards, and whether the episode goes on, of pictures before and after actions, and of all that was before."""

    def __init__(self, frame: int, side: int, told: int, memory: int, width: int):
        super().__init__()
        levels = 1
        while side > OUTCOME_SIDE:
            side, levels = (side + 1) // 2, levels + 1
        channels = (OUTCOME_CHANNELS,) * levels
        self.enter = nn.Conv2d(2 * frame, OUTCOME_CHANNELS, 3, padding=1)
        self.down, self.middle = Down(channels, 1, told), Middle(OUTCOME_CHANNELS, told)
        self.cell = nn.GRUCell(OUTCOME_CHANNELS * side**2 + told, memory)
        self.head = outcome_head(memory, width)

    def forward(
        self, maps: Float[Tensor, "b t n s s"], told: Float[Tensor, "b t f"], memory: Float[Tensor, "b h"]
    ) -> Float[Tensor, "b t h"]:
        """What is remembered after each of some pairs of pictures (as maps, one behind the other)."""
        flat = told.flatten(0, 1)
        with half_precision(maps.device):
            hidden = self.enter(maps.flatten(0, 1).contiguous(memory_format=torch.channels_last))
            hidden = self.middle(self.down(hidden, flat)[-1][-1], flat).float()
        found = torch.cat([hidden.flatten(1), flat], dim=-1).unflatten(0, told.shape[:2])
        remembered = []
        for one in found.unbind(1):
            memory = self.cell(one, memory)
            remembered.append(memory)
        return torch.stack(remembered, dim=1)


class PixelWorld(PictureWorld):
    """Each step is a draw from p(next pictures and numbers | the last `context` of them and their actions)."""

    first_sigma: Tensor
    """The noise that a sample begins with: above every recorded change of a number."""

    def __init__(self, cfg: PixelConfig, spec: Spec, codec: CamerasCodec):
        super().__init__(cfg.context, cfg.scales, spec, codec)
        self.cfg = cfg
        sides = set(self.sides.values())
        if len(sides) > 1:
            found = ", ".join(f"{name} {side}" for name, side in self.sides.items())
            raise UserError(
                f"a pixel world takes cameras of one size, found {found} pixels; give all one `size` in the mapping"
            )
        (side,) = sides
        if side % cfg.patch:
            raise UserError(f"--world.patch is {cfg.patch}, which does not divide pictures of {side} pixels")
        frame, cells = CHANNELS * cfg.patch**2 * len(self.sides), side // cfg.patch
        self.register_buffer("first_sigma", torch.tensor(cfg.sigma_max))
        self.denoiser = Denoiser(cfg, frame, cells, self.numbers, self.features.dynamics_dim())
        told = spec.action_dim + 2 * self.numbers
        self.outcome = RecurrentOutcome(frame, cells, told, cfg.memory, cfg.head_width)

    @property
    def length(self) -> int:
        """Rows of a window that its loss reads."""
        return max(self.cfg.context + self.cfg.answers, self.cfg.reward_steps)

    @property
    def acted(self) -> int:
        """Control steps that windows of its loss end with."""
        return self.cfg.answers

    @torch.no_grad()
    def fit_statistics(self, pairs: Pairs) -> None:
        super().fit_statistics(pairs)
        if self.numbers:
            beside = self._beside(pairs)
            changes = self.features.delta(beside.before, beside.after)
            self.first_sigma.copy_((self.cfg.sigma_data * changes.abs().amax()).clamp_min(self.cfg.sigma_max))

    def begin(self, segment: Segment, key: int) -> Context:
        """See `World.begin`; needs at least `context` steps, and their pictures."""
        seen = self.seen(segment.latest(self.cfg.context))
        return Context(seen, self._remembered(seen)[:, -1], key)

    def answer(self, context: Context, action: Float[Tensor, "b a"]) -> Context:
        """What is seen after an action."""
        seen = context.seen
        noise = unit_noise(context.key, (len(action), self.numbers + seen.pictures.shape[-1]), action.device)
        numbers, pictures = self.sample(seen, action, noise).tensor_split([self.numbers], dim=-1)
        after = seen.after(action, numbers, pictures)
        memory = self._remember(seen[:, -1:], after[:, -1:], context.memory)
        return Context(after, memory[:, -1], context.key + 1)

    def sample(self, seen: Window, action: Float[Tensor, "b a"], noise: Float[Tensor, "b d"]) -> Float[Tensor, "b d"]:
        """The next numbers and pictures, made of unit noise."""
        sight = self.see(seen, action)
        sigmas = self.cfg.schedule(self.first_sigma)

        def clean(noisy: Tensor, sigma: Tensor) -> Tensor:
            return self._held(seen, self.denoise(noisy, sigma, sight))

        return self._after(seen, solved(clean, noise, sigmas, self.cfg.solver == "heun"))

    def judge(self, context: Context, obs: Float[Tensor, "b d"]) -> tuple[Tensor, Tensor]:
        reward, cont = self.outcome.head(context.memory).unbind(-1)
        return reward, cont

    def outcomes(self, segment: Segment) -> tuple[Tensor, Tensor]:
        reward, cont = self.outcome.head(self._remembered(self.seen(segment))).unbind(-1)
        return reward, cont

    def loss(self, segment: Segment) -> tuple[Tensor, dict[str, Tensor]]:
        """Denoising losses of the last `answers` steps of segments (B, length, ...), each after what was made of those
        before, and the errors of rewards and continuations of some whole windows."""
        judged = segment[::JUDGED]
        outcome = outcome_losses(self.outcomes(judged), judged)
        truth, context = self.seen(segment[:, -self.cfg.context - self.cfg.answers :]), self.cfg.context
        seen, losses, metrics = noised(truth[:, :context], self.cfg.context_noise), [], {}
        for t in range(context, context + self.cfg.answers):
            loss, found = self._denoising_loss(seen, truth[:, t])
            losses.append(loss)
            metrics[f"diffusion_{t + 1 - context}"] = loss
            seen = seen.after(truth.action[:, t], *found.tensor_split([self.numbers], dim=-1))
        return torch.stack(losses).mean() + outcome["reward"] + outcome["cont"], metrics | outcome

    def see(self, seen: Window, action: Float[Tensor, "b a"]) -> Sight:
        """What the network makes of a context and an action; the same at every noise level."""
        actions = torch.cat([seen.action[:, 1:], action[:, None]], dim=1)
        flat = self.features.dynamics(seen.numbers, actions, self.cfg.scales)
        with half_precision(action.device):
            maps = self.denoiser.see(self._maps(seen.pictures / self.cfg.sigma_data).flatten(1, 2))
        return Sight(maps, flat)

    def denoise(self, noisy: Tensor, sigma: Tensor, sight: Sight) -> Float[Tensor, "b d"]:
        """What is expected behind `noisy` (B, d), whose pixels have noise `sigma` (B, 1) each, and offsets."""
        sigma = self._whole(sigma)
        level = level_features(sigma)

        def network(scaled: Tensor) -> Tensor:
            numbers, pictures = scaled.tensor_split([self.numbers], dim=-1)
            with half_precision(scaled.device):
                maps, moved = self.denoiser(self._maps(pictures), numbers, level, sight)
            return torch.cat([moved.float(), self._pictures(maps.float())], dim=-1)

        return preconditioned(network, noisy, sigma, self.cfg.sigma_data)

    def _whole(self, sigma: Float[Tensor, "b 1"]) -> Float[Tensor, "b 1"]:
        """The noise of a pixel, its channel's offset among it: what the network is told, in sampling as in training."""
        return (sigma**2 + self.cfg.sigma_offset**2).sqrt()

    def _held(self, seen: Window, change: Float[Tensor, "b d"]) -> Float[Tensor, "b d"]:
        """What is diffused, as far as the bytes of pictures can hold it."""
        numbers, pictures = change.tensor_split([self.numbers], -1)
        shift = seen.pictures[:, -1] if self.cfg.diffuse == "change" else 0.0
        return torch.cat([numbers, in_bytes(pictures + shift) - shift], dim=-1)

    def _denoising_loss(self, seen: Window, truth: Window) -> tuple[Tensor, Tensor]:
        """EDM's loss of the step after a context, and what was made of it, (B, d)."""
        cfg, clean = self.cfg, self._change(seen, truth)
        sigma = (cfg.sigma_mean + cfg.sigma_std * torch.randn_like(clean[:, :1])).exp()
        noisy = clean + sigma * torch.randn_like(clean) + self._offset(clean)
        found = self.denoise(noisy, sigma, self.see(seen, truth.action))
        after = self._after(seen, self._held(seen, found.detach()))
        return self._error(found - clean, self._whole(sigma)), after

    def _error(self, off: Float[Tensor, "b d"], sigma: Float[Tensor, "b 1"]) -> Float[Tensor, ""]:
        """Squared errors, weighted so that every noise level counts the same (arXiv 2206.00364, Eq. 8)."""
        cfg = self.cfg
        squared = (sigma**2 + cfg.sigma_data**2) / (sigma * cfg.sigma_data) ** 2 * off.pow(2)
        numbers, pictures = squared.tensor_split([self.numbers], dim=-1)
        loss = pictures.mean()
        if cfg.worst:
            loss = loss + pictures.topk(max(1, int(cfg.worst * pictures.shape[1])), dim=-1).values.mean()
        return loss + numbers.mean() if self.numbers else loss

    def _offset(self, clean: Float[Tensor, "b d"]) -> Float[Tensor, "b d"]:
        """Noise that all pixels of each channel of each camera share, and for each number noise of its own."""
        numbers, pictures = clean.tensor_split([self.numbers], dim=-1)
        channels = pictures.unflatten(-1, (len(self.sides) * CHANNELS, -1))
        shared = torch.randn_like(channels[..., :1]).expand_as(channels).flatten(1)
        return self.cfg.sigma_offset * torch.cat([torch.randn_like(numbers), shared], dim=-1)

    def _change(self, seen: Window, truth: Window) -> Float[Tensor, "b d"]:
        """What is diffused of the step (B, ...) after a window."""
        shift = seen.pictures[:, -1] if self.cfg.diffuse == "change" else 0.0
        if not self.numbers:
            return truth.pictures - shift
        moved = self.cfg.sigma_data * self.features.delta(seen.numbers[:, -1], truth.numbers)
        return torch.cat([moved, truth.pictures - shift], dim=-1)

    def _after(self, seen: Window, change: Float[Tensor, "b d"]) -> Float[Tensor, "b d"]:
        """The numbers and pictures that something diffused stands for: the inverse of `_change`."""
        numbers, pictures = change.tensor_split([self.numbers], dim=-1)
        shift = seen.pictures[:, -1] if self.cfg.diffuse == "change" else 0.0
        if not self.numbers:
            return pictures + shift
        moved = self.features.advance(seen.numbers[:, -1], numbers / self.cfg.sigma_data)
        return torch.cat([moved, pictures + shift], dim=-1)

    def _remembered(self, seen: Window) -> Float[Tensor, "b t h"]:
        """What the network of rewards remembers after each step of a window, the first of which came of a rest."""
        before = Window(*(torch.cat([x[:, :1], x[:, :-1]], 1) for x in (seen.pictures, seen.numbers, seen.action)))
        memory = seen.pictures.new_zeros(len(seen.pictures), self.cfg.memory)
        return self._remember(before, seen, memory)

    def _remember(self, before: Window, after: Window, memory: Float[Tensor, "b h"]) -> Float[Tensor, "b t h"]:
        """What is remembered after each step of what was seen before and after it (B, T, ...)."""
        maps = torch.cat([self._maps(before.pictures), self._maps(after.pictures)], dim=2)
        return self.outcome(maps, torch.cat([after.action, after.numbers, before.numbers], dim=-1), memory)

    def _maps(self, pictures: Float[Tensor, "*batch p"]) -> Float[Tensor, "*batch m s s"]:
        """The maps of all cameras' pictures, one behind the other."""
        (side,) = set(self.sides.values())
        return nn.functional.pixel_unshuffle(pictures.unflatten(-1, (-1, side, side)), self.cfg.patch)

    def _pictures(self, maps: Float[Tensor, "b m s s"]) -> Float[Tensor, "b p"]:
        return nn.functional.pixel_shuffle(maps, self.cfg.patch).flatten(1)


def in_bytes(pictures: Tensor) -> Tensor:
    """Pixels as a picture's bytes hold them, from -1 to 1; their gradient is that of what lies between."""
    held = ((pictures.clamp(-1, 1) + 1) * 127.5).round() / 127.5 - 1
    return pictures.clamp(-1, 1) + (held - pictures.clamp(-1, 1)).detach()
