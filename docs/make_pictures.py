"""Makes the README's picture from a run: `python docs/make_pictures.py RUN`. Episodes in rows, time to the right."""

import sys
from pathlib import Path

import matplotlib as mpl
import numpy as np

from glocal.evaluate.report import draw_scene, empty_table

mpl.use("Agg")
import matplotlib.pyplot as plt

EPISODES, MOMENTS = 3, (0, 8, 16, 24, 32, 40, 60, 149)


def main() -> None:
    with np.load(Path(sys.argv[1]) / "evaluation" / "policy.npz", allow_pickle=False) as file:
        agent, keypoints = file["agent"], file["keypoints"]
    figure, grid = plt.subplots(EPISODES, len(MOMENTS), figsize=(1.5 * len(MOMENTS), 1.6 * EPISODES))
    for row in range(EPISODES):
        for column, t in enumerate(MOMENTS):
            axes = grid[row, column]
            empty_table(axes, f"{t / 5:.1f} s" if row == 0 else "")
            axes.plot(*agent[row, max(0, t - 8) : t + 1].T, color="royalblue", lw=0.8)
            draw_scene(axes, keypoints[row, t], agent[row, t])
    figure.tight_layout(pad=0.3)
    figure.savefig(Path(__file__).parent / "policy.png", dpi=80)


if __name__ == "__main__":
    main()
