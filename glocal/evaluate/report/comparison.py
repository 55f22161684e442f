"""What a comparison found: a table and a plot over methods, with the spread over seeds."""

import html
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np

from glocal.evaluate.intervals import in_words
from glocal.evaluate.report.page import figure_html, table_html, write_page
from glocal.evaluate.scores import REACHED, Cells, Scored, compared, ranked
from glocal.runtime.files import write_json

mpl.use("Agg")
import matplotlib.pyplot as plt

TOO_FEW = "(too few seeds)"


def write_comparison(folder: Path, cells: Cells, episodes: int, scored: Scored) -> None:
    """Write `comparison.json` and `comparison.html`."""
    found, pairs = compared(cells, episodes, scored)
    rows, methods = found["methods"], list(found["methods"])
    write_json(folder / "comparison.json", found)
    lines = [[method, *_cells(row, scored)] for method, row in rows.items()]
    reached = [f"{scored.names[scored.first]} {rate:.0%} after" for rate in REACHED]
    counted = [head for name in scored.names.values() for head in (f"{name}, all seeds", "by seed")]
    heads = ["", *counted, *reached, "seconds a seed"]
    note = (
        f"<p>{episodes} episodes a seed, from the same initial states for all; in brackets 95 % intervals of the "
        "success rate: Wilson's over all episodes, and a bootstrap's over seeds and the episodes of each. Lines: mean "
        "over seeds, with its range.</p>"
    )
    body = (
        table_html(heads, lines)
        + note
        + _against(found["against"], scored)
        + figure_html(_plot(cells, methods, scored))
    )
    body += "<h2>Does imagination tell the truth?</h2>" + figure_html(_plot_claims(pairs, scored))
    write_page(folder / "comparison.html", "Comparison", body)


def _plot_claims(pairs: Mapping[str, Sequence[tuple[float, float]]], scored: Scored) -> Any:
    figure, panels = plt.subplots(1, len(pairs), figsize=(4 * len(pairs), 3.6))
    for axes, (name, dots) in zip(panels, pairs.items(), strict=True):
        axes.plot(*np.array(dots).reshape(-1, 2).T, "o", ms=4)
        found = ranked(dots)
        title = f"{len(dots)} policies" if found is None else f"{len(dots)} policies, rank correlation {found:.2f}"
        imagined, real = scored.claims[name]
        axes.set(xlabel=imagined, ylabel=real, title=title)
    figure.tight_layout()
    return figure


def _against(against: Mapping[str, Any], scored: Scored) -> str:
    """The differences as a table; nothing where there is but one method."""
    lines = [
        [name, *(_apart(found[score]) for score in scored.names)] for name, found in against["differences"].items()
    ]
    if not lines:
        return ""
    note = (
        "<p>Differences of the success rate, with a bootstrap's 95 % intervals over seeds and the episodes of each; p "
        "is a permutation test's over seeds. Each is told by itself: of many methods some differ by chance.</p>"
    )
    return f"<h2>Against {html.escape(against['method'])}</h2>" + table_html(["", *scored.names.values()], lines) + note


def _apart(found: Mapping[str, Any]) -> str:
    told = f"{found['difference']:+.2f}"
    if found["low"] is None:
        return f"{told} {TOO_FEW}"
    return f"{told} [{found['low']:+.2f}, {found['high']:+.2f}], p {found['p']:.2g}"


def _cells(row: Mapping[str, Any], scored: Scored) -> list[str]:
    shown = []
    for name in scored.names:
        pooled, seeds = row[name]["pooled"], row[name]["by_seed"]
        spread = TOO_FEW if seeds["low"] is None else f"[{seeds['low']:.2f}, {seeds['high']:.2f}]"
        shown.append(in_words(pooled))
        shown.append(f"{seeds['mean']:.2f} {spread}")
    steps = ["-" if steps is None else f"{steps / 1e6:.2f} M" for steps in row[scored.first]["steps_to"].values()]
    return [*shown, *steps, f"{row['seconds']:.0f}"]


def _plot(cells: Cells, methods: Sequence[str], scored: Scored) -> Any:
    figure, grid = plt.subplots(2, 2, figsize=(10, 6), sharey=True)
    for method in methods:
        looks = [cell["looks"] for (name, _), cell in cells.items() if name == method]
        if not all(looks):
            continue
        steps = np.array([row["imag/steps"] for row in looks[0]]) / 1e6
        seconds = np.mean([cell["seconds"] for (name, _), cell in cells.items() if name == method])
        for line, score in zip(grid, scored.names, strict=True):
            rates = np.array([[row[f"eval/{score}"] for row in rows[: len(steps)]] for rows in looks])
            for axes, x in zip(line, (steps, steps / steps[-1] * seconds), strict=True):
                axes.plot(x, rates.mean(0), marker="o", ms=3, label=method)
                axes.fill_between(x, rates.min(0), rates.max(0), alpha=0.15, lw=0)
    for axes, label in zip(grid[1], ("million imagined steps", "seconds"), strict=True):
        axes.set(xlabel=label)
    for axes, label in zip(grid[:, 0], scored.names.values(), strict=True):
        axes.set(ylabel=f"real success: {label}", ylim=(-0.03, 1.03))
    if grid[0, 0].lines:  # cloning is looked at when it is done, and never before
        grid[0, 0].legend()
    figure.tight_layout()
    return figure
