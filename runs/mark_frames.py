"""Marked frames, as a person would mark them who scrubs through some of the episodes that runs/record_logs.py recorded.

    python runs/mark_frames.py out/logs.truth.csv out/marks.csv

A success is a T within 20 px and pi/9 of its place. People have a page instead: `glocal data label classifier --mark`.
"""

import csv
from pathlib import Path

import numpy as np
import tyro

from glocal.runtime.files import atomic_write


def main(
    truth: tyro.conf.Positional[Path], out: tyro.conf.Positional[Path], episodes: int = 60, each: int = 3, seed: int = 0
) -> None:
    """Mark frames.

    Args:
        truth: What is true of every frame.
        out: The csv to write.
        episodes: How many are looked at.
        each: Successes, and failures, that are marked in each where there are so many.
        seed: Of the choice.
    """
    frames: dict[int, dict[int, list[int]]] = {}
    with truth.open(newline="") as file:
        for row in csv.DictReader(file):
            kinds = frames.setdefault(int(row["episode"]), {0: [], 1: []})
            kinds[int(row["success"])].append(int(row["frame"]))
    rng, rows = np.random.default_rng(seed), []
    for episode in sorted(rng.permutation(sorted(frames))[:episodes]):
        for kind, found in frames[episode].items():
            rows += [(episode, frame, kind) for frame in sorted(rng.permutation(found)[:each].astype(int))]
    with atomic_write(out) as draft, draft.open("w", newline="") as file:
        csv.writer(file).writerows([("episode", "frame", "success"), *rows])


if __name__ == "__main__":
    tyro.cli(main)
