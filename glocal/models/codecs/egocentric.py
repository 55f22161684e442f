"""What a robot with cameras of its own senses: numbers, and where the things are that its cameras show, in its own
frame.

Cameras may move along with the robot, and what matters may leave their pictures: it is carried along (`Surroundings`).
A thing is what has a colour of its own (`Colours`). It asks that the robot feels something of how it moves, and that
it moves in a plane.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, cast

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from glocal.core.ranges import Range, Share
from glocal.core.spec import Part, Spec
from glocal.core.types import LearnedCodec
from glocal.models.codecs.colours import TOLD, Colours
from glocal.models.codecs.standard import StandardCodec
from glocal.models.codecs.surroundings import Looks, Motion, Surroundings, SurroundingsConfig
from glocal.runtime.files import UserError

PLACED = 0.85
"""Things of which more than this of what there is to be told cannot be told by where they are carried to have no place:
skies, floors."""
SLOWLY = 0.99
"""Decay of the moving average of that."""
NUMBERS = 3
"""Of each thing: x, y, and how sure it is that it is there, 1 where it is seen."""
STALE = 4
"""How much faster the trust in where a thing was carried is lost than how sure it is."""
IN_SIGHT, HIDDEN, UNKNOWN = 1.0, 0.0, -1.0
"""What hindsight says of each thing in place of how sure the robot was."""
LOST = 1e-3
"""What it is less sure of than this is forgotten: it is as if it had not been seen yet."""
HARDLY = 0.1
"""What is in sight with a smaller chance than this, where it is, is not shown in imagination."""
NEVER, LEAST, FARTHEST = 0.0, 1e-30, 5.0
"""How sure it is of what was not seen yet, the least that counts as more, and how far away things may be carried, in
typical distances."""


@dataclass(frozen=True)
class EgocentricCodecConfig(SurroundingsConfig):
    """Choices for things around a robot."""

    colours: Annotated[int, Range(1, 64)] = 12
    """Things for each camera, each of a colour of its own."""
    fresh: Share = 0.5
    """Of the windows that models are trained on, as a robot has them that was just switched on and has to look around:
    logs of hours hold few such moments, and policies begin with one."""

    gain: Annotated[float, Range(0.01, 1.0)] = 0.35
    """How much of the way from where a thing was carried to where a look shows it its place goes, if it was seen just
    before; the longer ago that was, the more."""

    @property
    def shape(self) -> tuple[int]:
        """Of what stands for a camera's picture."""
        return (NUMBERS * self.colours,)


def egocentric_spec(
    cfg: EgocentricCodecConfig, vectors: tuple[Part, ...], cameras: Mapping[str, int], actions: int
) -> Spec:
    """What models see of vectors and of cameras' pictures."""
    return Spec((*vectors, *(Part(name, cfg.shape) for name in cameras)), actions)


class EgocentricCodec(LearnedCodec):
    """Vectors by name, and pictures (size, size, 3) uint8 by the name of their camera, to vectors, and for each thing
    its place and how sure that is."""

    draws = False
    missed: Tensor

    def __init__(self, cfg: EgocentricCodecConfig, vectors: tuple[Part, ...], cameras: Mapping[str, int]):
        super().__init__()
        if not vectors:
            raise UserError(
                "places around a robot are found by what it feels of how it moves, but these logs hold pictures alone; "
                "name a stream of numbers in the mapping, or use the preset robot-memory"
            )
        self.cfg, self.cameras, self.vectors = cfg, tuple(cameras), StandardCodec(vectors)
        self.felt = len(self.vectors.mean)
        self.colours = nn.ModuleDict({f"camera_{name}": Colours(cfg.colours) for name in cameras})
        things = cfg.colours * len(cameras)
        self.around = Surroundings(cfg, things, len(TOLD), self.felt)
        self.register_buffer("missed", torch.zeros(things))
        self.reads = (*(part.name for part in vectors), *self.cameras)

    @torch.no_grad()
    def fit_statistics(self, fields: Mapping[str, Tensor]) -> None:
        """Take colours, and what is usual, from recorded fields (n, ...)."""
        self.fit_vectors(fields)
        for name in self.cameras:
            self._colours(name).fit_statistics(fields[name])
        self.around.fit_statistics(self.looks(fields))

    def fit_vectors(self, fields: Mapping[str, Tensor]) -> None:
        """Take mean and deviation of the vectors alone, of which more can be looked at than of pictures."""
        self.vectors.fit_statistics(fields)

    def looks(self, fields: Mapping[str, Tensor]) -> Looks:
        """How all cameras' things look in recorded fields (n, ...)."""
        found = [self._colours(name)(fields[name]) for name in self.cameras]
        return Looks(*(torch.cat(parts, dim=1) for parts in zip(*found, strict=True)))

    def encode(self, fields: Mapping[str, Tensor]) -> Float[Tensor, "*batch d"]:
        """By one look alone: what it does not show is nowhere."""
        numbers = self.vectors.encode(fields)
        batch = numbers.shape[:-1]
        looks = self.looks({name: fields[name].flatten(0, len(batch) - 1) for name in self.cameras})
        seen = (looks.seen & self.placed)[..., None]
        told = torch.cat([self.around.places(looks) * seen, seen.to(numbers)], dim=-1)
        return torch.cat([numbers, told.flatten(1).unflatten(0, batch)], dim=-1)

    def observe(self, fields: Mapping[str, Tensor], before: Tensor | None = None) -> Tensor:
        """What is not seen is where what was observed `before` is carried to, and what is seen near that."""
        now = self.encode(fields)
        return now if before is None else self._since(before, now)

    def follow(self, before: Float[Tensor, "b d"], so: Float[Tensor, "b d"]) -> Float[Tensor, "b d"]:
        """What a robot observes that is shown of what is `so` what is in its cameras' pictures."""
        felt, places, _ = self.parts(so)
        seen = self.in_sight(so).to(so)[..., None]
        shows = torch.cat([seen * places, seen], dim=-1).flatten(-2)
        return self._since(before, torch.cat([felt, shows], dim=-1))

    def in_sight(self, so: Float[Tensor, "*batch d"]) -> Bool[Tensor, "*batch k"]:
        """Which things are in its cameras' pictures, of what is `so`.

        A global model says that now and then of what is behind the robot, too, so that policies would wait for it and
        not look around: nothing is in sight that hardly ever is where it is.
        """
        _, places, shown = self.parts(so)
        return (shown > 0.5 * (IN_SIGHT + HIDDEN)) & (self.around.shown(places) > HARDLY)

    @torch.no_grad()
    def hindsight(self, obs: Float[Tensor, "n d"], starts: Tensor) -> Float[Tensor, "n d"]:
        """Places as they are told by what was seen before and by what is seen afterwards, carried back, each by the
        trust in it; and of each thing whether it is `IN_SIGHT`, `HIDDEN`, or was `UNKNOWN` in all of its episode."""
        looks, lengths = obs.clone(), starts.diff()
        looks[1:] = self._shown(obs[:-1], obs[1:])
        looks[starts[:-1]] = obs[starts[:-1]]  # of which nothing is carried along
        earlier, later = self._carried_on(looks, starts), looks.clone()
        for t in range(2, int(lengths.max()) + 1):
            rows = starts[1:][lengths >= t] - t
            later[rows] = self._until(later[rows], later[rows + 1])
        (felt, places, sure), (_, there, surely) = self.parts(earlier), self.parts(later)
        more = STALE * (sure.clamp_min(LEAST).log() - surely.clamp_min(LEAST).log())
        between = there + more.sigmoid()[..., None] * (places - there)
        known = torch.maximum(sure, surely)
        shown = torch.where(sure == 1, IN_SIGHT, torch.where(known > NEVER, HIDDEN, UNKNOWN))
        return torch.cat([felt, torch.cat([between, shown[..., None]], dim=-1).flatten(-2)], dim=-1)

    @torch.no_grad()
    def remembered(self, obs: Float[Tensor, "n d"], starts: Tensor) -> Float[Tensor, "n d"]:
        """Observations of whole episodes that begin at `starts`, the last of which is where all end."""
        return self._carried_on(obs, starts, looking=True)

    def begun(self, obs: Float[Tensor, "*batch t d"]) -> Float[Tensor, "*batch t d"]:
        """What was not seen within the window was never seen; what was is known as well as it is from all that was seen
        before."""
        felt, places, sure = self.parts(obs)
        known = (sure == 1).to(sure).cummax(-2).values
        told = torch.cat([places, sure[..., None]], dim=-1) * known[..., None]
        return torch.cat([felt, told.flatten(-2)], dim=-1)

    def decode(self, obs: Tensor) -> dict[str, Tensor]:
        """The vectors alone."""
        return self.vectors.decode(obs[..., : self.felt])

    def loss(self, fields: Mapping[str, Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
        """Of windows (B, T, ...) of recorded fields."""
        batch = fields[self.cameras[0]].shape[:2]
        looks = self.looks({name: fields[name].flatten(0, 1) for name in self.cameras})
        return self.loss_of(Looks(*(part.unflatten(0, batch) for part in looks)), self.vectors.encode(fields))

    def loss_of(self, looks: Looks, felt: Float[Tensor, "b t d"]) -> tuple[Tensor, dict[str, Tensor]]:
        """Of windows (B, T, ...) of how things look and of what is felt; also notes in `missed` which things have
        places."""
        loss, metrics, missed = self.around.loss(looks, felt)
        now = missed.detach()
        before = torch.where(self.missed == 0, now, self.missed)
        self.missed.copy_(torch.where(now.isfinite(), SLOWLY * before + (1 - SLOWLY) * now, self.missed))
        return loss, metrics | {"placed": self.placed.float().mean()}

    @property
    def placed(self) -> Tensor:
        """Which things have places, (k,) bool."""
        return (self.missed > 0) & (self.missed < PLACED)

    def found(self) -> list[str]:
        """How many things have places, for each camera, in words."""
        return [
            f"{name}: {int(one.sum())} of {len(one)} colours are of things that have a place"
            for name, one in zip(self.cameras, self.placed.split(self.cfg.colours), strict=True)
        ]

    def _carried_on(self, looks: Float[Tensor, "n d"], starts: Tensor, looking: bool = False) -> Float[Tensor, "n d"]:
        kept, lengths = looks.clone(), starts.diff()
        for t in range(1, int(lengths.max())):
            rows = starts[:-1][lengths > t] + t
            kept[rows] = self._since(kept[rows - 1], kept[rows], looking)
        return kept

    def _since(
        self, before: Float[Tensor, "b d"], now: Float[Tensor, "b d"], looking: bool = True
    ) -> Float[Tensor, "b d"]:
        """What is known now of what a look shows and of what was known before."""
        return self._told(self._motion(before, now), before, now, looking)

    def _until(self, now: Float[Tensor, "b d"], after: Float[Tensor, "b d"]) -> Float[Tensor, "b d"]:
        """What is known of now from what a look shows and from what was known of the control step after it."""
        return self._told(self._motion(now, after).backwards(), after, now, looking=False)

    def _told(
        self, motion: Motion, other: Float[Tensor, "b d"], now: Float[Tensor, "b d"], looking: bool
    ) -> Float[Tensor, "b d"]:
        """What is carried along by a motion from another moment, and what is seen by `gain` nearer to where it is seen
        than that. Where it is `looking`, what should be in sight and is not seen is less sure to be there."""
        (_, here, sure), (feels, there, shown) = self.parts(other), self.parts(now)
        carried, seen = motion.carried(here).clamp(-FARTHEST, FARTHEST), shown == 1
        unseen = (1 - self.cfg.forget) * sure
        if looking:
            unseen = _less_sure(unseen, self.around.shown(carried))
        kept = torch.where(seen, (1 - self.cfg.gain) * sure**STALE, (unseen > NEVER).to(sure))[..., None]
        places, surer = there + kept * (carried - there), torch.where(seen, shown, unseen)
        return torch.cat([feels, torch.cat([places, surer[..., None]], dim=-1).flatten(-2)], dim=-1)

    def _shown(self, before: Float[Tensor, "n d"], now: Float[Tensor, "n d"]) -> Float[Tensor, "n d"]:
        """The look that made of what was known before what is known now."""
        (_, here, sure), (feels, places, surely) = self.parts(before), self.parts(now)
        carried, seen = self._motion(before, now).carried(here).clamp(-FARTHEST, FARTHEST), (surely == 1)[..., None]
        kept = (1 - self.cfg.gain) * sure[..., None] ** STALE
        there = torch.where(seen, (places - kept * carried) / (1 - kept).clamp_min(LEAST), torch.zeros_like(places))
        return torch.cat([feels, torch.cat([there, seen.to(there)], dim=-1).flatten(-2)], dim=-1)

    def _motion(self, before: Float[Tensor, "b d"], after: Float[Tensor, "b d"]) -> Motion:
        return self.around.motion(before[..., : self.felt], after[..., : self.felt])

    def parts(self, obs: Float[Tensor, "*batch d"]) -> tuple[Tensor, Tensor, Tensor]:
        """What is felt, places, and how sure they are."""
        things = obs[..., self.felt :].unflatten(-1, (-1, NUMBERS))
        return obs[..., : self.felt], things[..., :2], things[..., 2]

    def _colours(self, camera: str) -> Colours:
        return cast(Colours, self.colours[f"camera_{camera}"])


def _less_sure(sure: Float[Tensor, "*batch k"], shown: Float[Tensor, "*batch k"]) -> Float[Tensor, "*batch k"]:
    """How sure it is of what is not seen, but would be with the chances `shown` if it were there (Bayes' rule)."""
    less = sure * (1 - shown) / (1 - sure * shown).clamp_min(LEAST)
    return torch.where(less < LOST, torch.full_like(less, NEVER), less)
