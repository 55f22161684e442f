"""Play on Push-T: what a person at the controls would do, as a script that sees only what it could see.

Strokes at points of the T's outline, approaches with detours around it, strokes meant to bring the T to its goal or
somewhere else, and strokes meant for nothing; all with a shaky hand. No learned policy, no look into the simulator.
"""

from collections.abc import Generator
from dataclasses import dataclass
from typing import Annotated, NamedTuple

import numpy as np

from glocal.core.ranges import Count, Range, Share
from glocal.tasks.pusht import CENTRE_OF_MASS, GOAL, REACH, TABLE, Array, Seen, place

Player = Generator[Array, Seen, None]
"""Sent what is seen, it yields the next action; the first `next` yields nothing of use."""

AGENT_RADIUS = 15.0
TURNING = 3000.0
"""Squared radius of gyration in px^2: how readily the T turns, as one learns by pushing it."""
OUTLINE = np.array([[-60, 0], [60, 0], [60, 30], [15, 30], [15, 120], [-15, 120], [-15, 30], [-60, 30]], float)
LENGTHS = np.array([1, 2, 4, 7, 12, 20, 30, 45, 65, 90], float)


@dataclass(frozen=True)
class PlayConfig:
    """How much play, and of what kind."""

    control_steps: Count = 40_000
    """Control steps recorded in all."""
    goal_share: Share = 0.3
    """Bouts of strokes meant to bring the T to its goal."""
    elsewhere_share: Share = 0.3
    """Bouts meant to bring it to some other pose; the rest are strokes without a purpose."""
    bout: Annotated[float, Range(1, 1000)] = 4.0
    """Mean number of strokes in a bout."""
    placed_share: Share = 0.35
    """Episodes before which the T was put near its goal by hand."""
    shake: Share = 0.12
    """Largest standard deviation of the hand's noise, in actions; drawn anew for each episode."""


class Stroke(NamedTuple):
    """Touch the T at a point of its outline, coming along `direction`, and push on for `length` pixels."""

    contact: Array
    direction: Array
    length: float
    speed: float

    @property
    def start(self) -> Array:
        return self.contact - self.direction * (AGENT_RADIUS + 12)

    @property
    def end(self) -> Array:
        return self.contact - self.direction * (AGENT_RADIUS - self.length)


def outline_points(pose: Array, spacing: float = 6.0) -> tuple[Array, Array]:
    """Points (N, 2) along the T's outline at a pose, and the inward normal at each, (N, 2)."""
    ends = np.roll(OUTLINE, -1, axis=0)
    points, normals = [], []
    for a, b in zip(OUTLINE, ends, strict=True):
        count = int(np.linalg.norm(b - a) // spacing)
        points.append(a + (b - a) * ((np.arange(count) + 0.5) / count)[:, None])
        along = (b - a) / np.linalg.norm(b - a)
        normals.append(np.tile([-along[1], along[0]], (count, 1)))
    return _to_table(np.concatenate(points), pose), _turn(np.concatenate(normals), pose[2])


def predict_push(pose: Array, contact: Array, normal: Array, length: Array) -> Array:
    """Where a frictionless push of some length along the normal would bring the T: poses (..., 3)."""
    centre = _to_table(CENTRE_OF_MASS, pose)
    lever = _cross(contact - centre, normal)
    share = length / (1 + lever**2 / TURNING)
    turn = np.clip(share * lever / TURNING, -0.6, 0.6)
    moved = centre + share[..., None] * normal
    angle = pose[2] + turn
    arm = np.stack([-np.sin(angle), np.cos(angle)], -1) * CENTRE_OF_MASS[1]
    return np.concatenate([moved - arm, angle[..., None]], -1)


def best_stroke(rng: np.random.Generator, seen: Seen, aim: Array) -> Stroke:
    """A stroke that seems to bring the T nearer to `aim`; not always the best one."""
    points, normals = outline_points(seen.pose)
    contact, normal = points[:, None], normals[:, None]
    after = predict_push(seen.pose, contact, normal, np.broadcast_to(LENGTHS, (len(points), len(LENGTHS))))
    wanted = place(aim)
    cost = np.stack([[np.linalg.norm(place(pose) - wanted, axis=-1).mean() for pose in row] for row in after])
    start = contact - normal * (AGENT_RADIUS + 12)
    cost = cost + 0.02 * np.linalg.norm(start - seen.agent, axis=-1) + 100.0 * ~_on_table(start)
    cost = cost + rng.gumbel(size=cost.shape) * -(0.3 + 0.02 * cost.min())
    i, j = np.unravel_index(cost.argmin(), cost.shape)
    speed = float(np.clip(LENGTHS[j] / 60, 0.12, 1.0)) * rng.uniform(0.7, 1.3)
    return Stroke(points[i], normals[i], float(LENGTHS[j]), speed)


def stray_stroke(rng: np.random.Generator, seen: Seen) -> Stroke:
    """A stroke at any point of the outline, in about any direction."""
    points, normals = outline_points(seen.pose)
    i = rng.integers(len(points))
    direction = _turn(normals[i], rng.normal(0, 0.4))
    return Stroke(points[i], direction, rng.exponential(40.0) + 2, rng.uniform(0.15, 1.0))


def player(rng: np.random.Generator, cfg: PlayConfig) -> Player:
    """Play for as long as it is sent what is seen: one bout of strokes after another, each with its purpose."""
    shake = rng.uniform(0, cfg.shake)
    seen = yield np.zeros(2)
    while True:
        aim = draw_aim(rng, cfg)
        for _ in range(rng.geometric(1 / cfg.bout)):
            stroke = stray_stroke(rng, seen) if aim is None else best_stroke(rng, seen, aim)
            seen = yield from _perform(rng, seen, stroke, shake)


def draw_aim(rng: np.random.Generator, cfg: PlayConfig) -> Array | None:
    """What a bout is for: the goal pose, another pose, or nothing."""
    kind = rng.uniform()
    if kind < cfg.goal_share:
        return GOAL
    if kind < cfg.goal_share + cfg.elsewhere_share:
        return np.array([*rng.uniform(120, 392, 2), rng.uniform(-np.pi, np.pi)])
    return None


def draw_placement(rng: np.random.Generator, cfg: PlayConfig) -> Array | None:
    """A state (5,) with the T put near its goal by hand and the agent off it, or None to leave it to chance."""
    if rng.uniform() >= cfg.placed_share:
        return None
    spread = rng.exponential(25.0)
    pose = GOAL + rng.normal(size=3) * np.array([spread, spread, spread / 60])
    outline, _ = outline_points(pose)
    while True:
        agent = rng.uniform(50, 450, 2)
        if np.linalg.norm(outline - agent, axis=-1).min() > AGENT_RADIUS + 5:
            return np.concatenate([agent, pose])


def _perform(rng: np.random.Generator, seen: Seen, stroke: Stroke, shake: float) -> Generator[Array, Seen, Seen]:
    """Go to the stroke's start, push, and perhaps draw back; returns what is seen at its end."""

    def shaky(action: Array) -> Array:
        return np.clip(action + rng.normal(0, shake, 2), -1, 1)

    haste = rng.uniform(0.5, 1.0)
    side = rng.choice([-1, 1]) if rng.uniform() < 0.2 else 0
    for _ in range(rng.integers(14, 24)):
        if np.linalg.norm(seen.agent - stroke.start) < 6:
            break
        seen = yield shaky(_steer(seen.agent, _around(seen, stroke.start, side), haste))
    for _ in range(rng.integers(6, 14)):
        if np.linalg.norm(seen.agent - stroke.end) < 1.5:
            break
        seen = yield shaky(_steer(seen.agent, stroke.end, stroke.speed))
    for _ in range(rng.integers(0, 3)):
        seen = yield shaky(_steer(seen.agent, stroke.start, haste))
    return seen


def _steer(agent: Array, towards: Array, speed: float) -> Array:
    """The action that heads for a point, at most `speed` of the reach."""
    delta = (towards - agent) / REACH * 1.3
    return delta * min(1.0, speed / max(float(np.linalg.norm(delta)), 1e-6))


def _around(seen: Seen, goal: Array, side: int) -> Array:
    """Where to head for now: `goal` if the way is free, else a point on a circle around the T."""
    outline, _ = outline_points(seen.pose)
    if _clearance(seen.agent, goal, outline) > AGENT_RADIUS + 3:
        return goal
    centre = _to_table(CENTRE_OF_MASS, seen.pose)
    here, there = (np.arctan2(*(p - centre)[::-1]) for p in (seen.agent, goal))
    way = (there - here + np.pi) % (2 * np.pi) - np.pi
    if side and abs(way) > 1.5:
        way = side * abs(way)
    bearing = here + np.clip(way, -0.7, 0.7)
    return np.clip(centre + 115 * np.array([np.cos(bearing), np.sin(bearing)]), 12, TABLE - 12)


def _clearance(a: Array, b: Array, outline: Array) -> float:
    """How near the straight way from a to b comes to the outline, the outline about b left out."""
    obstacles = outline[np.linalg.norm(outline - b, axis=-1) > 2 * AGENT_RADIUS]
    along = b - a
    t = np.clip(((obstacles - a) @ along) / max(float(along @ along), 1e-6), 0, 1)
    return float(np.linalg.norm(a + t[:, None] * along - obstacles, axis=-1).min())


def _on_table(point: Array) -> Array:
    return np.abs(point - TABLE / 2).max(-1) < TABLE / 2 - 14


def _turn(vector: Array, angle: float) -> Array:
    cos, sin = np.cos(angle), np.sin(angle)
    return vector @ np.array([[cos, sin], [-sin, cos]])


def _to_table(point: Array, pose: Array) -> Array:
    return _turn(point, pose[2]) + pose[:2]


def _cross(a: Array, b: Array) -> Array:
    return a[..., 0] * b[..., 1] - a[..., 1] * b[..., 0]
