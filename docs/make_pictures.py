"""Makes the pictures of README.md and docs/results.md from finished runs: `python docs/make_pictures.py RUN [RUN ...]`.

`policy.png`: episodes of the first run's policy in the real environment, in rows, time to the right. `learning.png`:
what the real environment said while the policies of all runs were trained. Where the first run's observations come
from images, the names end in `_images.png`, and `imagined.png` shows what its global model imagines, with its points.
"""

import sys
from pathlib import Path

import matplotlib as mpl
import numpy as np

from glocal.evaluate.report.run import draw_scene, empty_table
from glocal.runtime.trainer import read_log
from glocal.tasks.pusht import TABLE

mpl.use("Agg")
import matplotlib.pyplot as plt

EPISODES, MOMENTS = 3, (0, 5, 10, 15, 20, 25, 30, 40, 60)
HERE = Path(__file__).parent


def imagined(run: Path, rows: int = 2) -> None:
    """Recorded rollouts, and under each what the global model makes of its start and actions; every second step."""
    with np.load(run / "gates" / "rollouts.npz", allow_pickle=False) as file:
        kept = dict(file)
    moments = range(1, kept["recorded_image"].shape[1], 2)
    figure, grid = plt.subplots(2 * rows, len(moments), figsize=(1.1 * len(moments), 2.25 * rows))
    for line, pictures in enumerate(grid):
        side, row = ("recorded", "imagined")[line % 2], line // 2
        for axes, t in zip(pictures, moments, strict=True):
            axes.imshow(kept[f"{side}_image"][row, t], extent=(0, TABLE, TABLE, 0))
            axes.scatter(*kept[f"{side}_points"][row, t].reshape(-1, 2).T, s=3, c="crimson")
            axes.set(xticks=[], yticks=[])
            axes.set_title(f"{(t + 1) / 5:.1f} s" if line == 0 else "", fontsize=8)
        pictures[0].set_ylabel(side, fontsize=8)
    figure.tight_layout(pad=0.3)
    figure.savefig(HERE / "imagined.png", dpi=80)


def film(run: Path, name: str) -> None:
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
    figure.savefig(HERE / name, dpi=80)


def learning(runs: list[Path], name: str) -> None:
    figure, panels = plt.subplots(1, 2, figsize=(9, 3), sharey=True)
    for run in runs:
        looks = [row for row in read_log(run / "policy") if "eval/pose" in row]
        steps = [row["imag/steps"] / 1e6 for row in looks]
        for axes, score in zip(panels, ("pose", "coverage95"), strict=True):
            axes.plot(steps, [row[f"eval/{score}"] for row in looks], marker="o", ms=3, label=run.name)
    for axes, title in zip(panels, ("block within 20 px and pi/9", "coverage > 0.95"), strict=True):
        axes.set(xlabel="million imagined steps", title=title, ylim=(-0.03, 1.03))
    panels[0].set_ylabel("real success (20 episodes a point)")
    panels[1].legend()
    figure.tight_layout()
    figure.savefig(HERE / name, dpi=80)


if __name__ == "__main__":
    given = [Path(argument) for argument in sys.argv[1:]]
    from_images = (given[0] / "data" / "image.npy").is_file()
    ending = "_images.png" if from_images else ".png"
    film(given[0], f"policy{ending}")
    learning(given, f"learning{ending}")
    if from_images:
        imagined(given[0])
