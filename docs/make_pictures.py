"""Makes the README's pictures from finished runs: `python docs/make_pictures.py RUN [RUN ...]`.

`policy.png`: episodes of the first run's policy in the real environment, in rows, time to the right. `learning.png`:
what the real environment said while the policies of all runs were trained.
"""

import sys
from pathlib import Path

import matplotlib as mpl
import numpy as np

from glocal.evaluate.report import draw_scene, empty_table
from glocal.training import read_log

mpl.use("Agg")
import matplotlib.pyplot as plt

EPISODES, MOMENTS = 3, (0, 5, 10, 15, 20, 25, 30, 40, 60)
HERE = Path(__file__).parent


def film(run: Path) -> None:
    with np.load(run / "evaluation" / "policy.npz", allow_pickle=False) as file:
        agent, keypoints = file["agent"], file["keypoints"]
    figure, grid = plt.subplots(EPISODES, len(MOMENTS), figsize=(1.4 * len(MOMENTS), 1.5 * EPISODES))
    for row in range(EPISODES):
        for column, t in enumerate(MOMENTS):
            axes = grid[row, column]
            empty_table(axes, f"{t / 5:.0f} s" if row == 0 else "")
            axes.plot(*agent[row, max(0, t - 5) : t + 1].T, color="royalblue", lw=0.8)
            draw_scene(axes, keypoints[row, t], agent[row, t])
    figure.tight_layout(pad=0.3)
    figure.savefig(HERE / "policy.png", dpi=80)


def learning(runs: list[Path]) -> None:
    figure, panels = plt.subplots(1, 2, figsize=(9, 3), sharey=True)
    for run in runs:
        looks = [row for row in read_log(run / "policy") if "eval/pose" in row]
        steps = [row["imag/steps"] / 1e6 for row in looks]
        for axes, name in zip(panels, ("pose", "coverage95"), strict=True):
            axes.plot(steps, [row[f"eval/{name}"] for row in looks], marker="o", ms=3, label=run.name)
    for axes, title in zip(panels, ("block within 20 px and pi/9", "coverage > 0.95"), strict=True):
        axes.set(xlabel="million imagined steps", title=title, ylim=(-0.03, 1.03))
    panels[0].set_ylabel("real success (20 episodes a point)")
    panels[1].legend()
    figure.tight_layout()
    figure.savefig(HERE / "learning.png", dpi=80)


if __name__ == "__main__":
    film(Path(sys.argv[1]))
    learning([Path(run) for run in sys.argv[1:]])
