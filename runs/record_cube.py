"""Play on Push-Cube, as a person with a joystick would record it: LeRobotDataset v3.0, 5 steps a second.

    python runs/record_cube.py out/push_cube --episodes 200 --steps 200
    MUJOCO_GL=egl python runs/record_cube.py out/push_cube_seen --episodes 200 --steps 200 --camera above
    MUJOCO_GL=egl python runs/record_cube.py out/push_cube_ego --episodes 200 --steps 200 --camera head

A script holds the joystick, and sees what the environment lets be observed. Its intent changes every few seconds: to
push the cube to the goal, or elsewhere, or past the middle of the cube so that it slips away; to walk
straight into it, with whichever side of the body; to walk about, or up to a wall and back; to jerk the joystick at
random, or to leave it alone. Its hand trembles and drifts, to different degrees. Every episode begins where the
environment resets to, and lasts `--steps`, or until the robot falls. Rewards, success and falls (`next.done`) are the
environment's own. With `--camera` pictures are recorded in place of the tracked cube and the goal: of a camera above
the arena, or of the one in the robot's head. With `--varied` cubes and light differ from episode to episode.
"""

from collections.abc import Generator, Iterator
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np
import tyro

from glocal.data.dataset import Array, Feature
from glocal.data.formats.lerobot_writer import Layout, write_lerobot
from glocal.runtime.progress import Ticker
from glocal_envs.push_cube import LIMITS, NAMES, PushCube
from glocal_envs.scripted import from_robot, go, push

FPS = 5
OBSERVED = {f"observation.{name}": Feature((len(words),), "float32", names=words) for name, words in NAMES.items()}
FEATURES = OBSERVED | {
    "action.velocity": Feature((3,), "float32", names=("forward", "left", "turn")),
    "next.reward": Feature((1,), "float32"),
    "next.success": Feature((1,), "bool"),
    "next.done": Feature((1,), "bool"),
}
SIDES = {"above": 96, "head": 64}
"""Of each camera's pictures, in pixels."""
INTENTS = {
    "goal": 0.24, "elsewhere": 0.18, "slip": 0.1, "shove": 0.2, "walk": 0.06, "wall": 0.05,
    "jerk": 0.13, "pause": 0.04,
}  # fmt: skip
"""How often each is chosen."""
LASTS = {
    "goal": (30, 90), "elsewhere": (25, 70), "slip": (20, 45), "shove": (10, 32), "walk": (8, 20),
    "wall": (12, 25), "jerk": (6, 16), "pause": (2, 7),
}  # fmt: skip
"""Fewest and most control steps."""
TREMBLES, DRIFTS = (0.05, 0.15, 0.35), (0.0, 0.0, 0.15)
"""Shares of the limits, one of which is drawn with each intent."""

Hand = Generator[Array, dict[str, Array], None]
"""Sent what is observed, it yields actions (3,)."""


def player(rng: np.random.Generator) -> Hand:
    """One intent after the other."""
    obs, tremble = (yield np.zeros(3)), np.zeros(3)
    while True:
        intent = rng.choice(list(INTENTS), p=list(INTENTS.values()))
        wish, size, bias = _wish(intent, rng), rng.choice(TREMBLES), rng.normal(0, rng.choice(DRIFTS), 3)
        next(wish)
        for _ in range(int(rng.integers(*LASTS[intent]))):
            try:
                action = wish.send(obs)
            except StopIteration:
                break
            if intent not in ("jerk", "pause"):
                tremble = 0.7 * tremble + rng.normal(0, 1, 3) * size
                action = action + LIMITS * (tremble + bias)
            obs = yield np.clip(action, -LIMITS, LIMITS)


def _wish(intent: str, rng: np.random.Generator) -> Hand:
    if intent == "jerk":
        return _jerk(rng)
    if intent == "pause":
        return _pause()
    if intent == "wall":
        return _to_and_back(rng)
    if intent == "shove":
        return _shove(rng.normal(0, rng.choice([0.2, 1.5])), rng.uniform(0.2, 0.7))
    if intent == "walk":
        return _walk(rng.uniform(-1.6, 1.6, 2))
    place = None if intent == "goal" or rng.random() < 0.3 else rng.uniform(-1.1, 1.1, 2)
    return _push(place, rng.uniform(0.08, 0.25) * rng.choice([-1, 1]) if intent == "slip" else 0.0)


def _push(place: Array | None, aside: float) -> Hand:
    """The cube to a place of the arena, or to the goal, until it has lain there for a second."""
    obs, there = (yield np.zeros(3)), 0
    while there < FPS:
        target = obs["task"][7:9] if place is None else from_robot(obs, place)
        there += float(np.linalg.norm(target - obs["task"][:2])) < 0.1
        obs = yield push(obs, target, aside)


def _shove(bearing: float, speed: float) -> Hand:
    """Into the cube and on, which is kept at an angle from straight ahead."""
    obs = yield np.zeros(3)
    while True:
        cube = obs["task"][:2]
        off = np.arctan2(cube[1], cube[0]) - bearing
        turn = np.arctan2(np.sin(off), np.cos(off))
        obs = yield np.append(speed * cube / np.linalg.norm(cube), turn)


def _walk(place: Array) -> Hand:
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


def _jerk(rng: np.random.Generator) -> Hand:
    while True:
        action = rng.uniform(-LIMITS, LIMITS)
        for _ in range(int(rng.integers(1, 4))):
            yield action


def _pause() -> Hand:
    while True:
        yield np.zeros(3)


def features(camera: str | None) -> dict[str, Feature]:
    """What is recorded."""
    if camera is None:
        return FEATURES
    told = {name: one for name, one in FEATURES.items() if name != "observation.task"}
    shape = (SIDES[camera], SIDES[camera], 3)
    picture = Feature(shape, "uint8", picture=True, names=("height", "width", "channels"))
    return told | {f"observation.images.{camera}": picture}


def record_episode(seed: int, steps: int, camera: Any, varied: bool, number: int) -> dict[str, Array]:
    """An episode's features, (steps, ...), or fewer where the robot fell."""
    side, recorded = SIDES.get(camera, 0), features(camera)
    env = PushCube("rgb_array" if camera else None, side, side, camera or "above", varied=varied)
    rng = np.random.default_rng([seed, number])
    rows: dict[str, list[Any]] = {name: [] for name in FEATURES | recorded}
    hand = player(rng)
    next(hand)
    obs, _ = env.reset(seed=int(rng.integers(2**31)))
    fallen = False
    while len(rows["action.velocity"]) < steps and not fallen:
        if camera:
            rows[f"observation.images.{camera}"].append(env.render())
        action = hand.send(obs).astype(np.float32)
        after, reward, fallen, _, info = env.step(action)
        told = (*(obs[name] for name in NAMES), action, [reward], [info["is_success"]], [fallen])
        for name, value in zip(FEATURES, told, strict=True):
            rows[name].append(value)
        obs = after
    env.close()
    return {name: np.array(rows[name], feature.dtype) for name, feature in recorded.items()}


def main(
    out: tyro.conf.Positional[Path],
    episodes: int = 200,
    steps: int = 200,
    seed: int = 0,
    processes: int = 2,
    camera: Literal["above", "head"] | None = None,
    varied: bool = False,
) -> None:
    """Record play.

    Args:
        out: The folder to write; it must not exist.
        episodes: How many.
        steps: Of each at most, at 5 a second.
        seed: Of everything that is drawn.
        processes: That record at once.
        camera: Record what this camera shows in place of cube and goal.
        varied: Draw the cube's size, mass and friction and the light with each episode.
    """
    with ProcessPoolExecutor(processes) as pool, Ticker("record", episodes, unit="steps", per_iteration=steps) as tick:
        work = pool.map(partial(record_episode, seed, steps, camera, varied), range(episodes))
        write_lerobot(out, _counted(work, tick), Layout(FPS, features(camera), "push the cube to the goal"))


def _counted(work: Iterator[dict[str, Array]], tick: Ticker) -> Iterator[dict[str, Array]]:
    for number, episode in enumerate(work):
        yield episode
        tick(number + 1)


if __name__ == "__main__":
    tyro.cli(main, description=__doc__)
