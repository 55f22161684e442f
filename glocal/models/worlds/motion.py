"""A global model of pictures: the next one is made of a few parts of an earlier one, each of which moves, of what
stays, and of what is newly drawn (after SE3-Nets, arXiv 1606.02378, and CDNA and STP, arXiv 1605.07157).

It asks nothing of a scene but that few things move. Which pixels belong together and how they move is learned from the
pictures' errors alone, over several steps of the model's own answers. Parts are taken from a *source*: a picture that
stays the same for some steps while motions add up, so that what moves is resampled once and not at every step.
"""

from dataclasses import dataclass
from typing import Annotated, Literal

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from glocal.core.features import PlainOutcome, outcome_losses
from glocal.core.nets import mlp
from glocal.core.ranges import Amount, Range, Small, Width
from glocal.core.spec import Spec
from glocal.core.types import Batched, Segment, where
from glocal.models.codecs.cameras import CamerasCodec
from glocal.models.codecs.images import drawing_loss
from glocal.models.worlds.painter import Painter, Source
from glocal.models.worlds.pictures import PictureWorld, Window, noised


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
    answers: Small = 2
    """Steps of its own answers that its loss looks at."""
    before: Annotated[int, Range(0, 1000)] = 0
    """Steps of its own answers, at most, that come before those, and have no gradient: each window has as many as
    chance will, so that sources of every age are learned from at the cost of a few evaluations. With 6 of them shapes
    dissolved at the first contact (LOG.md)."""
    scales: Annotated[int, Range(1, 16)] = 3
    """Wavelengths of the features of numbers, halving from one to the next."""
    context_noise: Amount = 0.02
    """Largest noise on the context in training, of pixels from -1 to 1."""
    worst_pixels: Annotated[int, Range(1, 4096)] = 128
    """Pixels of each picture whose mean error is added to the loss: small things are otherwise left out."""
    head_width: Width = 128


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


class MotionWorld(PictureWorld):
    """A step moves and draws the pictures of all cameras, and changes the numbers beside them. Nothing is random."""

    def __init__(self, cfg: MotionConfig, spec: Spec, codec: CamerasCodec):
        super().__init__(cfg.context, cfg.scales, spec, codec)
        self.cfg = cfg
        told = self.features.dynamics_dim()
        affine = cfg.motion == "affine"
        painters = [Painter(cfg.size, cfg.context, cfg.parts, affine, side, told) for side in self.sides.values()]
        pooled = sum(painter.pooled for painter in painters)
        self.painters = nn.ModuleList(painters)
        self.change = mlp(told + pooled, pooled, 2, self.numbers, 0.0) if self.numbers else None
        self.head = PlainOutcome(spec.obs_dim, cfg.head_width)

    @property
    def length(self) -> int:
        """Rows of a window that its loss reads."""
        return self.cfg.context + self.cfg.before + self.cfg.answers

    @property
    def acted(self) -> int:
        """Control steps that windows of its loss end with, where episodes have as many."""
        return self.cfg.answers

    def judge(self, context: Context, obs: Float[Tensor, "b d"]) -> tuple[Tensor, Tensor]:
        return self.head(obs)

    def outcomes(self, segment: Segment) -> tuple[Tensor, Tensor]:
        return self.head(segment.obs)

    def begin(self, segment: Segment, key: int) -> Context:
        """See `World.begin`; needs at least `context` steps, and their pictures. `key` is unused."""
        return self._begun(self.seen(segment.latest(self.cfg.context)))

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
        after = seen.after(action, now, picture)
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

    def loss(self, segment: Segment) -> tuple[Tensor, dict[str, Tensor]]:
        """Errors of the model's own answers to the last `answers` actions of segments, and the heads' losses."""
        truth, first = self.seen(segment), self.cfg.context + self.cfg.before
        context, losses, metrics = self._led(truth), [], {}
        for t in range(first, self.length):
            context = self.answer(context, segment.action[:, t])
            loss, drawn = self._error(context.seen[:, -1], truth[:, t])
            losses.append(loss)
            metrics[f"drawn_{t + 1 - first}"] = drawn
        outcome = outcome_losses(self.head(segment.obs[:, -1]), segment[:, -1])
        return torch.stack(losses).mean() + outcome["reward"] + outcome["cont"], metrics | outcome

    @torch.no_grad()
    def _led(self, truth: Window) -> Context:
        """Where windows (B, length, ...) are before the last `answers` steps: after up to `before` answers of the
        model's own, begun from what was recorded."""
        window, most = self.cfg.context, self.cfg.before
        own = torch.randint(most + 1, (len(truth.action),), device=truth.action.device)
        context = self._begun(noised(truth[:, :window], self.cfg.context_noise))
        for t in range(most):
            recorded = self._begun(noised(truth[:, t + 1 : t + 1 + window], self.cfg.context_noise))
            rests = _rests(truth[:, window + t - 1], truth[:, window + t])
            context = where(rests | (own < most - t), recorded, self.answer(context, truth.action[:, window + t]))
        return context

    def _error(self, found: Window, truth: Window) -> tuple[Tensor, Tensor]:
        """Of pictures and numbers together, and of pictures alone."""
        pairs = zip(self.split(found.pictures).values(), self.split(truth.pictures).values(), strict=True)
        drawn = torch.stack([drawing_loss(*pair, self.cfg.worst_pixels)[0] for pair in pairs]).mean()
        if self.change is None:
            return drawn, drawn
        apart = (found.numbers - truth.numbers) / self.features.scale
        return drawn + 0.1 * nn.functional.smooth_l1_loss(apart, torch.zeros_like(apart)), drawn


def _rests(before: Window, after: Window) -> Bool[Tensor, " b"]:
    """Where nothing was done and nothing moved, as before an episode's first control step."""
    still = (before.pictures == after.pictures).all(-1) & (before.numbers == after.numbers).all(-1)
    return still & (after.action == 0).all(-1)
