"""Scripts that push a cube and lift one, by what is observed: for recording play, and for tests."""

from collections.abc import Mapping

import numpy as np

from glocal_envs.arena import WALL
from glocal_envs.grasp_lift import LIMITS as HAND_LIMITS
from glocal_envs.push_cube import LIMITS
from glocal_envs.scene import Array

Observation = Mapping[str, Array]
ALMOST = 0.08
"""Where the cube lies this near its target, m, there is nothing left to push."""
OVER = np.array([0.0, 0.0, 0.1])
"""The hand comes to a cube from there, as seen from the cube, m."""
GRIPPED = 0.006
"""By how much fingers have travelled when they meet a cube, m, or a little less."""
ROOM = 0.45
"""From a wall, m, nearer than which the script does not walk on towards it."""


def push(obs: Observation, target: Array | None = None, aside: float = 0.0) -> Array:
    """The action (3,) that brings the cube nearer to a target, (2,) as seen from the robot; by default to the goal.

    It walks round the cube to the place behind it, and drives on along the line to the target. `aside` (m) is by how
    much it misses that line to its left.
    """
    cube = obs["task"][:2].astype(np.float64)
    way = (obs["task"][7:9] if target is None else target) - cube
    left = float(np.linalg.norm(way))
    if left < ALMOST:
        return np.array([-0.3, 0.0, 0.0])
    way /= left
    side = np.array([-way[1], way[0]])
    along, across = -float(cube @ way), -float(cube @ side) - aside
    heading = float(np.arctan2(way[1], way[0]))
    if along < -0.4 and abs(across) < 0.12 and abs(heading) < 0.35:
        velocity = (0.55 * way - 3.0 * across * side) * min(1.0, 0.35 + 2.0 * left)
        return _told(velocity, heading)
    stand = cube - 0.68 * way + aside * side
    velocity = _round(cube, across) if along > -0.35 and np.linalg.norm(cube) < 1.2 else 1.6 * stand
    return _told(_kept_inside(velocity, obs), heading if np.linalg.norm(stand) < 0.8 else _towards(cube))


def go(obs: Observation, target: Array) -> Array:
    """The action (3,) that walks to a target, (2,) as seen from the robot, turning towards it."""
    return _told(1.6 * target, _towards(target) if np.linalg.norm(target) > 0.3 else 0.0)


def from_robot(obs: Observation, point: Array) -> Array:
    """A point of the arena (2,) as it lies from the robot, forward and to the left."""
    x, y, s, c = obs["place"].astype(np.float64)
    return np.array([[c, s], [-s, c]]) @ (point - [x, y])


def lift(obs: Observation) -> Array:
    """The action (4,) that brings the hand over the cube, down to it, closes it, and lifts.

    A hand that closed beside the cube opens, and begins again from above.
    """
    cube, command = obs["task"][:3].astype(np.float64), obs["command"].astype(np.float64)
    aside = np.linalg.norm(cube[:2])
    if command[3] > 0:
        near = np.linalg.norm(cube) < 0.03
        return move_hand(obs, np.array([0.0, 0.0, 0.05 * holds(obs)]), 1.0 if near else -1.0)
    if aside > 0.03 or (aside > 0.012 and cube[2] < -0.08):
        return move_hand(obs, cube + OVER, -1.0)
    return move_hand(obs, cube, 1.0 if cube[2] > -0.012 else -1.0)


def holds(obs: Observation) -> bool:
    """Whether the fingers have closed on the cube."""
    near = np.linalg.norm(obs["task"][:3]) < 0.03
    return bool(obs["command"][3] > 0 and near and np.mean(obs["joints"][8:]) > GRIPPED)


def move_hand(obs: Observation, way: Array, grip: float) -> Array:
    """The action (4,) that sends the hand along a way (3,) from where it is, m."""
    change = obs["hand"].astype(np.float64) + way - obs["command"][:3]
    return np.clip(np.append(change, grip), -HAND_LIMITS, HAND_LIMITS)


def _round(cube: Array, across: float) -> Array:
    """Round the cube, at 0.75 m from it, on the side where the robot already is."""
    away = -cube / np.linalg.norm(cube)
    around = np.array([-away[1], away[0]]) * (1 if across > 0 else -1)
    return 0.6 * around + 2.0 * (0.75 - np.linalg.norm(cube)) * away


def _kept_inside(velocity: Array, obs: Observation) -> Array:
    """Without what would bring the robot nearer to a wall that it is close to."""
    position, (s, c) = obs["place"][:2], obs["place"][2:].astype(np.float64)
    axes = np.array([[c, -s], [s, c]])
    inward = axes @ velocity
    inward[(np.abs(position) > WALL - ROOM) & (np.sign(inward) == np.sign(position))] = 0.0
    return axes.T @ inward


def _towards(point: Array) -> float:
    return float(np.arctan2(point[1], point[0]))


def _told(velocity: Array, heading: float) -> Array:
    return np.clip(np.append(velocity, 2.0 * heading), -LIMITS, LIMITS)
