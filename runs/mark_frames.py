"""Marked frames, as a person would mark them who scrubs through some recorded episodes.

    python runs/mark_frames.py out/logs.truth.csv out/marks.csv
    python runs/mark_frames.py out/push_cube_ego/logs out/marks.csv

What is true of Push-T's frames stands in a csv beside the logs of runs/record_logs.py: a success is a T within 20 px
and pi/9 of its place. Other recorders write `next.success`, of what a frame's action led to, and the next one shows.
People have a page instead: `glocal data label classifier --mark`.
"""

import csv
from pathlib import Path

import numpy as np
import tyro

from glocal.data.dataset import Dataset
from glocal.data.formats import open_dataset
from glocal.runtime.files import atomic_write

Frames = dict[int, dict[int, list[int]]]
"""By episode, which show no success (0) and which do (1)."""


def from_csv(path: Path) -> Frames:
    """Read the columns episode, frame and success."""
    frames: Frames = {}
    with path.open(newline="") as file:
        for row in csv.DictReader(file):
            kinds = frames.setdefault(int(row["episode"]), {0: [], 1: []})
            kinds[int(row["success"])].append(int(row["frame"]))
    return frames


def from_logs(logs: Dataset) -> Frames:
    """Read what each frame but an episode's first was told to be."""
    frames: Frames = {}
    for number in range(len(logs)):
        success = logs.episode(number, ["next.success"])["next.success"].reshape(-1)[:-1]
        frames[number] = {kind: (1 + np.flatnonzero(success == bool(kind))).tolist() for kind in (0, 1)}
    return frames


def main(
    truth: tyro.conf.Positional[Path], out: tyro.conf.Positional[Path], episodes: int = 60, each: int = 3, seed: int = 0
) -> None:
    """Mark frames.

    Args:
        truth: What is true of every frame: a csv, or logs that hold `next.success`.
        out: The csv to write.
        episodes: How many are looked at.
        each: Successes, and failures, that are marked in each where there are so many.
        seed: Of the choice.
    """
    frames = from_logs(open_dataset(truth)) if truth.is_dir() else from_csv(truth)
    rng, rows = np.random.default_rng(seed), []
    for episode in sorted(rng.permutation(sorted(frames))[:episodes]):
        for kind, found in frames[episode].items():
            rows += [(episode, frame, kind) for frame in sorted(rng.permutation(found)[:each].astype(int))]
    with atomic_write(out) as draft, draft.open("w", newline="") as file:
        csv.writer(file).writerows([("episode", "frame", "success"), *rows])


if __name__ == "__main__":
    tyro.cli(main)
