"""A global model of pictures: the next one is made of a few parts of an earlier one, each of which moves, of what
stays, and of what is newly drawn (after SE3-Nets, arXiv 1606.02378, and CDNA and STP, arXiv 1605.07157).

It asks nothing of a scene but that few things move. Which pixels belong together and how they move is learned from the
pictures' errors alone, over several steps of the model's own answers. Parts are taken from a *source*: a picture that
stays the same for some steps while motions add up, so that what moves is resampled once and not at every step.
"""

import math
from dataclasses import dataclass
from typing import Annotated, Literal

import torch
from jaxtyping import Float, UInt8
from torch import Tensor, nn

from glocal.core.features import PlainOutcome, Standard, outcome_losses
from glocal.core.nets import mlp
from glocal.core.pictures import CHANNELS, unpacked
from glocal.core.ranges import Amount, Range, Small, Width
from glocal.core.spec import Spec
from glocal.core.types import Batched, Segment, Step
from glocal.models.codecs.cameras import CamerasCodec
from glocal.models.codecs.images import drawing_loss, to_bytes
from glocal.models.worlds.painter import Painter, Source


@dataclass(frozen=True)
class MotionConfig:
    """Choices for the motion world."""

    context: Small = 2
    """Pictures that it sees."""
    size: Literal[0, 1, 2, 3, 4] = 2
    """0 (for tests) to 4: width of the network."""
    parts: Annotated[int, Range(1, 64)] = 4
    """Parts of a picture that each move, beside one that stays and one that is newly drawn."""
    motion: Literal["rigid", "affine"] = "rigid"
    """How a part moves: shifted and turned, or scaled and sheared, too, as where the camera moves."""
    source_steps: Small = 8
    """Steps after which the source is taken anew; with 1 every picture is made of the last one."""
    answers: Small = 3
    """Steps of its own answers that its loss looks at."""
    scales: Annotated[int, Range(1, 16)] = 3
    """Wavelengths of the features of numbers, halving from one to the next."""
    context_noise: Amount = 0.02
    """Largest noise on the context in training, of pixels from -1 to 1."""
    worst_pixels: Annotated[int, Range(1, 4096)] = 128
    """Pixels of each picture whose mean error is added to the loss: small things are otherwise left out."""
    head_width: Width = 128


@dataclass(frozen=True)
class Window(Batched):
    """The last pictures of all cameras, pixels from -1 to 1, numbers, and the actions that led to them (B, W, ...)."""

    pictures: Float[Tensor, "*batch p"]
    numbers: Float[Tensor, "*batch d"]
    action: Float[Tensor, "*batch a"]


@dataclass(frozen=True)
class Context(Batched):
    """What is seen, and what the next pictures are made of: the source of all cameras (B, p) that was taken `age` steps
    ago, the logits of which of its pixels belong to each part (B, m), and the maps from where the parts are back to
    where they are in the source."""

    seen: Window
    source: Float[Tensor, "b p"]
    masks: Float[Tensor, "b m"]
    back: Float[Tensor, "b n 2 3"]
    age: Tensor


class MotionWorld(nn.Module):
    """Answers actions: a step moves and draws the pictures of all cameras, and changes the numbers beside them.

    It sees pictures as they are, and shows what `codec` makes of them: a policy looks at nothing larger.
    """

    def __init__(self, cfg: MotionConfig, spec: Spec, codec: CamerasCodec):
        super().__init__()
        self.cfg, self.spec, self.sides = cfg, spec, codec.sides
        self.compress = codec.compress  # its method alone, for it is no part of this module: it is trained apart
        vectors = Spec(codec.vectors.parts, spec.action_dim)
        self.features = Standard(vectors, cfg.context, cfg.scales)
        told = self.features.dynamics_dim()
        affine = cfg.motion == "affine"
        painters = [Painter(cfg.size, cfg.context, cfg.parts, affine, side, told) for side in self.sides.values()]
        pooled = sum(painter.pooled for painter in painters)
        self.painters = nn.ModuleList(painters)
        self.change = mlp(told + pooled, pooled, 2, vectors.obs_dim, 0.0) if vectors.parts else None
        self.head = PlainOutcome(spec.obs_dim, cfg.head_width)

    @property
    def length(self) -> int:
        """Rows of a window that its loss reads."""
        return self.cfg.context + self.cfg.answers

    @torch.no_grad()
    def fit_statistics(self, before: Tensor, after: Tensor, reward: Tensor) -> None:
        """Take the typical change of every number from recorded pairs of observations (N, d)."""
        count = self.features.spec.obs_dim
        if count:
            self.features.fit_statistics(before[:, :count], after[:, :count], reward)

    def outcome(self, obs: Tensor) -> tuple[Tensor, Tensor]:
        """Reward (*batch,) and the logit of continuation (*batch,) of observations (*batch, d)."""
        return self.head(obs)

    def begin(self, segment: Segment, key: int) -> Context:
        """See `World.begin`; needs at least `context` steps, and their pictures. Nothing is random: `key` is unused."""
        return self._begun(self._seen(segment.latest(self.cfg.context)))

    def step(self, context: Context, action: Float[Tensor, "b a"]) -> tuple[Context, Step]:
        """See `World.step`."""
        after = self.answer(context, action)
        obs = self.shown(after.seen)
        reward, cont = self.outcome(obs)
        return after, Step(obs, reward, cont.sigmoid())

    def answer(self, context: Context, action: Float[Tensor, "b a"]) -> Context:
        """What is seen after an action, and what comes next is made of."""
        seen = context.seen
        actions = torch.cat([seen.action[:, 1:], action[:, None]], dim=1)
        told = self.features.dynamics(seen.numbers, actions, self.cfg.scales)
        shown, fresh = self.split(seen.pictures).values(), context.age == 0
        each = zip(self.painters, shown, self._sources(context), strict=True)
        drawn = [paint(pictures, told, source, fresh) for paint, pictures, source in each]
        picture = torch.cat([one.picture.flatten(1) for one in drawn], dim=-1)
        now = seen.numbers[:, -1]
        if self.change is not None:
            now = self.features.advance(now, self.change(torch.cat([told, *(one.pooled for one in drawn)], dim=-1)))
        after = Window(_after(seen.pictures, picture), _after(seen.numbers, now), actions)
        masks = torch.cat([one.source.masks.flatten(1) for one in drawn], dim=1)
        back, age = torch.cat([one.source.back for one in drawn], dim=1), context.age + 1
        begun, over = self._begun(after), age >= self.cfg.source_steps
        return Context(
            after,
            torch.where(over[:, None], begun.source, context.source),
            masks,
            torch.where(over[:, None, None, None], begun.back, back),
            torch.where(over, begun.age, age),
        )

    def _sources(self, context: Context) -> list[Source]:
        """What each camera's pictures are made of."""
        parts, sides = self.cfg.parts, list(self.sides.values())
        masks = context.masks.split([parts * side**2 for side in sides], dim=-1)
        pictures, backs = self.split(context.source).values(), context.back.split(parts, dim=1)
        return [
            Source(picture, mask.unflatten(-1, (parts, side, side)), back)
            for picture, mask, back, side in zip(pictures, masks, backs, sides, strict=True)
        ]

    def _begun(self, seen: Window) -> Context:
        """A context whose source is the last picture, which is not yet divided into parts."""
        source, parts = seen.pictures[:, -1], self.cfg.parts
        masks = source.new_zeros(len(source), parts * sum(side**2 for side in self.sides.values()))
        back = torch.eye(2, 3, device=source.device).expand(len(source), parts * len(self.sides), -1, -1)
        return Context(seen, source, masks, back, torch.zeros(len(source), dtype=torch.long, device=source.device))

    def shown(self, seen: Window) -> Float[Tensor, "b d"]:
        """The observation of what is seen last."""
        pictures = {name: (last + 1) / 2 for name, last in self.split(seen.pictures[:, -1]).items()}
        return torch.cat([seen.numbers[:, -1], self.compress(pictures)], dim=-1)

    def pictures(self, context: Context) -> dict[str, UInt8[Tensor, "b s s 3"]]:
        """What each camera shows last."""
        last = context.seen.pictures[:, -1]
        return {name: to_bytes((x + 1) / 2, (len(last),)) for name, x in self.split(last).items()}

    def split(self, pictures: Float[Tensor, "*batch p"]) -> dict[str, Float[Tensor, "*batch 3 s s"]]:
        """Pictures by camera."""
        shapes = {name: (CHANNELS, side, side) for name, side in self.sides.items()}
        rows = pictures.split([math.prod(shape) for shape in shapes.values()], dim=-1)
        return {name: row.unflatten(-1, shapes[name]) for name, row in zip(shapes, rows, strict=True)}

    def loss(self, segment: Segment) -> tuple[Tensor, dict[str, Tensor]]:
        """Errors of the model's own answers to the last `answers` actions of segments, and the heads' losses."""
        window, truth = self.cfg.context, self._seen(segment)
        context, losses, metrics = self._begun(self._noised(truth[:, :window])), [], {}
        for t in range(window, self.length):
            context = self.answer(context, segment.action[:, t])
            loss, drawn = self._error(context.seen[:, -1], truth[:, t])
            losses.append(loss)
            metrics[f"drawn_{t + 1 - window}"] = drawn
        outcome = outcome_losses(self.outcome(segment.obs[:, -1]), segment[:, -1])
        return torch.stack(losses).mean() + outcome["reward"] + outcome["cont"], metrics | outcome

    def _error(self, found: Window, truth: Window) -> tuple[Tensor, Tensor]:
        """Of pictures and numbers together, and of pictures alone."""
        pairs = zip(self.split(found.pictures).values(), self.split(truth.pictures).values(), strict=True)
        drawn = torch.stack([drawing_loss(*pair, self.cfg.worst_pixels)[0] for pair in pairs]).mean()
        if self.change is None:
            return drawn, drawn
        apart = (found.numbers - truth.numbers) / self.features.scale
        return drawn + 0.1 * nn.functional.smooth_l1_loss(apart, torch.zeros_like(apart)), drawn

    def _noised(self, seen: Window) -> Window:
        noise = self.cfg.context_noise * torch.rand_like(seen.pictures[:, :1, :1])
        return Window(seen.pictures + noise * torch.randn_like(seen.pictures), seen.numbers, seen.action)

    def _seen(self, segment: Segment) -> Window:
        """What segments (B, T, ...) show, pixels as numbers from -1 to 1, channels first."""
        if segment.pictures is None:
            raise ValueError("the world draws pictures, and needs those of the steps that it begins from")
        cameras = unpacked(segment.pictures, list(self.sides.values()))
        pictures = torch.cat([one.movedim(-1, -3).flatten(-3) for one in cameras], dim=-1).float() * (2 / 255) - 1
        return Window(pictures, segment.obs[..., : self.features.spec.obs_dim], segment.action)


def _after(window: Float[Tensor, "b w d"], row: Float[Tensor, "b d"]) -> Float[Tensor, "b w d"]:
    """A window one step later."""
    return torch.cat([window[:, 1:], row[:, None]], dim=1)
