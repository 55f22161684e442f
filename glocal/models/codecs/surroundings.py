"""Where things are around a robot that moves, in its own frame, found without labels.

What stands still moves, as the robot sees it, as the robot does, backwards. So two things are learned together: where
each thing is, from how it looks in a picture, and how far the robot went and turned between two pictures, from what
it feels. Where a thing is carried to by that has to be where it is seen then: nearer to it than to where it is seen at
other moments (InfoNCE, arXiv 1807.03748). Of that nothing comes but places in a plane, up to their units.

That alone leaves the motion vague: walls and floors, of which pictures show a part, and what is pushed do not move as
what stands still does, and draw it towards none. So each thing has a motion of its own beside it, by which it alone is
carried as near as can be to where it is seen then; the thing that is brought nearest, as against where it would be if
it had stayed, tells the robot's motion after `led` updates, and places are learned of that.

What is not seen is where it was carried to, so that what has left the picture is not forgotten.
"""

import math
from dataclasses import dataclass
from typing import Annotated, Any, NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from glocal.core.compasses import rotate
from glocal.core.nets import mlp
from glocal.core.ranges import Amount, Range, Width
from glocal.core.returns import weighted_mean

FARTHEST = 1.5
"""Of the logarithm of the range, how far it may stray from what the size says."""
TIGHT, ASIDE = 0.05, 0.3
"""Radians that a bearing may stray from what the place in the picture says: while the motion is not known, and then."""
NEAREST = 0.15
"""Added, in squares, to the distance that the kernel's scale goes with."""
CLOSE = 0.05
"""Of how far apart places of a thing are, what counts as close where it is carried by its own motion."""
SLOWLY = 0.98
"""Decay of the moving average of how much nearer things are brought."""
STEP = 0.3
"""Typical shift and turn of a control step, to begin with."""
TAIL = 1.5
"""How fast the kernel falls off: its tails are those of a Student distribution of two degrees of freedom."""
SHARP = -1.0
"""Logarithm of the kernel's scale, as a share of the distance, to begin with."""
NARROW, SELDOM = 32, -4.0
"""Width of the networks that tell whether things are in sight, and the log odds that they are to begin with."""
FEWEST = 10
"""Windows in which a thing is seen twice, for it to count."""


class Motion(NamedTuple):
    """How far a robot went and turned: what stands still is turned by `turn` and then shifted by `shift`."""

    shift: Float[Tensor, "*batch 2"]
    turn: Float[Tensor, "*batch"]

    def each(self, places: Float[Tensor, "*batch 2"]) -> Float[Tensor, "*batch 2"]:
        """The same, of one place for each motion."""
        return self.carried(places[..., None, :])[..., 0, :]

    def at(self, index: Any) -> "Motion":
        """Of some of the batch."""
        return Motion(self.shift[index], self.turn[index])

    def detach(self) -> "Motion":
        """The same, of which nothing is learned."""
        return Motion(self.shift.detach(), self.turn.detach())

    def backwards(self) -> "Motion":
        """The motion that undoes this one."""
        heading = torch.stack([self.turn.cos(), -self.turn.sin()], dim=-1)
        return Motion(-rotate(self.shift, heading), -self.turn)

    def carried(self, places: Float[Tensor, "*batch k 2"]) -> Float[Tensor, "*batch k 2"]:
        """Where what was at some places is afterwards, if it stood still."""
        heading = torch.stack([self.turn.cos(), self.turn.sin()], dim=-1)[..., None, :]
        return rotate(places, heading.expand_as(places)) + self.shift[..., None, :]


def led_by(weight: Float[Tensor, "e 3"], before: Float[Tensor, "*batch d"], after: Float[Tensor, "*batch d"]) -> Motion:
    """The motion that is a linear function (e = 2 d + 1) of what is felt before and after."""
    found = torch.cat([before, after, torch.ones_like(before[..., :1])], dim=-1) @ weight
    return Motion(found[..., :2], found[..., 2])


class Looks(NamedTuple):
    """How things look in pictures: numbers that tell of each, the logarithm of its area, in pixels, its middle from
    left to right, from -1 to 1, and whether there is enough of it to be seen."""

    numbers: Float[Tensor, "*batch k n"]
    area: Float[Tensor, "*batch k"]
    middle: Float[Tensor, "*batch k"]
    seen: Bool[Tensor, "*batch k"]

    def at(self, index: Any) -> "Looks":
        """Of some of the batch."""
        return Looks(*(part[index] for part in self))


@dataclass(frozen=True)
class SurroundingsConfig:
    """Choices for places in the robot's own frame."""

    width: Width = 96
    rows: Annotated[int, Range(3, 1000)] = 16
    """Of the windows that it is learned from: things are carried by as many control steps, less one, at most."""
    compared: Annotated[int, Range(1, 100)] = 3
    """Later moments of a window that things are carried to."""
    view: Annotated[float, Range(10.0, 170.0)] = 75.0
    """Degrees from the left to the right edge of a camera's pictures; that of most is between 60 and 90."""
    led: Annotated[int, Range(0, 10**9)] = 1500
    """Updates after which one thing's motion is that of the robot; about half of all."""
    noise: Amount = 0.02
    """Standard deviation of the noise on how things look, in training."""
    forget: Annotated[float, Range(0.001, 1.0)] = 0.05
    """How much less sure it is, with each control step, where what is not seen is."""


class Surroundings(nn.Module):
    """Places (k, 2) of `things` that each look as `numbers` tell, for a robot that feels `felt` numbers of itself; all
    numbers have a deviation of about one."""

    usual: Tensor
    nearer: Tensor
    """How far each thing, carried by a motion of its own, is from where it is seen then, over how far it would be had
    it stayed; medians, 1 to begin with."""
    updates: Tensor

    def __init__(self, cfg: SurroundingsConfig, things: int, numbers: int, felt: int):
        super().__init__()
        self.cfg, self.things = cfg, things
        self.place = Each(things, numbers, cfg.width, 2)
        self.edge = math.radians(cfg.view) / 2
        self.register_buffer("usual", torch.zeros(things))
        self.sharp = nn.Parameter(torch.full((things,), SHARP))
        self.felt = mlp(2 * felt, cfg.width, 2, 3)
        self.own = nn.Parameter(torch.zeros(things, 2 * felt + 1, 3))
        self.sight = Each(things, 2, NARROW, 1)
        self.sight.biases[-1].data.fill_(SELDOM)
        self.register_buffer("nearer", torch.ones(things))
        self.register_buffer("updates", torch.zeros(()))

    @torch.no_grad()
    def fit_statistics(self, looks: Looks) -> None:
        """Begin with places that are about one away, of what was recorded (n, k, ...)."""
        seen = looks.seen.to(looks.area)
        self.usual.copy_(0.5 * (looks.area * seen).sum(0) / seen.sum(0).clamp_min(1))

    def places(self, looks: Looks) -> Float[Tensor, "*batch k 2"]:
        """Where things are, x ahead and y to the left, but for units and where the axes point: a bearing that goes with
        the place in the picture, as through a pinhole, and a range that goes with one over the root of the area."""
        far, aside = self.place(looks.numbers).unbind(-1)
        reach = (FARTHEST * (far / FARTHEST).tanh() + self.usual - 0.5 * looks.area).exp()
        astray = torch.where(self.known, ASIDE, TIGHT)
        bearing = (math.tan(self.edge) * looks.middle).atan() + astray * aside.tanh()
        return torch.stack([reach * bearing.cos(), -reach * bearing.sin()], dim=-1)

    def shown(self, places: Float[Tensor, "*batch k 2"]) -> Float[Tensor, "*batch k"]:
        """How likely each thing is in sight, if it is where it is said to be; nothing is learned of places."""
        return self.sight(places.detach())[..., 0].sigmoid()

    @property
    def known(self) -> Bool[Tensor, ""]:
        """Whether the robot's motion is that of one of the things."""
        return self.updates >= self.cfg.led

    @property
    def leader(self) -> Int[Tensor, ""]:
        """The thing whose motion that is."""
        return self.nearer.argmin()

    @property
    def leading(self) -> Float[Tensor, "e 3"]:
        """Its motion, as a linear function of what is felt; of it nothing is learned."""
        return self.own.detach().index_select(0, self.leader[None])[0]

    def motion(self, before: Float[Tensor, "*batch d"], after: Float[Tensor, "*batch d"]) -> Motion:
        """How the robot moved between two control steps, by what it feels before and after."""
        found, led = STEP * self.felt(torch.cat([before, after], dim=-1)), led_by(self.leading, before, after)
        return Motion(
            torch.where(self.known, led.shift, found[..., :2]), torch.where(self.known, led.turn, found[..., 2])
        )

    def _own(self, felt: Float[Tensor, "*batch e"]) -> Motion:
        """The motion of each thing by itself, (*batch, k)."""
        told = torch.cat([felt, torch.ones_like(felt[..., :1])], dim=-1)
        found = torch.einsum("...e,kem->...km", told, self.own)
        return Motion(found[..., :2], found[..., 2])

    def loss(self, looks: Looks, felt: Float[Tensor, "b t d"]) -> tuple[Tensor, dict[str, Tensor], Float[Tensor, " k"]]:
        """A scalar to minimise on windows (B, T, ...) of consecutive control steps: what cannot be told by where things
        are carried to, and how far off things are that are carried by motions of their own; metrics; and the former for
        each thing (`missed`)."""
        numbers = looks.numbers + self.cfg.noise * torch.randn_like(looks.numbers)
        places, rows = self.places(looks._replace(numbers=numbers)), looks.seen.shape[1]
        motion = self.motion(felt[:, :-1], felt[:, 1:])
        own, found = self._own(torch.cat([felt[:, :-1], felt[:, 1:]], dim=-1)), places.detach()
        later = set((1 + torch.randperm(rows - 1)[: self.cfg.compared]).tolist())
        carried, alone, missed, strayed, unforeseen = places[:, 0], found[:, 0], [], [], []
        for t in range(1, rows):
            carried = motion.at((slice(None), t - 1)).carried(carried)
            alone = own.at((slice(None), t - 1)).each(alone)
            if t in later:
                seen = looks.seen[:, 0] & looks.seen[:, t]
                missed.append(self.missed(carried, places[:, t], seen))
                strayed.append(self._strayed(found[:, 0], alone, found[:, t], seen))
                unforeseen.append(self._unforeseen(carried, found[:, t], looks.seen[:, 0], looks.seen[:, t]))
        if self.training:
            self.updates += 1
        told, off = torch.stack(missed), torch.stack(strayed)
        metrics = {"carried": _mean(told), "alone": _mean(off), "sight": torch.stack(unforeseen).mean()}
        return torch.stack(list(metrics.values())).sum(), metrics, told.nanmean(0)

    def _unforeseen(
        self,
        carried: Float[Tensor, "b k 2"],
        places: Float[Tensor, "b k 2"],
        before: Bool[Tensor, "b k"],
        now: Bool[Tensor, "b k"],
    ) -> Float[Tensor, ""]:
        """How badly it is told whether what was seen `before` is seen `now`, by where it is: that is where it is seen,
        or else where it is carried to."""
        odds = self.sight(torch.where(now[..., None], places, carried).detach())[..., 0]
        error = nn.functional.binary_cross_entropy_with_logits(odds, now.to(odds), reduction="none")
        return weighted_mean(error, before.to(error))

    def _strayed(
        self,
        before: Float[Tensor, "b k 2"],
        carried: Float[Tensor, "b k 2"],
        places: Float[Tensor, "b k 2"],
        seen: Bool[Tensor, "b k"],
    ) -> Float[Tensor, " k"]:
        """How far things are, carried by motions of their own, from where they are seen then: a loss for which it
        counts most whether they are close; NaN where they are seen too seldom. Also notes in `nearer` how much carrying
        helps."""
        off, stayed = (carried - places).norm(dim=-1), (before - places).norm(dim=-1)
        count = seen.sum(0)
        enough = count >= FEWEST
        middle = (places * seen[..., None]).sum(0) / count.clamp_min(1)[:, None]
        apart = (((places - middle).square().sum(-1) * seen).sum(0) / count.clamp_min(1)).sqrt().clamp_min(1e-6)
        loss = ((1 + (off / (CLOSE * apart)).square()).log() * seen).sum(0) / count.clamp_min(1)
        with torch.no_grad():
            medians = [torch.where(seen, x, torch.nan).nanmedian(0).values for x in (off, stayed)]
            now = (medians[0] / medians[1].clamp_min(1e-6)).clamp_max(2)
            if self.training:
                self.nearer.copy_(torch.where(enough, SLOWLY * self.nearer + (1 - SLOWLY) * now, self.nearer))
        return torch.where(enough, loss, torch.nan)

    def missed(
        self, carried: Float[Tensor, "b k 2"], places: Float[Tensor, "b k 2"], seen: Bool[Tensor, "b k"]
    ) -> Float[Tensor, " k"]:
        """For each thing, how badly it is told which of the windows it was carried in, by where it is carried to: from
        0 to 1, where it cannot be told at all; NaN where it is seen too seldom."""
        away = torch.cdist(carried.transpose(0, 1), places.transpose(0, 1), compute_mode="donot_use_mm_for_euclid_dist")
        reach = (carried.square().sum(-1) + NEAREST**2).sqrt().T[..., None]
        near = -TAIL * (1 + away.square() / (2 * (self.sharp.exp()[:, None, None] * reach).square())).log()
        near = near.masked_fill(~seen.T[:, None], -torch.inf)
        own = torch.diagonal(near, dim1=1, dim2=2).masked_fill(~seen.T, 0.0)
        others = near.logsumexp(-1).masked_fill(~seen.T, 0.0)
        count = seen.sum(0)
        found = (others - own).sum(1) / count.clamp_min(1) / count.clamp_min(2).log()
        return torch.where(count >= FEWEST, found, torch.nan)


def _mean(some: Float[Tensor, "*batch k"]) -> Float[Tensor, ""]:
    """Of what is not NaN; 0 where all is."""
    counted = some.isfinite()
    return torch.where(counted, some, 0.0).sum() / counted.sum().clamp_min(1)


class Each(nn.Module):
    """A network of its own for each of some things, (*batch, k, n) -> (*batch, k, m)."""

    def __init__(self, things: int, inputs: int, width: int, outputs: int):
        super().__init__()
        sizes = [(inputs, width), (width, width), (width, outputs)]
        self.weights = nn.ParameterList(nn.Parameter(torch.randn(things, a, b) / a**0.5) for a, b in sizes)
        self.biases = nn.ParameterList(nn.Parameter(torch.zeros(things, b)) for _, b in sizes)
        self.weights[-1].data.mul_(0.1)

    def forward(self, x: Float[Tensor, "*batch k n"]) -> Float[Tensor, "*batch k m"]:
        last = len(self.weights) - 1
        for i, (weight, bias) in enumerate(zip(self.weights, self.biases, strict=True)):
            x = torch.einsum("...kn,knm->...km", x, weight) + bias
            x = nn.functional.silu(x) if i < last else x
        return x
