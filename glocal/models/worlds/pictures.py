"""What global models that draw pictures share: what they see, how cameras' bytes become it, and what they show."""

import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import torch
from jaxtyping import Float, UInt8
from torch import Tensor, nn

from glocal.core.features import Standard
from glocal.core.pictures import CHANNELS, unpacked
from glocal.core.spec import Spec
from glocal.core.types import Batched, Pairs, Segment, Step
from glocal.models.codecs.cameras import CamerasCodec
from glocal.models.codecs.images import to_bytes


@dataclass(frozen=True)
class Window(Batched):
    """The last pictures of all cameras, pixels from -1 to 1, numbers, and the actions that led to them (B, W, ...)."""

    pictures: Float[Tensor, "*batch p"]
    numbers: Float[Tensor, "*batch d"]
    action: Float[Tensor, "*batch a"]

    def after(self, action: Tensor, numbers: Tensor, pictures: Tensor) -> "Window":
        """The window one step later: an action (B, a) and what came of it."""
        return Window(*(_later(*pair) for pair in zip(self._parts(), (pictures, numbers, action), strict=True)))

    def _parts(self) -> tuple[Tensor, Tensor, Tensor]:
        return self.pictures, self.numbers, self.action


def _later(window: Float[Tensor, "b w n"], row: Float[Tensor, "b n"]) -> Float[Tensor, "b w n"]:
    return torch.cat([window[:, 1:], row[:, None]], dim=1)


class PictureWorld(nn.Module, ABC):
    """Answers actions with the pictures of all cameras, and with the numbers beside them.

    It sees pictures as they are, and shows what `codec` makes of them: a policy looks at nothing larger. Contexts hold
    what is `seen`, a `Window`.
    """

    cfg: Any

    def __init__(self, context: int, scales: int, spec: Spec, codec: CamerasCodec):
        super().__init__()
        self.spec, self.sides = spec, codec.sides
        self.encode: Callable[..., Tensor] = codec.encode_drawn  # its method alone: the codec is trained apart
        self.features = Standard(Spec(codec.vectors.parts, spec.action_dim), context, scales)

    @property
    def numbers(self) -> int:
        """How many there are beside the pictures."""
        return self.features.spec.obs_dim

    @property
    @abstractmethod
    def length(self) -> int:
        """Rows of a window that its loss reads."""

    @property
    @abstractmethod
    def acted(self) -> int:
        """Control steps that windows of its loss end with, where episodes have as many."""

    @abstractmethod
    def begin(self, segment: Segment, key: int) -> Any:
        """See `World.begin`; needs at least `context` steps, and their pictures."""

    @abstractmethod
    def loss(self, segment: Segment) -> tuple[Tensor, dict[str, Tensor]]:
        """A scalar to minimise on windows (B, length, ...), and metrics."""

    @abstractmethod
    def answer(self, context: Any, action: Float[Tensor, "b a"]) -> Any:
        """The context after an action: what is seen then."""

    @abstractmethod
    def judge(self, context: Any, obs: Float[Tensor, "b d"]) -> tuple[Tensor, Tensor]:
        """Reward (B,) and the logit of continuation (B,) of what was just seen, of which `obs` is shown."""

    @abstractmethod
    def outcomes(self, segment: Segment) -> tuple[Tensor, Tensor]:
        """Rewards (B, T) and logits of continuation (B, T) of what was recorded."""

    @torch.no_grad()
    def fit_statistics(self, pairs: Pairs) -> None:
        """Take the typical change of every number from recorded control steps."""
        if self.numbers:
            self.features.fit_statistics(self._beside(pairs))

    def _beside(self, pairs: Pairs) -> Pairs:
        """What was recorded beside pictures."""
        return replace(pairs, before=pairs.before[:, : self.numbers], after=pairs.after[:, : self.numbers])

    def step(self, context: Any, action: Float[Tensor, "b a"]) -> tuple[Any, Step]:
        """See `World.step`."""
        after = self.answer(context, action)
        obs = self.shown(after.seen)
        reward, cont = self.judge(after, obs)
        return after, Step(obs, reward, cont.sigmoid())

    def shown(self, seen: Window) -> Float[Tensor, "b d"]:
        """The observation of what is seen last."""
        pictures = {name: (last + 1) / 2 for name, last in self.split(seen.pictures[:, -1]).items()}
        return self.encode(seen.numbers[:, -1], pictures)

    def pictures(self, context: Any) -> dict[str, UInt8[Tensor, "b s s 3"]]:
        """What each camera shows last."""
        last = context.seen.pictures[:, -1]
        return {name: to_bytes((x + 1) / 2, (len(last),)) for name, x in self.split(last).items()}

    def split(self, pictures: Float[Tensor, "*batch p"]) -> dict[str, Float[Tensor, "*batch 3 s s"]]:
        """Pictures by camera."""
        shapes = {name: (CHANNELS, side, side) for name, side in self.sides.items()}
        rows = pictures.split([math.prod(shape) for shape in shapes.values()], dim=-1)
        return {name: row.unflatten(-1, shapes[name]) for name, row in zip(shapes, rows, strict=True)}

    def seen(self, segment: Segment) -> Window:
        """What segments (B, T, ...) show, pixels as numbers from -1 to 1, channels first."""
        if segment.pictures is None:
            raise ValueError("the world draws pictures, and needs those of the steps that it begins from")
        cameras = unpacked(segment.pictures, list(self.sides.values()))
        pictures = torch.cat([one.movedim(-1, -3).flatten(-3) for one in cameras], dim=-1).float() * (2 / 255) - 1
        return Window(pictures, segment.obs[..., : self.numbers], segment.action)


def noised(seen: Window, most: float) -> Window:
    """A window whose pictures are blurred by up to `most`, pixels from -1 to 1: each element by its own share."""
    noise = most * torch.rand_like(seen.pictures[:, :1, :1])
    return Window(seen.pictures + noise * torch.randn_like(seen.pictures), seen.numbers, seen.action)
