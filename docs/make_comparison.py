"""Makes the picture of comparisons in docs/results.md: `python docs/make_comparison.py "LABEL=STUDY/METHOD" ...`.

`comparison.png`: real success while policies are trained in imagination, the mean over a method's seeds and its range.
"""

import sys
from pathlib import Path

import matplotlib as mpl
import numpy as np

from glocal.runtime.trainer import read_log

mpl.use("Agg")
import matplotlib.pyplot as plt

HERE = Path(__file__).parent


def rates(method: Path, score: str) -> tuple[np.ndarray, np.ndarray]:
    """Imagined steps in millions (n,), and success rates of all seeds at these (seeds, n)."""
    logs = [[row for row in read_log(seed / "policy") if "eval/pose" in row] for seed in sorted(method.glob("seed*"))]
    count = min(map(len, logs))
    steps = np.array([row["imag/steps"] for row in logs[0][:count]]) / 1e6
    return steps, np.array([[row[f"eval/{score}"] for row in rows[:count]] for rows in logs])


def main(given: list[str]) -> None:
    figure, panels = plt.subplots(1, 2, figsize=(9.5, 3.4), sharey=True)
    for label, method in (argument.split("=", 1) for argument in given):
        for axes, score in zip(panels, ("pose", "coverage95"), strict=True):
            steps, found = rates(Path(method), score)
            (line,) = axes.plot(steps, found.mean(0), marker="o", ms=3, label=f"{label} ({len(found)})")
            axes.fill_between(steps, found.min(0), found.max(0), alpha=0.13, lw=0, color=line.get_color())
    for axes, title in zip(panels, ("block within 20 px and pi/9", "coverage > 0.95"), strict=True):
        axes.set(xlabel="million imagined steps", xscale="log", title=title, ylim=(-0.03, 1.03))
    panels[0].set_ylabel("real success (20 episodes a point)")
    panels[1].legend(fontsize=8)
    figure.tight_layout()
    figure.savefig(HERE / "comparison.png", dpi=80)


if __name__ == "__main__":
    main(sys.argv[1:])
