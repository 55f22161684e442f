"""Play on Fetch, as a person would record it who tries this and that: LeRobotDataset v3.0, 25 steps a second.

    glocal bench record fetch-push out/fetch_push
    glocal bench record fetch-push-places out/fetch_push_places
    MUJOCO_GL=egl glocal bench record fetch-push-seen out/fetch_push_seen

A script holds the controls (Cartesian steps of the gripper, and its width). Its intent changes every second or two: to
bring the object to the goal, or elsewhere, or to shove it about from any side and at any speed, or to wander, or to
jerk the controls at random; it is clumsy to different degrees, and more or less in a hurry. Every episode begins where
the environment resets to, and lasts `--steps`. Rewards and success are the environment's own, and what is observed;
that has the object as seen from the gripper, too. With `--told places` gripper, object and goal are recorded each in
the room's axes, as a tracker would have them; with `--told pictures` the gripper's own numbers and what a camera shows.
"""

from collections.abc import Generator
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np
import tyro

from glocal.core.ranges import Count, Processes, Seed
from glocal.data.dataset import Array, Feature
from glocal.data.formats.lerobot_writer import Layout, check_new, write_lerobot
from glocal.runtime.progress import Ticker
from glocal.tasks.robot import make
from glocal_bench.record.playing import counted

FPS, HOLD = 25, 2
"""Of the environment, and its steps for which the controls are held."""
STEP = 0.05
"""Metres that an action of 1 asks for in a step."""
TABLE = 0.425
"""Height of the middle of an object that lies on the table."""
CAMERA = "observation.images.front"
SIDE = 96
VIEW = {"distance": 0.8, "azimuth": 180.0, "elevation": -55.0, "lookat": [1.33, 0.75, 0.44]}
"""Of the table, from in front of the robot."""
OWN = [*range(3), *range(9, 11), *range(20, 25)]
"""Of the environment's numbers those of the gripper: where it is, its fingers, and how fast they move."""
TRACKED = [*range(3, 6), *range(11, 14), *range(17, 20)]
"""Those of the object: where it is, how it is turned, and how fast it turns."""
GOAL = {"observation.desired_goal": Feature((3,), "float32")}
GRIPPER = {"observation.gripper": Feature((len(OWN),), "float32")}
DONE = {
    "action": Feature((4,), "float32", names=("dx", "dy", "dz", "gripper")),
    "next.reward": Feature((1,), "float32"),
    "next.success": Feature((1,), "bool"),
}
PICTURE = Feature((SIDE, SIDE, 3), "uint8", picture=True, names=("height", "width", "channels"))
FEATURES = {
    "everything": {"observation.observation": Feature((25,), "float32"), **GOAL, **DONE},
    "places": {**GRIPPER, "observation.object": Feature((len(TRACKED),), "float32"), **GOAL, **DONE},
    "pictures": {**GRIPPER, CAMERA: PICTURE, **DONE},
}
"""What is recorded, by what is told."""
Told = Literal["everything", "places", "pictures"]

Hand = Generator[Array, dict[str, Any], None]
"""Sent what is observed, it yields actions (4,)."""


def player(rng: np.random.Generator, lifts: bool) -> Hand:
    """Hands that push, or where objects are to be lifted, grasp and carry; one intent after the other."""
    seen = yield np.zeros(4)
    while True:
        intent = rng.choice(["goal", "elsewhere", "shove", "wander", "jerk"], p=[0.35, 0.15, 0.2, 0.15, 0.15])
        noise, hurry = rng.choice([0.05, 0.2, 0.5]), rng.choice([0.4, 0.7, 1.0], p=[0.3, 0.3, 0.4])
        if intent == "jerk":
            hand = _jerk(rng)
        elif intent == "shove":
            hand = _shove(rng)
        elif intent == "wander":
            hand = _wander(rng, seen)
        else:
            aim = None if intent == "goal" else _anywhere(rng, lifts)
            hand = _carry(aim, rng) if lifts else _push(aim)
        action = next(hand)
        short = intent in ("jerk", "wander", "shove")
        for _ in range(int(rng.integers(5, 12) if short else rng.integers(15, 45))):
            try:
                action = hand.send(seen)
            except StopIteration:
                break
            speed = 1.0 if intent == "jerk" else hurry
            clumsy = np.clip(action, -1, 1) * np.r_[speed, speed, speed, 1] + np.r_[rng.normal(0, noise, 3), 0]
            seen = yield np.clip(clumsy, -1, 1)


def _anywhere(rng: np.random.Generator, lifts: bool) -> Array:
    height = rng.uniform(0, 0.25) if lifts and rng.random() < 0.7 else 0.0
    return np.array([1.34, 0.75, TABLE + height]) + np.r_[rng.uniform(-0.17, 0.17, 2), 0]


def _jerk(rng: np.random.Generator) -> Hand:
    seen = yield np.zeros(4)
    del seen
    while True:
        action = rng.uniform(-1, 1, 4)
        for _ in range(int(rng.integers(1, 4))):
            yield action


def _shove(rng: np.random.Generator) -> Hand:
    """Through where the object is, from wherever the hand happens to be, at its height or a little above."""
    seen = yield np.zeros(4)
    beyond, height = rng.uniform(-0.02, 0.15), rng.choice([-0.005, 0.01, 0.04])
    aside, width = rng.uniform(-0.03, 0.03, 2), rng.uniform(-1, 1)
    while True:
        hand, thing = seen["observation"][:3], seen["observation"][3:6]
        way = thing[:2] - hand[:2]
        through = thing[:2] + aside + beyond * way / max(float(np.linalg.norm(way)), 1e-3)
        seen = yield np.r_[(np.r_[through, thing[2] + height] - hand) / STEP, width]


def _wander(rng: np.random.Generator, seen: dict[str, Any]) -> Hand:
    """To a place nearby, sometimes down to the table."""
    target = seen["observation"][:3] + rng.uniform(-0.15, 0.15, 3)
    width = rng.uniform(-1, 1)
    seen = yield np.zeros(4)
    while True:
        seen = yield np.r_[(target - seen["observation"][:3]) / STEP, width]


def _push(aim: Array | None) -> Hand:
    """Around the object, down behind it, and towards the aim (or the goal), until it lies there."""
    seen, pushing = (yield np.zeros(4)), False
    while True:
        hand, thing = seen["observation"][:3], seen["observation"][3:6]
        way = (seen["desired_goal"] if aim is None else aim)[:2] - thing[:2]
        left = float(np.linalg.norm(way))
        if left < 0.015:
            return
        along = way / left
        apart = hand[:2] - thing[:2]
        behind, aside = -float(apart @ along), abs(float(apart[0] * along[1] - apart[1] * along[0]))
        start = thing[:2] - 0.075 * along
        pushing = (pushing and aside < 0.045 and behind > 0) or (
            np.linalg.norm(hand[:2] - start) < 0.025 and hand[2] < TABLE + 0.01
        )
        if pushing:
            target = np.r_[thing[:2] + along * (min(left, 0.05) - 0.03), TABLE - 0.005]
        elif np.linalg.norm(hand[:2] - start) > 0.025:
            target = np.r_[hand[:2] if hand[2] < TABLE + 0.045 else start, TABLE + 0.09]
        else:
            target = np.r_[start, TABLE - 0.005]
        seen = yield np.r_[(target - hand) / STEP, -1.0]


def _carry(aim: Array | None, rng: np.random.Generator) -> Hand:
    """Above the object, open, down, shut, and to the aim (or the goal); then let go, now and then."""
    seen = yield np.zeros(4)
    keeps = rng.random() < 0.8
    while True:
        hand, thing = seen["observation"][:3], seen["observation"][3:6]
        target = seen["desired_goal"] if aim is None else aim
        apart = float(np.linalg.norm(hand[:2] - thing[:2]))
        width = float(seen["observation"][9:11].sum())
        held = apart < 0.02 and abs(hand[2] - thing[2]) < 0.02
        if held and width < 0.06:
            if np.linalg.norm(target - thing) < 0.02 and not keeps:
                seen = yield np.array([0.0, 0.0, 0.5, 1.0])
                return
            seen = yield np.r_[(target - hand) / STEP, -1.0]
        elif held:
            seen = yield np.array([0.0, 0.0, 0.0, -1.0])
        elif apart < 0.015:
            seen = yield np.r_[(thing - hand) / STEP, 1.0]
        else:
            above = np.r_[hand[:2] if hand[2] < thing[2] + 0.04 and apart < 0.06 else thing[:2], thing[2] + 0.08]
            seen = yield np.r_[(above - hand) / STEP, 1.0]


def record_episode(env_id: str, seed: int, steps: int, told: Told, number: int) -> dict[str, Array]:
    """An episode's features, (steps, ...)."""
    rng = np.random.default_rng([seed, number])
    features, camera = FEATURES[told], told == "pictures"
    env, rows = _env(env_id, camera), {name: [] for name in features}
    hand = player(rng, lifts="Pick" in env_id)
    next(hand)
    seen, _ = env.reset(seed=int(rng.integers(2**31)))
    while len(rows["action"]) < steps:
        action = hand.send(seen).astype(np.float32)
        for _ in range(HOLD):
            picture = env.render() if camera else None
            after, reward, _, _, info = env.step(action)
            row = {
                "observation.observation": seen["observation"],
                "observation.desired_goal": seen["desired_goal"],
                "observation.gripper": seen["observation"][OWN],
                "observation.object": seen["observation"][TRACKED],
                CAMERA: picture,
                "action": action,
                "next.reward": [reward],
                "next.success": [info["is_success"]],
            }
            for name in features:
                rows[name].append(row[name])
            seen = after
    return {name: np.array(rows[name][:steps], feature.dtype) for name, feature in features.items()}


_ENVS: dict[str, Any] = {}


def _env(env_id: str, camera: bool) -> Any:
    """One a process: making it takes longer than an episode."""
    if env_id not in _ENVS:
        filmed = {"render_mode": "rgb_array", "width": SIDE, "height": SIDE, "default_camera_config": VIEW}
        _ENVS[env_id] = make(env_id, **(filmed if camera else {}))
    return _ENVS[env_id]


def main(
    out: tyro.conf.Positional[Path],
    env: Literal["FetchPushDense-v4", "FetchPickAndPlaceDense-v4"] = "FetchPushDense-v4",
    episodes: Count = 800,
    steps: Count = 100,
    seed: Seed = 0,
    processes: Processes = 2,
    told: Told = "everything",
) -> None:
    """Record play.

    Args:
        out: The folder to write; it must not exist.
        env: Where.
        episodes: How many.
        steps: Of each, at 25 a second.
        seed: Of everything that is drawn.
        processes: That record at once.
        told: Of gripper, object and goal all numbers, or where each is, or the gripper's own numbers and pictures.
    """
    check_new(out)
    with ProcessPoolExecutor(processes) as pool, Ticker("record", episodes, unit="steps", per_iteration=steps) as tick:
        work = pool.map(partial(record_episode, env, seed, steps, told), range(episodes))
        task = "lift the object to the goal" if "Pick" in env else "push the object to the goal"
        write_lerobot(out, counted(work, tick), Layout(FPS, FEATURES[told], task))
