"""Logs of two arms as an ALOHA records them, made up: LeRobotDataset v3.0, 50 steps a second, 14 joints, two cameras.

    python runs/record_arms.py out/arms --episodes 40

Joints follow their targets with a lag; 6 of each arm are angles and the seventh is a gripper. Play moves both arms to
one posture after another. The reward is how near both are to a posture that is the same in all logs. Nothing here is a
real robot: it shows what becomes of logs of this form.
"""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import tyro

from glocal.data.dataset import Array, Feature
from glocal.data.formats.lerobot_writer import Layout, write_lerobot

FPS, JOINTS, PICTURE = 50, 14, (48, 64)
GRIPPERS = (6, 13)
NAMES = tuple(f"{side}_{i}" for side in ("left", "right") for i in range(7))
FEATURES = {
    "observation.state": Feature((JOINTS,), "float32", names=NAMES),
    "observation.images.top": Feature((*PICTURE, 3), "uint8", picture=True, names=("height", "width", "channels")),
    "observation.images.wrist": Feature((*PICTURE, 3), "uint8", picture=True, names=("height", "width", "channels")),
    "action": Feature((JOINTS,), "float32", names=NAMES),
    "next.reward": Feature((1,), "float32"),
    "next.done": Feature((1,), "bool"),
}
LIMIT = np.where(np.isin(np.arange(JOINTS), GRIPPERS), 0.5, 1.5)
GOAL = 0.6 * LIMIT * np.where(np.arange(JOINTS) % 2, 1, -1)


def record_episode(seed: int, steps: int, number: int) -> dict[str, Array]:
    """An episode's features, (steps, ...)."""
    rng = np.random.default_rng([seed, number])
    joints, target = rng.uniform(-1, 1, JOINTS) * LIMIT, np.zeros(JOINTS)
    rows: dict[str, list[Array]] = {name: [] for name in FEATURES}
    for t in range(steps):
        if t % 25 == 0:
            target = GOAL if rng.random() < 0.3 else rng.uniform(-1, 1, JOINTS) * LIMIT
        action = joints + np.clip(target - joints, -0.1, 0.1) + rng.normal(0, 0.005, JOINTS)
        rows["observation.state"].append(joints)
        rows["observation.images.top"].append(_picture(joints))
        rows["observation.images.wrist"].append(_picture(joints[::-1]))
        rows["action"].append(action)
        joints = joints + 0.6 * (action - joints)
        rows["next.reward"].append(np.array([-np.abs(joints - GOAL).mean()]))
        rows["next.done"].append(np.array([t == steps - 1]))
    return {name: np.array(values, FEATURES[name].dtype) for name, values in rows.items()}


def _picture(joints: Array) -> Array:
    """Bars as long as the angles are large."""
    picture = np.full((*PICTURE, 3), 230, np.uint8)
    for i, angle in enumerate(joints):
        length = int((np.clip(angle, -1.5, 1.5) + 1.5) / 3 * PICTURE[1])
        picture[3 * i : 3 * i + 2, :length] = (40, 90, 160)
    return picture


def main(out: tyro.conf.Positional[Path], episodes: int = 40, steps: int = 400, seed: int = 0) -> None:
    """Write the logs.

    Args:
        out: The folder to write; it must not exist.
        episodes: How many.
        steps: Of each, at 50 a second.
        seed: Of everything that is drawn.
    """
    write_lerobot(out, _episodes(seed, steps, episodes), Layout(FPS, FEATURES, "move to the posture"))


def _episodes(seed: int, steps: int, count: int) -> Iterator[dict[str, Array]]:
    for number in range(count):
        yield record_episode(seed, steps, number)


if __name__ == "__main__":
    tyro.cli(main, description=__doc__)
