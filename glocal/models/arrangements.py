"""Points in the pictures of cameras: what networks have to see of them for contacts to look simple.

Networks that see plain coordinates learn little about contacts. Seen from a rigid body, the same contact looks the same
wherever in the picture it happens. Which points lie on one body, and what actions drive, is found in what was recorded
(`Bodies`); how loose points lie to one another is told as it is.
"""

from dataclasses import dataclass
from typing import cast

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from glocal.core.features import POLICY_SCALES, Outcome, Standard
from glocal.core.nets import harmonics, outcome_head
from glocal.core.spec import Spec
from glocal.core.types import Pairs
from glocal.models.bodies import BODIES, DRIVEN, LOOKED_AT, Bodies, rotate, unrotate

PAIRS = 48
"""Ways between loose points, at most, that are told for each picture: of more a choice that is always the same."""
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

    Changes of points are told in the axes of bodies, and bodies stay rigid. Of all that could be told, what never
    varies is 0, and the rest is so much larger that a network begins as if there were nothing else. `goal` is where
    points were when the reward was highest. `lead` (2, a) is what an action does to the body that actions drive most,
    and `back` undoes it: what policies choose is told in the axes of the largest turning body of the same picture, as
    far as it moves things in that picture. Where that body is steered in its own axes, they choose in these.
    """

    goal: Tensor
    lead: Tensor
    back: Tensor
    axes: Tensor
    dynamics_gain: Tensor
    policy_gain: Tensor

    def __init__(self, spec: Spec, window: int, scales: int):
        super().__init__(spec, window, scales)
        points = [part for part in spec.parts if len(part.shape) == 2]
        assert points and spec.parts[-len(points) :] == tuple(points), "points are the last parts of an observation"
        self.numbers = spec.obs_dim - sum(part.size for part in points)
        self.counts = [part.shape[0] for part in points]
        self.pictures = nn.ModuleList(Bodies(count, spec.action_dim) for count in self.counts)
        for i, count in enumerate(self.counts):
            self.register_buffer(f"pairs{i}", _pairs(count), persistent=False)
        self.register_buffer("goal", torch.zeros(sum(self.counts), 2))
        self.register_buffer("lead", torch.zeros(2, spec.action_dim))
        self.register_buffer("back", torch.zeros(spec.action_dim, 2))
        self.register_buffer("axes", torch.zeros(len(points) * BODIES))
        nothing = self._nothing()
        self.register_buffer("dynamics_gain", torch.ones(self._dynamics(*nothing, scales).shape[1]))
        self.register_buffer("policy_gain", torch.ones(self._policy(*nothing).shape[1]))

    @torch.no_grad()
    def fit_statistics(self, pairs: Pairs) -> None:
        self.goal.copy_(self._points(pairs.after[pairs.reward.argmax()]))
        before, after = self._split(pairs.before), self._split(pairs.after)
        for bodies, here, there in zip(self._bodies(), before, after, strict=True):
            bodies.find(here, pairs.action, there)
        self._follow()
        change = self._change(pairs.before, pairs.after).pow(2).mean(0)
        shared = [x.mean(1) for x in self._split(change)]
        shared = [
            bodies.loose * x + bodies.member.T @ (bodies.member @ x / bodies.member.sum(1).clamp_min(1))
            for bodies, x in zip(self._bodies(), shared, strict=True)
        ]
        squared = torch.cat([change[: self.numbers], torch.cat(shared).repeat_interleave(2)])
        self.scale.copy_(squared.sqrt().clamp_min(1e-3))
        self.largest.copy_(self.delta(pairs.before, pairs.after).abs().amax(0))
        window, action = self._windows(pairs)
        self.dynamics_gain.copy_(_gain(self._dynamics(window, action, self.scales)))
        self.policy_gain.copy_(_gain(self._policy(window, action)))

    def dynamics(self, obs: Tensor, action: Tensor, scales: int) -> Tensor:
        return self._dynamics(obs, action, scales) * self.dynamics_gain

    def policy(self, obs: Tensor, action: Tensor) -> Tensor:
        return self._policy(obs, action) * self.policy_gain

    def _dynamics(self, obs: Tensor, action: Tensor, scales: int) -> Tensor:
        now, numbers = obs[:, -1], obs[..., : self.numbers]
        past = ((numbers[:, 1:] - numbers[:, :-1]) / self.scale[: self.numbers]).asinh()
        told = [now, harmonics(numbers[:, -1] / 4, scales), past.flatten(1), action.flatten(1)]
        spread = self._split(self.scale)
        for i, (bodies, points) in enumerate(zip(self._bodies(), self._split(obs), strict=True)):
            told += _seen(bodies, points, action, spread[i][:, 0], scales)
            told += self._loose(i, points, spread[i], scales)
        return torch.cat(told, dim=-1)

    def _policy(self, obs: Tensor, action: Tensor) -> Tensor:
        now = obs[:, -1]
        told = [self._dynamics(obs, action, POLICY_SCALES)]
        goals = self.goal.split(self.counts)
        for bodies, points, goal in zip(self._bodies(), self._split(now), goals, strict=True):
            here, there = bodies.frames(points), bodies.frames(goal)
            told.append(unrotate(there.centre - here.centre, here.turn).flatten(1))
            told.append(unrotate(there.turn.expand_as(here.turn), here.turn).flatten(1))
        told.append((-SHARPNESS * _lengths(self._points(now) - self.goal)).exp())
        return torch.cat(told, dim=-1)

    def delta(self, before: Tensor, after: Tensor) -> Tensor:
        change = self._change(before, after) / self.scale
        return torch.cat([change[:, : self.numbers].asinh(), change[:, self.numbers :]], dim=-1)

    def advance(self, before: Tensor, delta: Tensor) -> Tensor:
        limit = 1.5 * self.largest
        delta = delta.clamp(-limit, limit)
        change = torch.cat([delta[:, : self.numbers].sinh(), delta[:, self.numbers :]], dim=-1) * self.scale
        after = [before[:, : self.numbers] + change[:, : self.numbers]]
        for bodies, points, moved in zip(self._bodies(), self._split(before), self._split(change), strict=True):
            after.append(bodies.straighten(points + rotate(moved, bodies.turned(points))).flatten(1))
        return torch.cat(after, dim=-1)

    def to_action(self, obs: Tensor, vector: Tensor) -> Tensor:
        turns = [bodies.frames(points).turn for bodies, points in zip(self._bodies(), self._split(obs), strict=True)]
        turn = self.axes @ torch.cat(turns, dim=1)
        moves = vector @ self.lead.T
        return vector + (rotate(moves, turn) - moves) @ self.back.T

    def shifts(self, like: Float[Tensor, "b d"]) -> Float[Tensor, "b d"]:
        shift = torch.randn_like(like)
        for bodies, moved in zip(self._bodies(), self._split(shift), strict=True):
            driven = bodies.member * (bodies.driven > DRIVEN)[:, None]
            moved.copy_(driven.T @ torch.randn(len(like), len(driven), 2, device=like.device))
        return shift

    def outcome(self, width: int) -> "ArrangementOutcome":
        return ArrangementOutcome(self.spec.obs_dim, self.numbers, self.counts, width)

    def _change(self, before: Tensor, after: Tensor) -> Tensor:
        """What happened between two observations (B, d), of points in the axes of bodies."""
        change = after - before
        told = [change[:, : self.numbers]]
        for bodies, points, moved in zip(self._bodies(), self._split(before), self._split(change), strict=True):
            told.append(unrotate(moved, bodies.turned(points)).flatten(1))
        return torch.cat(told, dim=-1)

    def _windows(self, pairs: Pairs) -> tuple[Tensor, Tensor]:
        """Some control steps as the last of windows in which nothing happened before."""
        rows = torch.linspace(0, len(pairs.reward) - 1, min(LOOKED_AT, len(pairs.reward))).long()
        before = pairs.before[rows, None].expand(-1, self.window - 1, -1)
        action = pairs.action[rows, None].expand(-1, self.window, -1)
        return torch.cat([before, pairs.after[rows, None]], dim=1), action

    def _follow(self) -> None:
        """Choose in which body's axes policies choose actions, if in any."""
        self.lead.zero_()
        self.back.zero_()
        self.axes.zero_()
        strength = torch.stack([(bodies.driven * bodies.turns.any()).amax() for bodies in self._bodies()])
        chosen = int(strength.argmax())
        bodies = self._bodies()[chosen]
        if strength[chosen] > DRIVEN and not bodies.steered[bodies.driven.argmax()]:
            self.axes[BODIES * chosen + int(bodies.turns.int().argmax())] = 1
            self.lead.copy_(bodies.reach[bodies.driven.argmax()])
            self.back.copy_(torch.linalg.pinv(self.lead.cpu(), rtol=0.1))

    def _loose(self, i: int, points: Tensor, spread: Tensor, scales: int) -> list[Tensor]:
        """How loose points (B, w, k, 2) of a picture have moved, and how they lie to one another."""
        loose, (first, second) = self._bodies()[i].loose, getattr(self, f"pairs{i}")
        past = ((points[:, 1:] - points[:, :-1]) / spread).asinh() * loose[:, None]
        way = points[:, -1, first] - points[:, -1, second]
        both = torch.maximum(loose[first], loose[second])[:, None]
        return [past.flatten(1), (way * both).flatten(1), harmonics((way * both).flatten(1), scales)]

    def _bodies(self) -> list[Bodies]:
        return cast(list[Bodies], list(self.pictures))

    def _points(self, obs: Float[Tensor, "*batch d"]) -> Float[Tensor, "*batch k 2"]:
        return obs[..., self.numbers :].unflatten(-1, (-1, 2))

    def _split(self, obs: Float[Tensor, "*batch d"]) -> tuple[Float[Tensor, "*batch k 2"], ...]:
        """The points of each picture."""
        return self._points(obs).split(self.counts, dim=-2)


def _seen(bodies: Bodies, points: Tensor, action: Tensor, scale: Tensor, scales: int) -> list[Tensor]:
    """Bodies, where they have been and where actions send them, as each of them sees it now: points (B, w, k, 2)."""
    frames, found = bodies.frames(points), bodies.found.float()
    centre, turn = frames.centre[:, -1], frames.turn[:, -1]
    places = torch.cat([frames.centre, bodies.sent(frames, action)], dim=1)[:, None] - centre[:, :, None, None]
    mutual = found[:, None, None, None] * found[:, None]
    places = unrotate(places, turn[:, :, None, None]) * mutual
    near = places[:, :, [frames.centre.shape[1] - 1, -1]]
    facing = unrotate(turn[:, None], turn[:, :, None]) * mutual[:, 0]
    past = frames.centre[:, :-1] - centre[:, None]
    past = unrotate(past, turn[:, None]) * found[:, None] / _unit(bodies, scale)[:, None]
    turned = unrotate(frames.turn[:, :-1], turn[:, None])[..., 1] * found
    told = [centre, turn, places, harmonics(near.flatten(1), scales), facing, past, 10 * turned]
    return [part.flatten(1) for part in told]


def _gain(features: Float[Tensor, "n f"]) -> Float[Tensor, " f"]:
    """Factors on features: 0 for those that never vary."""
    varies = features.std(0) > 1e-6
    return varies * (len(varies) / varies.sum().clamp_min(1)).sqrt()


def _unit(bodies: Bodies, scale: Float[Tensor, " k"]) -> Float[Tensor, " m"]:
    """The typical step of each body."""
    typical = bodies.member @ scale / bodies.member.sum(1).clamp_min(1)
    return torch.where(bodies.found, typical, 1.0)


def _pairs(points: int) -> Int[Tensor, "2 n"]:
    """The pairs of points between which the way is told."""
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
