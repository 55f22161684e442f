"""Play on grasp and lift, as a person would teleoperate it: LeRobotDataset v3.0, 5 steps a second.

    glocal bench record grasp-lift out/grasp_lift
    glocal bench record grasp-lift-ego out/grasp_lift_ego

How a joystick is held is told in `playing.py`. The intent is to lift the cube and hold it, or carry it somewhere and
let go there; to grasp beside it; to shove it with the closed or the open hand; to drag it away from the rim; to move
about with the gripper opening and closing; to jerk the joystick, or to leave it alone. Pictures need `MUJOCO_GL=egl`
where there is no screen.
"""

from functools import partial

import numpy as np

from glocal.data.dataset import Array
from glocal_bench.record.playing import Hand, Intent, Play, jerk, recorder
from glocal_envs.grasp_lift import HIGH, LIMITS, LOW, NAMES, TABLE, GraspLift
from glocal_envs.scripted import holds, lift, move_hand

OPEN, SHUT = -1.0, 1.0
RESTING = TABLE + 0.03
"""Height of the hand where it holds a cube that lies on the table, m."""


def _hold(rng: np.random.Generator) -> Hand:
    """Lift the cube, and hold it."""
    del rng
    obs = yield np.zeros(4)
    while True:
        obs = yield lift(obs)


def _carry(rng: np.random.Generator) -> Hand:
    """Lift the cube, bring it somewhere, and open the hand there, however high that is."""
    return _brought(rng.uniform(LOW + 0.02, HIGH - 0.02))


def _drag(rng: np.random.Generator) -> Hand:
    """Grasp the cube and pull it over the table to somewhere near the tray's middle."""
    x, y = rng.uniform([0.26, -0.18], [0.37, 0.0])
    return _brought(np.array([x, y, RESTING]))


def _brought(place: Array) -> Hand:
    obs = yield np.zeros(4)
    while not holds(obs):
        obs = yield lift(obs)
    while holds(obs) and np.linalg.norm(place - obs["hand"]) > 0.02:
        obs = yield move_hand(obs, place - obs["hand"], SHUT)
    for _ in range(3):
        obs = yield move_hand(obs, np.zeros(3), OPEN)


def _beside(rng: np.random.Generator) -> Hand:
    """Grasp as if the cube were some centimetres from where it is."""
    aside = np.append(rng.normal(0, 0.03, 2), 0.0)
    obs = yield np.zeros(4)
    while True:
        obs = yield lift(obs | {"task": obs["task"] + np.pad(aside, (0, 6))})


def _shove(rng: np.random.Generator) -> Hand:
    """Down beside the cube, and through where it is."""
    bearing, grip, height = rng.uniform(-np.pi, np.pi), rng.choice([OPEN, SHUT]), rng.uniform(-0.02, 0.02)
    away = np.array([np.cos(bearing), np.sin(bearing), 0.0])
    obs = yield np.zeros(4)
    for offset, down in ((-0.09 * away, 0.1), (-0.09 * away, height), (0.06 * away, height)):
        for _ in range(8):
            way = obs["task"][:3] + offset + [0.0, 0.0, down]
            if np.linalg.norm(way) < 0.02:
                break
            obs = yield move_hand(obs, way, grip)


def _wander(rng: np.random.Generator) -> Hand:
    """To places within reach, with the gripper as it happens to be."""
    obs = yield np.zeros(4)
    while True:
        place, grip = rng.uniform(LOW, HIGH), rng.choice([OPEN, SHUT])
        for _ in range(int(rng.integers(3, 9))):
            obs = yield move_hand(obs, place - obs["hand"], grip)


def _pause(rng: np.random.Generator) -> Hand:
    """Leave the joystick alone, and the grip as it is."""
    del rng
    obs = yield np.zeros(4)
    while True:
        obs = yield np.array([0.0, 0.0, 0.0, SHUT if obs["command"][3] > 0 else OPEN])


PLAY = Play(
    env=GraspLift,
    names=NAMES,
    own=("joints", "hand", "command"),
    actions={"delta": ("x", "y", "z"), "gripper": ("grip",)},
    limits=LIMITS,
    buttons=(3,),
    sides={"head": 64},
    intents={
        "hold": Intent(0.2, (10, 30), _hold),
        "carry": Intent(0.2, (15, 40), _carry),
        "drag": Intent(0.14, (12, 30), _drag),
        "beside": Intent(0.14, (8, 20), _beside),
        "shove": Intent(0.12, (8, 24), _shove),
        "wander": Intent(0.1, (5, 20), _wander),
        "jerk": Intent(0.07, (5, 12), partial(jerk, LIMITS), trembles=False),
        "pause": Intent(0.03, (2, 7), _pause, trembles=False),
    },
    task="lift the cube from the tray",
)

main = recorder(PLAY)
