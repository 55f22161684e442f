"""Recording: episodes of play on Push-T, labelled as a tracker would."""

from typing import Any

import numpy as np

from glocal.tasks.play import PlayConfig, draw_placement, player
from glocal.tasks.pusht import REACH, Array, PushT, PushTConfig, Seen, reward_of


def record_episode(task: PushTConfig, play: PlayConfig, seed: int, number: int) -> dict[str, Array]:
    """One episode of play, (control steps + 1, ...) per field; the same for the same seed and number.

    Fields: `keypoints` (16), `agent` (2), `pose` (3) and, where the task has images, `image` (64, 64, 3); `action`,
    `reward`, `cont` (always 1: nothing ends by itself on this task) and `coverage`.
    """
    rng = np.random.default_rng([seed, number])
    env = PushT(task)
    hand = player(rng, play)
    next(hand)
    seen = env.reset(int(rng.integers(2**31)), draw_placement(rng, play))
    rows = [_row(seen, np.zeros(2))]
    for _ in range(task.control_steps):
        action = np.clip(hand.send(seen) * (REACH / task.reach), -1, 1)
        seen = env.step(action)
        rows.append(_row(seen, action))
    return {name: np.stack([row[name] for row in rows]) for name in rows[0]}


def _row(seen: Seen, action: Array) -> dict[str, Any]:
    keypoints = seen.keypoints.astype(np.float32)
    row = {
        "keypoints": keypoints,
        "agent": seen.agent.astype(np.float32),
        "pose": seen.pose.astype(np.float32),
        "action": action.astype(np.float32),
        "reward": reward_of(keypoints).astype(np.float32),
        "cont": np.float32(1.0),
        "coverage": np.float32(seen.coverage),
    }
    return row if seen.image is None else {**row, "image": seen.image}
