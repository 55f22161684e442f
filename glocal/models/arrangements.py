"""Points in the pictures of cameras: what networks have to see of them for contacts to look simple.

Networks that see plain coordinates learn little about contacts. Seen from a rigid body, the same contact looks the same
wherever in the picture it happens. Which points lie on one body, and what actions drive, is found in what was recorded
(`Bodies`); how loose points lie to one another is told as it is.
"""

import math
from dataclasses import dataclass
from typing import cast

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from glocal.core.compasses import fitted, rotate, spread, unrotate
from glocal.core.features import POLICY_SCALES, Outcome, Standard
from glocal.core.nets import harmonics, outcome_head
from glocal.core.relations import Relations
from glocal.core.spec import Spec
from glocal.core.types import Pairs
from glocal.models.bodies import DRIVEN, ROOM, Bodies

PAIRS = 48
"""Distances between points, at most, that rewards are told for each picture; of more always the same ones."""
LINEAR = 8.0
"""Typical changes of points up to which they are told as they are; jumps are told on a logarithmic scale."""
FLAT = 0.2
"""Actions that move a body this much less in one direction than in the other move it along a line."""
SWING = 10.0
"""Of the sines of angles that bodies turn by within a step, so that they are of about one."""
FOLLOWS = 0.05
"""Coordinates of which the numbers leave less than this of their variance follow from these."""
AT_ONCE = 4096
"""Recorded control steps that are looked at together."""
SHARPNESS = 8.0
NEARNESS = 8
"""Lengths, halving from one to the next, in which the distance to the reference is told."""


@dataclass(frozen=True)
class ArrangementConfig:
    """Points in pictures, (k, 2) for each camera, and any numbers beside them."""

    def build(self, spec: Spec, window: int, scales: int) -> "Arrangement":
        return Arrangement(spec, window, scales)


class Arrangement(Standard):
    """Numbers as `Standard` tells them, and points of pictures as the bodies see them that they lie on.

    Changes of points are told in the axes of bodies, as they are where they are of some typical sizes and on a
    logarithmic scale beyond, and bodies stay rigid. What models of motion are told of is what was found, so there is
    less of it than there could be; for policies the rest is filled with 0. `goal` is what was observed when the reward
    was highest. Policies choose actions in the axes of the first body of a picture that has a heading (`axes`), where
    actions drive a body of the same picture: `lead` (2, a) turns what they move from the axes of actions into the
    picture's. Where that body is steered in its own axes, or goes to where actions say, actions stay as they are.
    """

    goal: Tensor
    lead: Tensor
    axes: Tensor

    def __init__(self, spec: Spec, window: int, scales: int):
        super().__init__(spec, window, scales)
        points = [part for part in spec.parts if len(part.shape) == 2]
        assert points and spec.parts[-len(points) :] == tuple(points), "points are the last parts of an observation"
        self.counts = [part.shape[0] for part in points]
        self.relations = Relations(spec.obs_dim)
        self.pictures = nn.ModuleList(Bodies(count, spec.action_dim, self.numbers) for count in self.counts)
        self.register_buffer("goal", torch.zeros(spec.obs_dim))
        self.register_buffer("lead", torch.zeros(2, spec.action_dim))
        self.register_buffer("axes", torch.zeros(len(points) * ROOM))
        self.policy_width = self._situation(*self._nothing()).shape[1]

    @torch.no_grad()
    def fit_statistics(self, pairs: Pairs) -> None:
        self.goal.copy_(pairs.after[pairs.reward.argmax()])
        self._find_bearings(pairs)
        before, after = self._split(pairs.before), self._split(pairs.after)
        for bodies, here, there in zip(self._bodies(), before, after, strict=True):
            bodies.find(here, pairs.action, there, pairs.before[:, : self.numbers])
        self._follow()
        self.relations.find(pairs.before, pairs.after, self._apart(), self._told_by_numbers(pairs.before))
        parts = list(zip(pairs.before.split(AT_ONCE), pairs.after.split(AT_ONCE), strict=True))
        squared = torch.stack([self._change(*part).pow(2).sum(0) for part in parts]).sum(0) / len(pairs.before)
        shared = [self._shared(*part) for part in zip(self._bodies(), self._split(squared), strict=True)]
        self.scale.copy_(torch.cat([squared[: self.numbers], *shared]).sqrt().clamp_min(1e-3))
        self.largest.copy_(torch.stack([self.delta(*part).abs().amax(0) for part in parts]).amax(0))

    def dynamics(self, obs: Tensor, action: Tensor, scales: int) -> Tensor:
        now, numbers = obs[:, -1], obs[..., : self.numbers]
        moved = self.bearings.change(numbers[:, :-1].flatten(0, 1), numbers[:, 1:].flatten(0, 1))
        past = (moved.view(len(obs), self.window - 1, self.numbers) / self.scale[: self.numbers]).asinh()
        told = [now, harmonics(numbers[:, -1] / 4, scales), past.flatten(1), action.flatten(1)]
        for bodies, points, scale in zip(self._bodies(), self._split(obs), self._split(self.scale), strict=True):
            if bodies.count:
                seen = seen_by(bodies, points, numbers, action, scale[:, 0])
                told += [part.flatten(1) for part in seen.values()]
                told.append(harmonics(seen["near"].flatten(1), scales))
            if len(bodies.rows):
                told += _loose(bodies, points, scale, scales)
        told.append(self.relations.told(now, scales))
        return torch.cat(told, dim=-1)

    def policy(self, obs: Tensor, action: Tensor) -> Tensor:
        told = self._situation(obs, action)
        given = told.shape[1]
        return nn.functional.pad(told * math.sqrt(self.policy_width / given), (0, self.policy_width - given))

    def delta(self, before: Tensor, after: Tensor) -> Tensor:
        numbers, points = (self._change(before, after) / self.scale).tensor_split([self.numbers], dim=-1)
        return torch.cat([numbers.asinh(), eased(points)], dim=-1)

    def advance(self, before: Tensor, delta: Tensor) -> Tensor:
        limit = 1.5 * self.largest
        told, moved = delta.clamp(-limit, limit).tensor_split([self.numbers], dim=-1)
        change = torch.cat([told.sinh(), uneased(moved)], dim=-1) * self.scale
        numbers = before[:, : self.numbers]
        after = [self.bearings.changed(numbers, change[:, : self.numbers])]
        for bodies, points, moved in zip(self._bodies(), self._split(before), self._split(change), strict=True):
            after.append(bodies.straighten(points + rotate(moved, bodies.axes_of(points, numbers))).flatten(1))
        return torch.cat(after, dim=-1)

    def to_action(self, obs: Tensor, vector: Tensor) -> Tensor:
        """Of one action, or of several one behind the other."""
        numbers, pictures = obs[:, : self.numbers], zip(self._bodies(), self._split(obs), strict=True)
        headings = [part.frames(points, numbers).heading for part, points in pictures]
        heading = (self.axes @ torch.cat(headings, dim=1))[:, None]
        actions = vector.unflatten(-1, (-1, self.spec.action_dim))
        moves = actions @ self.lead.T
        return (actions + (rotate(moves, heading) - moves) @ self.lead).flatten(1)

    def shifts(self, like: Float[Tensor, "b d"]) -> Float[Tensor, "b d"]:
        """Of numbers, and of the bodies that actions drive, each as a whole."""
        shift = torch.randn_like(like)
        for bodies, moved in zip(self._bodies(), self._split(shift), strict=True):
            driven = bodies.member * (bodies.driven > DRIVEN)[:, None]
            moved.copy_(driven.T @ torch.randn(len(like), len(driven), 2, device=like.device))
        return shift

    def found(self) -> str:
        cameras = [part.name for part in self.spec.parts if len(part.shape) == 2]
        bodies = [f"{name}: {part.described()}" for name, part in zip(cameras, self._bodies(), strict=True)]
        return "; ".join([*filter(None, [super().found()]), *bodies])

    def outcome(self, width: int) -> "ArrangementOutcome":
        return ArrangementOutcome(self.spec.obs_dim, self.numbers, self.counts, width)

    def _situation(self, obs: Tensor, action: Tensor) -> Tensor:
        """What a policy sees: what is, and the way to where points were when the reward was highest."""
        now, numbers = obs[:, -1], obs[:, -1, : self.numbers]
        told = [self.dynamics(obs, action, POLICY_SCALES)]
        for bodies, points, goal in zip(self._bodies(), self._split(now), self._split(self.goal), strict=True):
            here, count = bodies.frames(points, numbers), bodies.count
            there = bodies.frames(goal, self.goal[: self.numbers])
            told.append(unrotate(there.centre - here.centre, here.heading)[:, :count].flatten(1))
            told.append(unrotate(there.heading.expand_as(here.heading), here.heading)[:, :count].flatten(1))
        told.append((-SHARPNESS * _lengths(self._points(now) - self._points(self.goal))).exp())
        return torch.cat(told, dim=-1)

    def _change(self, before: Tensor, after: Tensor) -> Tensor:
        """What happened between two observations (B, d), of points in the axes of bodies."""
        change = after - before
        told = [self.bearings.change(before[:, : self.numbers], after[:, : self.numbers])]
        for bodies, points, moved in zip(self._bodies(), self._split(before), self._split(change), strict=True):
            told.append(unrotate(moved, bodies.axes_of(points, before[:, : self.numbers])).flatten(1))
        return torch.cat(told, dim=-1)

    def _shared(self, bodies: Bodies, squared: Float[Tensor, "k 2"]) -> Float[Tensor, " d"]:
        """Mean squares of the changes of points, the same for all points of a body, and for x and y."""
        each = squared.mean(1)
        whole = bodies.member.T @ (bodies.member @ each / bodies.member.sum(1).clamp_min(1))
        return torch.where(bodies.member.any(0), whole, each).repeat_interleave(2)

    def _follow(self) -> None:
        """Choose in which body's axes policies choose actions, if in any."""
        self.lead.zero_()
        self.axes.zero_()
        strength = torch.stack([(bodies.driven * bodies.oriented.any()).amax() for bodies in self._bodies()])
        chosen = int(strength.argmax())
        bodies = self._bodies()[chosen]
        body = int(bodies.driven.argmax())
        if strength[chosen] <= DRIVEN or bodies.steered[body] or bodies.pull[body].any():
            return
        left, spread, right = torch.linalg.svd(bodies.reach[body].cpu(), full_matrices=False)
        if len(spread) == 2 and spread[1] > FLAT * spread[0]:
            self.axes[ROOM * chosen + int(bodies.oriented.int().argmax())] = 1
            self.lead.copy_(left @ right)

    def _apart(self) -> Bool[Tensor, " d"]:
        """What may be told as it is seen from the robot: all but the points of bodies that have a shape, which see
        others by themselves."""
        fixed = [(bodies.member[bodies.firm].sum(0) > 0).repeat_interleave(2) for bodies in self._bodies()]
        return ~torch.cat([fixed[0].new_zeros(self.numbers), *fixed])

    def _told_by_numbers(self, obs: Float[Tensor, "n d"]) -> Bool[Tensor, " d"]:
        """What the robot is seen from: its numbers, and points that follow from these, as landmarks do."""
        some = obs[spread(len(obs), AT_ONCE, obs.device)].double().cpu()
        told = torch.cat([some[:, : self.numbers], torch.ones_like(some[:, :1])], dim=1)
        left = fitted(told, some)[1] / some.var(0).clamp_min(1e-9)
        return (left < FOLLOWS).to(obs.device) if self.numbers else obs.new_zeros(obs.shape[1], dtype=torch.bool)

    def _bodies(self) -> list[Bodies]:
        return cast(list[Bodies], list(self.pictures))

    def _points(self, obs: Float[Tensor, "*batch d"]) -> Float[Tensor, "*batch k 2"]:
        return obs[..., self.numbers :].unflatten(-1, (-1, 2))

    def _split(self, obs: Float[Tensor, "*batch d"]) -> tuple[Float[Tensor, "*batch k 2"], ...]:
        """The points of each picture."""
        return self._points(obs).split(self.counts, dim=-2)


def seen_by(
    bodies: Bodies,
    points: Float[Tensor, "b w k 2"],
    numbers: Float[Tensor, "b w d"],
    action: Float[Tensor, "b w a"],
    scale: Float[Tensor, " k"],
) -> dict[str, Tensor]:
    """How the bodies that were found see one another now.

    `centre` and `heading` (B, m, 2) are in the picture's axes, all else in those of the body that sees: `places`
    (B, m, 2 w, m, 2), where each has been, and where actions sent it from there; `near` (B, n, 2), where the others
    are now, and where actions send all; `facing` (B, m, m, 2), where each heads; how the body itself has moved, `past`
    (B, w - 1, m, 2) in typical steps, and `swung` (B, w - 1, m), the sine of the angle.
    """
    frames, steps = bodies.frames(points, numbers), points.shape[1]
    every = torch.cat([frames.centre, bodies.sent(frames, action)], dim=1)[:, :, : bodies.count]
    centres, headings = frames.centre[:, :, : bodies.count], frames.heading[:, :, : bodies.count]
    centre, heading = centres[:, -1], headings[:, -1]
    places = unrotate(every[:, None] - centre[:, :, None, None], heading[:, :, None, None])
    member = bodies.member[: bodies.count]
    unit = (member @ scale / member.sum(1).clamp_min(1)).clamp_min(1e-6)
    past = unrotate(centres[:, :-1] - centre[:, None], heading[:, None]) / unit[:, None]
    others = [i for i in range(bodies.count**2) if i % (bodies.count + 1)]
    return {
        "centre": centre,
        "heading": heading,
        "places": places,
        "near": torch.cat([places[:, :, steps - 1].flatten(1, 2)[:, others], places[:, :, -1].flatten(1, 2)], dim=1),
        "facing": unrotate(heading[:, None], heading[:, :, None]),
        "past": eased(past),
        "swung": SWING * unrotate(headings[:, :-1], heading[:, None])[..., 1],
    }


def eased(x: Tensor) -> Tensor:
    """Numbers as they are up to `LINEAR`, and on a logarithmic scale beyond."""
    size = x.abs()
    return torch.where(size <= LINEAR, x, x.sign() * LINEAR * (1 + (size.clamp_min(LINEAR) / LINEAR).log()))


def uneased(x: Tensor) -> Tensor:
    """The inverse of `eased`."""
    size = x.abs()
    return torch.where(size <= LINEAR, x, x.sign() * LINEAR * (size.clamp_min(LINEAR) / LINEAR - 1).exp())


def _loose(bodies: Bodies, points: Tensor, scale: Tensor, scales: int) -> list[Tensor]:
    """How loose points have moved, of points (B, w, k, 2), and the ways from them to others."""
    first, second = bodies.ways
    past = ((points[:, 1:, bodies.rows] - points[:, :-1, bodies.rows]) / scale[bodies.rows]).asinh()
    way = (points[:, -1, first] - points[:, -1, second]).flatten(1)
    return [past.flatten(1), way, harmonics(way, scales)]


def _pairs(points: int) -> Int[Tensor, "2 n"]:
    """Pairs of points that rewards are told the distance of."""
    every = torch.triu_indices(points, points, offset=1)
    chosen = torch.randperm(every.shape[1], generator=torch.Generator().manual_seed(0))[:PAIRS]
    return every[:, chosen.sort().values]


class ArrangementOutcome(Outcome):
    """Reward and continuation of points and numbers.

    It also sees how far points are from one another, and from a learned reference, which starts where the reward was
    highest: what is wanted is often near, and a reward's last centimetre is hard to read off coordinates.
    """

    pairs: Tensor

    def __init__(self, obs_dim: int, numbers: int, counts: list[int], width: int):
        super().__init__()
        self.numbers, points = numbers, sum(counts)
        before = [sum(counts[:i]) for i in range(len(counts))]
        pairs = [_pairs(count) + first for count, first in zip(counts, before, strict=True)]
        self.register_buffer("pairs", torch.cat(pairs, dim=1), persistent=False)
        self.reference = nn.Parameter(torch.zeros(points, 2))
        self.weight = nn.Parameter(torch.zeros(points))
        self.body = outcome_head(obs_dim + points + self.pairs.shape[1] + NEARNESS, width)

    @torch.no_grad()
    def fit_statistics(self, after: Float[Tensor, "n d"], reward: Float[Tensor, " n"]) -> None:
        """Begin to refer to where points were when the reward was highest."""
        self.reference.copy_(after[reward.argmax(), self.numbers :].unflatten(-1, (-1, 2)))

    def forward(self, obs: Float[Tensor, "*batch d"]) -> tuple[Tensor, Tensor]:
        points, (first, second) = obs[..., self.numbers :].unflatten(-1, (-1, 2)), self.pairs
        distance = _lengths(points - self.reference)
        apart = _lengths(points[..., first, :] - points[..., second, :])
        mean = (distance * self.weight.softmax(-1)).sum(-1, keepdim=True)
        near = torch.cat([(-mean * 2**k).exp() for k in range(NEARNESS)], dim=-1)
        reward, cont = self.body(torch.cat([obs, distance, apart, near], dim=-1)).unbind(-1)
        return reward, cont


def _lengths(ways: Float[Tensor, "*batch k 2"]) -> Float[Tensor, "*batch k"]:
    return (ways.pow(2).sum(-1) + 1e-6).sqrt()
