"""A global model of pictures: the next one is made of a few parts of an earlier one, each of which moves, of what
stays, and of what is newly drawn (after SE3-Nets, arXiv 1606.02378, and CDNA and STP, arXiv 1605.07157).

It asks nothing of a scene but that few things move. Which pixels belong together and how they move is learned from the
pictures' errors alone, over several steps of the model's own answers. Parts are taken from a *source*: a picture that
stays the same for some steps while motions add up, so that what moves is resampled once and not at every step.
"""

import math
from dataclasses import dataclass
from typing import Annotated, Literal, NamedTuple

import torch
from jaxtyping import Float, UInt8
from torch import Tensor, nn

from glocal.core.features import PlainOutcome, Standard
from glocal.core.nets import half_precision, harmonics, mlp
from glocal.core.ranges import Amount, Range, Small, Width
from glocal.core.spec import Spec
from glocal.core.types import Batched, Segment, Step, where
from glocal.models.codecs.cameras import CamerasCodec
from glocal.models.codecs.images import IMAGE_CHANNELS, coordinates, drawing_loss, to_bytes
from glocal.models.worlds.cameras import AdaptiveConv

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
class Seen(Batched):
    """The last pictures of all cameras, pixels from -1 to 1, numbers, and the actions that led to them (B, W, ...)."""

    pictures: Float[Tensor, "*batch p"]
    numbers: Float[Tensor, "*batch d"]
    action: Float[Tensor, "*batch a"]


@dataclass(frozen=True)
class Context(Batched):
    """What is seen, and what the next pictures are made of: the source (B, p) that was taken `age` steps ago, and the
    maps (B, m, 2, 3) from where each part is, in each camera, back to where it is in the source."""

    seen: Seen
    source: Float[Tensor, "b p"]
    back: Float[Tensor, "b m 2 3"]
    age: Tensor


class Drawn(NamedTuple):
    """A camera's next picture, where its parts are then in the source, and features of the whole of it."""

    picture: Float[Tensor, "b 3 s s"]
    back: Float[Tensor, "b k 2 3"]
    pooled: Float[Tensor, "b f"]


class Painter(nn.Module):
    """Draws a camera's next picture from the last ones and from what it is told (B, f)."""

    plan: Tensor
    waves: Tensor
    pixels: Tensor

    def __init__(self, cfg: MotionConfig, side: int, told: int):
        super().__init__()
        self.cfg = cfg
        channels, deep = SIZES[cfg.size]
        plan = coordinates(side // PATCH)
        self.register_buffer("plan", plan, persistent=False)
        self.register_buffer("waves", harmonics(plan.movedim(0, -1), WAVES).movedim(-1, 0)[None], persistent=False)
        self.register_buffer("pixels", coordinates(side).movedim(0, -1), persistent=False)
        self.cells = nn.Conv2d(IMAGE_CHANNELS * PATCH**2 * cfg.context + 2, channels, 1)
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
        self.out = nn.Conv2d(channels, PATCH**2 * (cfg.parts + 2 + IMAGE_CHANNELS), 1)
        self.attend = nn.Conv2d(channels, cfg.parts, 1)
        self.name = nn.Parameter(0.5 * torch.randn(cfg.parts, deep))
        self.motion = mlp(channels + 2 + deep, max(64, channels * 4), 2, 6 if cfg.motion == "affine" else 3, 0.0)
        self.pooled = channels + deep

    def forward(
        self,
        pictures: Float[Tensor, "b w 3 s s"],
        told: Float[Tensor, "b f"],
        source: Float[Tensor, "b 3 s s"],
        back: Float[Tensor, "b k 2 3"],
    ) -> Drawn:
        parts = self.cfg.parts
        hidden, deep, known = self._features(pictures, told)
        with half_precision(told.device):
            maps, attention = self.out(hidden), self.attend(hidden)
        maps = nn.functional.pixel_shuffle(maps.float(), PATCH)
        mask, new = maps[:, : parts + 2].softmax(1), maps[:, parts + 2 :].tanh()
        back = combined(back, self._back(hidden.float(), attention.float(), known))
        moved = self._moved(source, back)
        picture = (mask[:, :parts, None] * moved).sum(1) + mask[:, parts, None] * pictures[:, -1]
        pooled = torch.cat([hidden.float().mean((2, 3)), deep.float().mean((2, 3))], dim=-1)
        return Drawn(picture + mask[:, parts + 1, None] * new, back, pooled)

    def _features(self, pictures: Tensor, told: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Maps at a quarter and at an eighth of the side, and what the network makes of what it is told."""
        silu, plan = nn.functional.silu, self.plan.expand(len(told), -1, -1, -1)
        with half_precision(told.device):
            patches = nn.functional.pixel_unshuffle(pictures.flatten(1, 2), PATCH)
            cells = self.cells(torch.cat([patches, plan], dim=1).contiguous(memory_format=torch.channels_last))
            found = self.look(cells).float().flatten(2).softmax(-1)
            points = torch.einsum("bkn,cn->bkc", found, self.plan.flatten(1)).flatten(1)
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

    def _back(self, hidden: Tensor, attention: Tensor, known: Tensor) -> Float[Tensor, "b k 2 3"]:
        """The maps from where each part is next back to where it is now: about the centre that the part attends to."""
        weight = attention.flatten(2).softmax(-1)
        pooled = torch.einsum("bkn,bcn->bkc", weight, hidden.flatten(2))
        centre = torch.einsum("bkn,cn->bkc", weight, self.plan.flatten(1))
        told = torch.cat([pooled, centre, known[:, None] + self.name], dim=-1)
        shift, turn = (UNIT * self.motion(told)).tensor_split([2], dim=-1)
        if self.cfg.motion == "affine":
            matrix = torch.eye(2, device=turn.device) + turn.unflatten(-1, (2, 2))
        else:
            cos, sin = turn[..., 0].cos(), turn[..., 0].sin()
            matrix = torch.stack([torch.stack([cos, sin], -1), torch.stack([-sin, cos], -1)], -2)
        return torch.cat([matrix, (centre[..., None] - matrix @ (centre + shift)[..., None])], dim=-1)

    def _moved(self, source: Tensor, back: Tensor) -> Float[Tensor, "b k 3 s s"]:
        """The source as each part's motion leaves it."""
        matrix, shift = back[..., :2], back[..., None, None, :, 2]
        places = torch.einsum("bkij,yxj->bkyxi", matrix, self.pixels) + shift
        many = source[:, None].expand(-1, self.cfg.parts, -1, -1, -1).flatten(0, 1)
        moved = nn.functional.grid_sample(many, places.flatten(0, 1), "bilinear", "border", align_corners=False)
        return moved.unflatten(0, (len(source), -1))


def combined(first: Float[Tensor, "*batch 2 3"], then: Float[Tensor, "*batch 2 3"]) -> Float[Tensor, "*batch 2 3"]:
    """The map that goes through `then`, and through `first` from there."""
    matrix = first[..., :2] @ then
    return torch.cat([matrix[..., :2], matrix[..., 2:] + first[..., 2:]], dim=-1)


class MotionWorld(nn.Module):
    """Answers actions: a step moves and draws the pictures of all cameras, and changes the numbers beside them.

    It sees pictures as they are, and shows what `codec` makes of them: a policy looks at nothing larger.
    """

    def __init__(self, cfg: MotionConfig, spec: Spec, codec: CamerasCodec):
        super().__init__()
        self.cfg, self.spec, self.sides = cfg, spec, codec.sides
        self._codec = (codec,)  # in a tuple, so that it is no part of this module: it is trained, and kept, apart
        vectors = Spec(codec.vectors.parts, spec.action_dim)
        self.features = Standard(vectors, cfg.context, cfg.scales)
        told = self.features.dynamics_dim()
        painters = {name: Painter(cfg, side, told) for name, side in self.sides.items()}
        pooled = sum(painter.pooled for painter in painters.values())
        self.painters = nn.ModuleDict(painters)
        self.change = mlp(told + pooled, pooled, 2, vectors.obs_dim, 0.0) if vectors.parts else None
        self.head = PlainOutcome(spec.obs_dim, cfg.head_width)

    @property
    def codec(self) -> CamerasCodec:
        """What makes of pictures what is shown of them."""
        return self._codec[0]

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
        length, wanted = segment.obs.shape[1], self.cfg.context
        if length < wanted:
            raise ValueError(f"the world needs {wanted} observations to begin, found {length}")
        return self._begun(self._seen(segment[:, -wanted:]))

    def step(self, context: Context, action: Float[Tensor, "b a"]) -> tuple[Context, Step]:
        """See `World.step`."""
        after = self.answer(context, action)
        obs = self.shown(after.seen)
        reward, cont = self.outcome(obs)
        return after, Step(obs, reward, cont.sigmoid())

    def answer(self, context: Context, action: Float[Tensor, "b a"]) -> Context:
        """What is seen after an action, and what comes next is made of."""
        seen, parts = context.seen, self.cfg.parts
        actions = torch.cat([seen.action[:, 1:], action[:, None]], dim=1)
        told = self.features.dynamics(seen.numbers, actions, self.cfg.scales)
        shown, sources = self.split(seen.pictures), self.split(context.source)
        backs = dict(zip(shown, context.back.split(parts, dim=1), strict=True))
        drawn = [self.painters[name](shown[name], told, sources[name], backs[name]) for name in shown]
        picture = torch.cat([one.picture.flatten(1) for one in drawn], dim=-1)
        now = seen.numbers[:, -1]
        if self.change is not None:
            now = self.features.advance(now, self.change(torch.cat([told, *(one.pooled for one in drawn)], dim=-1)))
        after = Seen(_after(seen.pictures, picture), _after(seen.numbers, now), actions)
        begun = self._begun(after)
        going = Context(after, context.source, torch.cat([one.back for one in drawn], dim=1), context.age + 1)
        return where(going.age >= self.cfg.source_steps, begun, going)

    def _begun(self, seen: Seen) -> Context:
        """A context whose source is the last picture."""
        source, maps = seen.pictures[:, -1], self.cfg.parts * len(self.sides)
        back = torch.eye(2, 3, device=source.device).expand(len(source), maps, -1, -1)
        return Context(seen, source, back, torch.zeros(len(source), dtype=torch.long, device=source.device))

    def shown(self, seen: Seen) -> Float[Tensor, "b d"]:
        """The observation of what is seen last."""
        pictures = {name: (last + 1) / 2 for name, last in self.split(seen.pictures[:, -1]).items()}
        return torch.cat([seen.numbers[:, -1], self.codec.compress(pictures)], dim=-1)

    def pictures(self, context: Context) -> dict[str, UInt8[Tensor, "b s s 3"]]:
        """What each camera shows last."""
        last = context.seen.pictures[:, -1]
        return {name: to_bytes((x + 1) / 2, (len(last),)) for name, x in self.split(last).items()}

    def split(self, pictures: Float[Tensor, "*batch p"]) -> dict[str, Float[Tensor, "*batch 3 s s"]]:
        """Pictures by camera."""
        shapes = {name: (IMAGE_CHANNELS, side, side) for name, side in self.sides.items()}
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
        reward, cont = self.outcome(segment.obs[:, -1])
        reward_loss = nn.functional.smooth_l1_loss(reward, segment.reward[:, -1], beta=0.02)
        cont_loss = nn.functional.binary_cross_entropy_with_logits(cont, segment.cont[:, -1])
        return torch.stack(losses).mean() + reward_loss + cont_loss, {
            **metrics,
            "reward": reward_loss,
            "cont": cont_loss,
        }

    def _error(self, found: Seen, truth: Seen) -> tuple[Tensor, Tensor]:
        """Of pictures and numbers together, and of pictures alone."""
        pairs = zip(self.split(found.pictures).values(), self.split(truth.pictures).values(), strict=True)
        drawn = torch.stack([drawing_loss(*pair, self.cfg.worst_pixels)[0] for pair in pairs]).mean()
        if self.change is None:
            return drawn, drawn
        apart = (found.numbers - truth.numbers) / self.features.scale
        return drawn + 0.1 * nn.functional.smooth_l1_loss(apart, torch.zeros_like(apart)), drawn

    def _noised(self, seen: Seen) -> Seen:
        noise = self.cfg.context_noise * torch.rand_like(seen.pictures[:, :1, :1])
        return Seen(seen.pictures + noise * torch.randn_like(seen.pictures), seen.numbers, seen.action)

    def _seen(self, segment: Segment) -> Seen:
        """What segments (B, T, ...) show, pixels as numbers from -1 to 1, channels first."""
        if segment.pictures is None:
            raise ValueError("the world draws pictures, and needs those of the steps that it begins from")
        sizes = [IMAGE_CHANNELS * side**2 for side in self.sides.values()]
        rows = zip(segment.pictures.split(sizes, dim=-1), self.sides.values(), strict=True)
        channels = [row.unflatten(-1, (side, side, IMAGE_CHANNELS)).movedim(-1, -3).flatten(-3) for row, side in rows]
        pictures = torch.cat(channels, dim=-1).float() * (2 / 255) - 1
        return Seen(pictures, segment.obs[..., : self.features.spec.obs_dim], segment.action)


def _after(window: Float[Tensor, "b w d"], row: Float[Tensor, "b d"]) -> Float[Tensor, "b w d"]:
    """A window one step later."""
    return torch.cat([window[:, 1:], row[:, None]], dim=1)
