"""Where things are around a robot that moves, in its own frame, found without labels.

What stands still moves, as the robot sees it, as the robot does, backwards. So two things are learned together: where
each thing is, from how it looks in a picture, and how far the robot went and turned between two pictures. Where a thing
is carried to by that has to be where it is seen then: nearer to it than to where it is seen at other moments (InfoNCE,
arXiv 1807.03748). Of that nothing comes but places in a plane, up to their units and where the axes point: what is
pushed meanwhile is the exception, and counts for little.

What is not seen is where it was carried to, so that what has left the picture is not forgotten.
"""

from dataclasses import dataclass
from typing import Annotated, Any, NamedTuple

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from glocal.core.compasses import rotate
from glocal.core.nets import mlp
from glocal.core.ranges import Amount, Range, Share, Width

FIELD = 0.7
"""The bearing of what is at the edge of a picture, to begin with, in radians."""
FARTHEST = 1.5
"""Of the logarithm of the range, how far it may stray from what the size says."""
ASIDE = 0.3
"""Radians that a bearing may stray from what the place in the picture says."""
STEP = 0.3
"""Typical shift and turn of a control step, to begin with."""
TAIL = 1.5
"""How fast the kernel falls off: its tails are those of a Student distribution of two degrees of freedom."""
SHARP = -1.0
"""Logarithm of the kernel's scale, to begin with."""
FELT_ALONE = 0.25
"""Share of the windows whose motion is told by what is felt alone."""
FEWEST = 10
"""Windows in which a thing is seen twice, for it to count."""


class Motion(NamedTuple):
    """How far a robot went and turned: what stands still is turned by `turn` and then shifted by `shift`."""

    shift: Float[Tensor, "*batch 2"]
    turn: Float[Tensor, "*batch"]

    def carried(self, places: Float[Tensor, "*batch k 2"]) -> Float[Tensor, "*batch k 2"]:
        """Where what was at some places is afterwards, if it stood still."""
        heading = torch.stack([self.turn.cos(), self.turn.sin()], dim=-1)[..., None, :]
        return rotate(places, heading.expand_as(places)) + self.shift[..., None, :]


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
    noise: Amount = 0.02
    """Standard deviation of the noise on how things look, in training."""
    forget: Share = 0.05
    """How much less sure it is, with each control step, where what is not seen is."""


class Surroundings(nn.Module):
    """Places (k, 2) of `things` that each look as `numbers` tell, for a robot that feels `felt` numbers of itself; all
    numbers have a deviation of about one."""

    usual: Tensor

    def __init__(self, cfg: SurroundingsConfig, things: int, numbers: int, felt: int):
        super().__init__()
        self.cfg, self.things = cfg, things
        self.place = Each(things, numbers, cfg.width, 2)
        self.field = nn.Parameter(torch.tensor(FIELD))
        self.register_buffer("usual", torch.zeros(things))
        self.sharp = nn.Parameter(torch.full((things,), SHARP))
        self.felt = mlp(2 * felt, cfg.width, 2, 3)
        self.watched = mlp(2 * felt + 5 * things, 2 * cfg.width, 2, 3, last_scale=0.0)

    @torch.no_grad()
    def fit_statistics(self, looks: Looks) -> None:
        """Begin with places that are about one away, of what was recorded (n, k, ...)."""
        seen = looks.seen.to(looks.area)
        self.usual.copy_(0.5 * (looks.area * seen).sum(0) / seen.sum(0).clamp_min(1))

    def places(self, looks: Looks) -> Float[Tensor, "*batch k 2"]:
        """Where things are, x ahead and y to the left, but for units and where the axes point: a bearing that goes with
        the place in the picture, and a range that goes with one over the root of the area."""
        far, aside = self.place(looks.numbers).unbind(-1)
        reach = (FARTHEST * (far / FARTHEST).tanh() + self.usual - 0.5 * looks.area).exp()
        bearing = self.field * looks.middle + ASIDE * aside.tanh()
        return torch.stack([reach * bearing.cos(), -reach * bearing.sin()], dim=-1)

    def motion(
        self,
        before: Float[Tensor, "*batch d"],
        after: Float[Tensor, "*batch d"],
        places: tuple[Tensor, Tensor] | None = None,
        both: Bool[Tensor, "*batch k"] | None = None,
    ) -> Motion:
        """How the robot moved between two control steps, by what it feels before and after, and by the places, before
        and after, of things that are seen in `both`."""
        felt = torch.cat([before, after], dim=-1)
        found = self.felt(felt)
        if places is not None and both is not None:
            weight = both[..., None].to(felt)
            here, there = places
            told = torch.cat([here, (there - here) / (0.5 * STEP)], dim=-1) * weight
            found = found + self.watched(torch.cat([felt, told.flatten(-2), weight[..., 0]], dim=-1))
        return Motion(STEP * found[..., :2], STEP * found[..., 2])

    def loss(self, looks: Looks, felt: Float[Tensor, "b t d"]) -> tuple[Tensor, dict[str, Tensor], Float[Tensor, " k"]]:
        """A scalar to minimise on windows (B, T, ...) of consecutive control steps: what cannot be told by where things
        are carried to, by what is felt alone and by places, too; metrics; and the same for each thing (`missed`)."""
        numbers = looks.numbers + self.cfg.noise * torch.randn_like(looks.numbers)
        places, rows = self.places(looks._replace(numbers=numbers)), looks.seen.shape[1]
        watching = torch.rand(len(felt), 1, 1, device=felt.device) >= FELT_ALONE
        before, after = felt[:, :-1], felt[:, 1:]
        both = looks.seen[:, :-1] & looks.seen[:, 1:]
        motions = {
            "felt": self.motion(before, after),
            "watched": self.motion(before, after, (places[:, :-1], places[:, 1:]), both & watching),
        }
        later = set((1 + torch.randperm(rows - 1)[: self.cfg.compared]).tolist())
        metrics: dict[str, Tensor] = {}
        each = felt.new_zeros(0, self.things)
        for name, motion in motions.items():
            carried, missed = places[:, 0], []
            for t in range(1, rows):
                carried = Motion(motion.shift[:, t - 1], motion.turn[:, t - 1]).carried(carried)
                if t in later:
                    missed.append(self.missed(carried, places[:, t], looks.seen[:, 0] & looks.seen[:, t]))
            each = torch.stack(missed)
            counted = each.isfinite()
            metrics[name] = each[counted].mean() if counted.any() else 0.0 * carried.sum()
        return torch.stack(list(metrics.values())).sum(), metrics, each.nanmean(0)

    def missed(
        self, carried: Float[Tensor, "b k 2"], places: Float[Tensor, "b k 2"], seen: Bool[Tensor, "b k"]
    ) -> Float[Tensor, " k"]:
        """For each thing, how badly it is told which of the windows it was carried in, by where it is carried to: from
        0 to 1, where it cannot be told at all; NaN where it is seen too seldom."""
        away = torch.cdist(carried.transpose(0, 1), places.transpose(0, 1), compute_mode="donot_use_mm_for_euclid_dist")
        near = -TAIL * (1 + away.square() / (2 * self.sharp.exp()[:, None, None].square())).log()
        near = near.masked_fill(~seen.T[:, None], -torch.inf)
        own = torch.diagonal(near, dim1=1, dim2=2).masked_fill(~seen.T, 0.0)
        others = near.logsumexp(-1).masked_fill(~seen.T, 0.0)
        count = seen.sum(0)
        found = (others - own).sum(1) / count.clamp_min(1) / count.clamp_min(2).log()
        return torch.where(count >= FEWEST, found, torch.nan)


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
