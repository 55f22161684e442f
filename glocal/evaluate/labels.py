"""How good labels are: against marks, against another record of the truth, and to one's own eyes."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np

from glocal.evaluate.calibration import rank_correlation
from glocal.evaluate.report.page import figure_html, table_html, write_page
from glocal.tasks.pusht import Array

mpl.use("Agg")
import matplotlib.pyplot as plt

BINS = 5
QUANTILES = np.linspace(0, 1, 12)
"""Of the reward, at which frames are shown."""


def reliability(probability: Array, truth: Array) -> list[dict[str, float]]:
    """The reliability curve: in bins of what was claimed, how often it was so (Murphy and Winkler 1977)."""
    place = np.minimum((probability * BINS).astype(int), BINS - 1)
    return [
        {"claimed": float(probability[place == i].mean()), "true": float(truth[place == i].mean()), "n": int(n)}
        for i in range(BINS)
        if (n := (place == i).sum())
    ]


def classified(probability: Array, truth: Array) -> dict[str, Any]:
    """Accuracy, Brier score and reliability of claimed probabilities (n,) of what is so or not (n,)."""
    return {
        "frames": len(truth),
        "accuracy": float(((probability > 0.5) == (truth > 0.5)).mean()),
        "brier": float(((probability - truth) ** 2).mean()),
        "reliability": reliability(probability, truth),
    }


def compared(label: Mapping[str, Array], truth: Mapping[str, Array]) -> dict[str, float]:
    """Labels of frames against the truth, `reward` and `success` (n,) as far as both know them."""
    found = {}
    if "reward" in truth:
        found["rank_correlation"] = rank_correlation(label["reward"], truth["reward"])
    if "success" in truth:
        said, real = label["success"] > 0.5, truth["success"] > 0.5
        found["accuracy"] = float((said == real).mean())
        found["precision"] = float(real[said].mean()) if said.any() else float("nan")
        found["recall"] = float(said[real].mean()) if real.any() else float("nan")
    return {name: value for name, value in found.items() if np.isfinite(value)}


def write_labels_page(
    path: Path, about: Mapping[str, Any], frames: Sequence[tuple[float, Array]], curves: Mapping[int, Array]
) -> None:
    """A page with how labels were made, how good they are, frames (reward, picture) from worst to best where there are
    any, and the rewards along some episodes."""
    rows = [[name, str(value)] for name, value in about["how"].items()]
    body = "<h2>How they were made</h2>" + table_html(["", ""], rows)
    for name, part in about["calibration"].items():
        numbers = [[key, f"{value:.4g}"] for key, value in part.items() if isinstance(value, int | float)]
        body += f"<h2>{name}</h2>" + table_html(["", ""], numbers)
        if part.get("reliability"):
            body += figure_html(_plot_reliability(part["reliability"]))
    if frames:
        body += "<h2>Frames by reward</h2>" + figure_html(_plot_frames(frames))
    body += "<h2>Rewards along held-out episodes</h2>" + figure_html(_plot_curves(curves))
    write_page(path, "glocal: labels", body)


def _plot_reliability(rows: Sequence[Mapping[str, float]]) -> Any:
    figure, axes = plt.subplots(figsize=(4, 4))
    axes.plot([0, 1], [0, 1], lw=0.8, color="grey")
    axes.plot([row["claimed"] for row in rows], [row["true"] for row in rows], marker="o")
    for row in rows:
        axes.annotate(f"{row['n']:.0f}", (row["claimed"], row["true"]), fontsize=8)
    axes.set(xlabel="claimed probability", ylabel="share that is so", aspect="equal")
    return figure


def _plot_frames(frames: Sequence[tuple[float, Array]]) -> Any:
    figure, grid = plt.subplots(2, -(-len(frames) // 2), figsize=(1.6 * len(frames) / 2, 3.8), squeeze=False)
    for axes in grid.flat:
        axes.axis("off")
    for axes, (reward, picture) in zip(grid.flat, frames, strict=False):
        axes.imshow(picture)
        axes.set_title(f"{reward:.3f}", fontsize=8)
    figure.tight_layout()
    return figure


def _plot_curves(curves: Mapping[int, Array]) -> Any:
    figure, axes = plt.subplots(figsize=(9, 3.2))
    for number, rewards in curves.items():
        axes.plot(rewards, lw=0.8, label=f"episode {number}")
    axes.set(xlabel="frame", ylabel="reward")
    axes.legend(fontsize=7)
    return figure
