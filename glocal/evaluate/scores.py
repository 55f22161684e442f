"""What a comparison comes to: success by method, over seeds, and how true what was imagined is."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from glocal.evaluate.calibration import rank_correlation
from glocal.evaluate.intervals import Count, difference, over_seeds, wilson

Cells = Mapping[tuple[str, int], Mapping[str, Any]]
"""By method and seed: the verdict, the looks along training, and the seconds."""
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


Pairs = Mapping[str, Sequence[tuple[float, float]]]
"""Imagined and real success, by the kind of claim."""


def compared(cells: Cells, episodes: int, scored: Scored) -> tuple[dict[str, Any], Pairs]:
    """What `comparison.json` holds, and the claims that it sums up."""
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
    return found, pairs


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


def steps_to(looks: Sequence[Sequence[Mapping[str, float]]], score: str, rate: float) -> float | None:
    """Imagined steps at the first look by which the mean real success over seeds has come to a rate; None if never."""
    for rows in zip(*looks, strict=False):
        if np.mean([row[f"eval/{score}"] for row in rows]) >= rate:
            return float(rows[0]["imag/steps"])
    return None
