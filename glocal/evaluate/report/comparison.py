"""What a comparison found: a table and a plot over methods, with the spread over seeds."""

import html
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np

from glocal.evaluate.intervals import Count, difference, over_seeds, wilson
from glocal.evaluate.report.diagnosis import rank_correlation
from glocal.evaluate.report.page import figure_html, table_html, write_page
from glocal.runtime.files import write_json

mpl.use("Agg")
import matplotlib.pyplot as plt

Cells = Mapping[tuple[str, int], Mapping[str, Any]]
"""By method and seed: the verdict, the looks along training, and the seconds."""
TOO_FEW = "(too few seeds)"
REACHED = (0.5, 0.9)
"""Success rates for which it is told after how many imagined steps they were reached."""


@dataclass(frozen=True)
class Scored:
    """How success is counted on a task."""

    names: Mapping[str, str]
    """By what success is counted, and how it is called; what counts most comes first."""
    look: str
    """What of a look along training is held against the imagined reward, and how that is called."""
    looked: str

    @property
    def first(self) -> str:
        """What counts most."""
        return next(iter(self.names))

    @property
    def claims(self) -> dict[str, tuple[str, str]]:
        """What is imagined and what is real, by the kind of claim."""
        real = f"real success ({self.names[self.first]})"
        return {
            "own": ("imagined success, own world", real),
            "judge": ("imagined success, the judge's world", real),
            "looks": ("imagined reward of a control step", f"real {self.looked}"),
        }


PUSHT = Scored({"pose": "pose", "coverage95": "coverage > 0.95"}, "max_coverage", "mean largest coverage")
ROBOT = Scored(
    {"success": "success at any time", "success_at_end": "success at the end"}, "success", "success at any time"
)


def write_comparison(folder: Path, cells: Cells, episodes: int, scored: Scored) -> None:
    """Write `comparison.json` and `comparison.html`."""
    methods = list(dict.fromkeys(method for method, _ in cells))
    rows = {method: summary([cells[key] for key in cells if key[0] == method], scored) for method in methods}
    pairs = {world: claimed(cells, world, scored) for world in ("own", "judge")}
    pairs["looks"] = looked(cells, scored)
    claims = {name: {"policies": len(dots), "rank_correlation": ranked(dots)} for name, dots in pairs.items()}
    seeds = sorted({seed for _, seed in cells})
    against = {
        "method": methods[0],
        "differences": {name: differences(cells, name, methods[0], scored) for name in methods[1:]},
    }
    found = {"episodes": episodes, "seeds": seeds, "methods": rows, "against": against, "claims": claims}
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
    body = table_html(heads, lines) + note + _against(against, scored) + figure_html(_plot(cells, methods, scored))
    body += "<h2>Does imagination tell the truth?</h2>" + figure_html(_plot_claims(pairs, scored))
    write_page(folder / "comparison.html", "Comparison", body)


def claimed(cells: Cells, world: str, scored: Scored) -> list[tuple[float, float]]:
    """Imagined and real success of all policies that were judged in that world."""
    verdicts = [cell["verdict"] for cell in cells.values() if world in cell["verdict"]["claims"]]
    return [(_share(verdict["claims"][world]), _share(verdict[scored.first])) for verdict in verdicts]


def looked(cells: Cells, scored: Scored) -> list[tuple[float, float]]:
    """Imagined reward of a control step and what was real of all policies that were looked at along training."""
    rows = [row for cell in cells.values() for row in cell["looks"] if "trust/own" in row]
    return [(row["trust/own"], row[f"eval/{scored.look}"]) for row in rows]


def _share(count: Mapping[str, float]) -> float:
    return count["k"] / count["n"]


def ranked(pairs: Sequence[tuple[float, float]]) -> float | None:
    """Rank correlation, or None where there is none."""
    if len(pairs) < 2:
        return None
    imagined, real = np.array(pairs).T
    found = rank_correlation(imagined, real)
    return None if math.isnan(found) else found


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


def summary(cells: Sequence[Mapping[str, Any]], scored: Scored) -> dict[str, Any]:
    """One method over its seeds: all episodes together, and the mean over seeds with its interval."""
    found: dict[str, Any] = {"seconds": float(np.mean([cell["seconds"] for cell in cells]))}
    for name in scored.names:
        counts = [_count(cell, name) for cell in cells]
        pooled = wilson(sum(count.k for count in counts), sum(count.n for count in counts))
        steps = {str(rate): steps_to([cell["looks"] for cell in cells], name, rate) for rate in REACHED}
        found[name] = {
            "steps_to": steps,
            "pooled": pooled,
            "by_seed": over_seeds(counts),
        }
    return found


def differences(cells: Cells, method: str, other: str, scored: Scored) -> dict[str, Any]:
    """By score, how far a method's success is from another's, over seeds."""
    return {score: difference(_by_seed(cells, method, score), _by_seed(cells, other, score)) for score in scored.names}


def _by_seed(cells: Cells, method: str, score: str) -> dict[int, Count]:
    return {seed: _count(cell, score) for (name, seed), cell in cells.items() if name == method}


def _count(cell: Mapping[str, Any], score: str) -> Count:
    found = cell["verdict"][score]
    return Count(found["k"], found["n"])


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


def steps_to(looks: Sequence[Sequence[Mapping[str, float]]], score: str, rate: float) -> float | None:
    """Imagined steps at the first look by which the mean real success over seeds has come to a rate; None if never."""
    for rows in zip(*looks, strict=False):
        if np.mean([row[f"eval/{score}"] for row in rows]) >= rate:
            return float(rows[0]["imag/steps"])
    return None


def _cells(row: Mapping[str, Any], scored: Scored) -> list[str]:
    shown = []
    for name in scored.names:
        pooled, seeds = row[name]["pooled"], row[name]["by_seed"]
        spread = TOO_FEW if seeds["low"] is None else f"[{seeds['low']:.2f}, {seeds['high']:.2f}]"
        shown.append(f"{pooled['k']}/{pooled['n']} [{pooled['low']:.2f}, {pooled['high']:.2f}]")
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
