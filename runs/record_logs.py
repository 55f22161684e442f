"""Recorded robot logs as they come from a laboratory: LeRobotDataset v3.0, 96x96 pictures at 10 fps, no rewards.

    python runs/record_logs.py out/logs --episodes 200

gym-pusht stands in for the robot, a script at its controls for the person. Actions are absolute targets in pixels, the
state is the agent's position. Beside them, as a person would make them: out/logs.goals/, pictures of the T put on its
place by hand. What the environment knew besides is written apart, to out/logs.truth.csv, so that labels can be compared
with it; nothing in out/logs tells it.
"""

import csv
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import tyro
from PIL import Image

from glocal.data.dataset import Array, Feature
from glocal.data.formats.lerobot_writer import Layout, write_lerobot
from glocal.runtime.files import atomic_write
from glocal.runtime.progress import Ticker
from glocal.tasks.play import PlayConfig, draw_placement, player
from glocal.tasks.pusht import GOAL, HOLD, REACH, TABLE, PushT, PushTConfig, Seen, pose_reached, reward_of

PICTURE, FPS = (96, 96), 10
FEATURES = {
    "observation.image": Feature((*PICTURE, 3), "uint8", picture=True, names=("height", "width", "channels")),
    "observation.state": Feature((2,), "float32", names=("x", "y")),
    "action": Feature((2,), "float32", names=("x", "y")),
}
CORNERS = ((60, 60), (450, 60), (60, 450), (450, 450))
"""Where the agent stands while the goal is photographed."""
TRUTH = ("episode", "frame", "reward", "success", "coverage", "x", "y", "angle")


def record_episode(seed: int, steps: int, hold: int, number: int) -> tuple[dict[str, Array], list[tuple[Any, ...]]]:
    """An episode's features, (steps, ...), and what is true of each of its frames."""
    rng = np.random.default_rng([seed, number])
    play = PlayConfig()
    env, hand = PushT(PushTConfig(images=True), PICTURE), player(rng, play)
    next(hand)
    seen = env.reset(int(rng.integers(2**31)), draw_placement(rng, play))
    frames: list[Seen] = []
    targets: list[Array] = []
    while len(frames) < steps:
        target = np.clip(seen.agent + REACH * np.clip(hand.send(seen), -1, 1), 0, TABLE)
        for _ in range(hold):
            frames.append(seen)
            targets.append(target)
            seen = env.move(target)
    features = {
        "observation.image": np.stack([frame.image for frame in frames]),
        "observation.state": np.stack([frame.agent for frame in frames]).astype(np.float32),
        "action": np.stack(targets).astype(np.float32),
    }
    rewards = reward_of(np.stack([frame.keypoints for frame in frames]))
    rows = zip(frames, rewards, strict=True)
    return features, [
        (number, t, reward, int(pose_reached(frame.pose)), frame.coverage, *frame.pose)
        for t, (frame, reward) in enumerate(rows)
    ]


def photograph_goal(folder: Path) -> None:
    """Pictures of the T on its place, the agent in one corner after the other."""
    env = PushT(PushTConfig(images=True), PICTURE)
    for number, corner in enumerate(CORNERS):
        seen = env.reset(0, np.array([*corner, *GOAL]))
        with atomic_write(folder / f"{number}.png") as draft, draft.open("wb") as file:
            Image.fromarray(seen.image).save(file, "PNG")


def main(
    out: tyro.conf.Positional[Path],
    episodes: int = 200,
    steps: int = 300,
    hold: int = HOLD,
    seed: int = 0,
    jobs: int = 2,
) -> None:
    """Record logs.

    Args:
        out: The folder to write; it must not exist.
        episodes: How many.
        steps: Frames in each; a multiple of --hold.
        hold: Frames for which a target stays what it is.
        seed: Of everything.
        jobs: Processes that record at once.
    """
    truth: list[tuple[Any, ...]] = []

    def recorded() -> Iterator[dict[str, Array]]:
        with ProcessPoolExecutor(jobs) as pool, Ticker("record", episodes, unit="frames", per_iteration=steps) as tick:
            found = pool.map(partial(record_episode, seed, steps, hold), range(episodes))
            for number, (features, rows) in enumerate(found):
                truth.extend(rows)
                yield features
                tick(number + 1)

    photograph_goal(out.with_name(out.name + ".goals"))
    write_lerobot(out, recorded(), Layout(FPS, FEATURES, "Push the T to its place."))
    with atomic_write(out.with_name(out.name + ".truth.csv")) as draft, draft.open("w", newline="") as file:
        csv.writer(file).writerows([TRUTH, *truth])


if __name__ == "__main__":
    tyro.cli(main)
