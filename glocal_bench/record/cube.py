"""Play on Push-Cube, as a person with a joystick would record it: LeRobotDataset v3.0, 5 steps a second.

    glocal bench record push-cube out/push_cube
    glocal bench record push-cube-seen out/push_cube_seen
    glocal bench record push-cube-ego out/push_cube_ego --episodes 200

How a joystick is held is told in `playing.py`. The intent is to push the cube to the goal, or elsewhere, or past the
middle of the cube so that it slips away; to walk straight into it, with whichever side of the body; to walk about, or
up to a wall and back; to jerk the joystick at random, or to leave it alone. Pictures need `MUJOCO_GL=egl` where there
is no screen.
"""

from functools import partial

import numpy as np

from glocal.data.dataset import Array
from glocal_bench.record.playing import FPS, Hand, Intent, Play, jerk, pause, recorder
from glocal_envs.push_cube import LIMITS, NAMES, PushCube
from glocal_envs.scripted import from_robot, go, push


def _to_goal(rng: np.random.Generator) -> Hand:
    del rng
    return _push(None, 0.0)


def _elsewhere(rng: np.random.Generator) -> Hand:
    return _push(_place(rng), 0.0)


def _slip(rng: np.random.Generator) -> Hand:
    return _push(_place(rng), rng.uniform(0.08, 0.25) * rng.choice([-1, 1]))


def _place(rng: np.random.Generator) -> Array | None:
    """Of the arena, or sometimes the goal."""
    return None if rng.random() < 0.3 else rng.uniform(-1.1, 1.1, 2)


def _push(place: Array | None, aside: float) -> Hand:
    """The cube to a place of the arena, or to the goal, until it has lain there for a second."""
    obs, there = (yield np.zeros(3)), 0
    while there < FPS:
        target = obs["task"][7:9] if place is None else from_robot(obs, place)
        there += float(np.linalg.norm(target - obs["task"][:2])) < 0.1
        obs = yield push(obs, target, aside)


def _shove(rng: np.random.Generator) -> Hand:
    return _into(rng.normal(0, rng.choice([0.2, 1.5])), rng.uniform(0.2, 0.7))


def _into(bearing: float, speed: float) -> Hand:
    """The cube and on, which is kept at an angle from straight ahead."""
    obs = yield np.zeros(3)
    while True:
        cube = obs["task"][:2]
        off = np.arctan2(cube[1], cube[0]) - bearing
        turn = np.arctan2(np.sin(off), np.cos(off))
        obs = yield np.append(speed * cube / np.linalg.norm(cube), turn)


def _walk(rng: np.random.Generator) -> Hand:
    return _to(rng.uniform(-1.6, 1.6, 2))


def _to(place: Array) -> Hand:
    obs = yield np.zeros(3)
    while np.linalg.norm(from_robot(obs, place)) > 0.1:
        obs = yield go(obs, from_robot(obs, place))


def _to_and_back(rng: np.random.Generator) -> Hand:
    """Into a wall, and backwards out again."""
    place = rng.permutation([2.2 * rng.choice([-1, 1]), rng.uniform(-1.5, 1.5)])
    obs = yield np.zeros(3)
    while np.abs(obs["place"][:2]).max() < 1.6:
        obs = yield go(obs, from_robot(obs, place))
    for _ in range(int(rng.integers(2, 6))):
        obs = yield go(obs, from_robot(obs, place))
    back = np.array([-rng.uniform(0.2, 0.6), *rng.uniform(-1, 1, 2) * LIMITS[1:]])
    for _ in range(int(rng.integers(3, 8))):
        yield back


PLAY = Play(
    env=PushCube,
    names=NAMES,
    own=("proprio", "command"),
    actions={"velocity": ("forward", "left", "turn")},
    limits=LIMITS,
    buttons=(),
    sides={"above": 96, "head": 64},
    intents={
        "goal": Intent(0.24, (30, 90), _to_goal),
        "elsewhere": Intent(0.18, (25, 70), _elsewhere),
        "slip": Intent(0.1, (20, 45), _slip),
        "shove": Intent(0.2, (10, 32), _shove),
        "walk": Intent(0.06, (8, 20), _walk),
        "wall": Intent(0.05, (12, 25), _to_and_back),
        "jerk": Intent(0.13, (6, 16), partial(jerk, LIMITS), trembles=False),
        "pause": Intent(0.04, (2, 7), partial(pause, LIMITS), trembles=False),
    },
    task="push the cube to the goal",
)

main = recorder(PLAY)
