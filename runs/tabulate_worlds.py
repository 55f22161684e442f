"""One row for each run on Push-T: seconds of training, speed of imagination, drift of the global model, and success.

    python runs/tabulate_worlds.py out/worlds/*/

Drift is that of the block after 20 control steps, in pixels, medians over held-out windows, beside a block that stays
and other windows' actions. What a run has not come to yet is left empty.
"""

import json
from pathlib import Path
from statistics import median
from typing import Any

import tyro

from glocal.evaluate.intervals import in_words
from glocal.runtime.trainer import read_log

SHOWN = ("global model", "nothing moves", "global, shuffled actions")
"""Whose drift stands in a cell, in this order."""
HEAD = (
    "world",
    "codec, s",
    "world, s",
    "policy, s",
    "imagined steps/s, learning and all",
    "block",
    "where it moves far",
    "probe",
    "pose",
)


def main(runs: tyro.conf.Positional[list[Path]]) -> None:
    """Print a table.

    Args:
        runs: Their folders.
    """
    rows = [HEAD, ("---",) * len(HEAD), *(row(run) for run in runs if (run / "config.json").is_file())]
    for one in rows:
        print("| " + " | ".join(one) + " |")


def row(run: Path) -> tuple[str, ...]:
    """A run's figures, in the order of `HEAD`."""
    gates, results = _read(run / "gates.json"), _read(run / "results.json")
    seconds = [
        _number(_read(run / "stages" / f"{stage}.json").get("seconds")) for stage in ("codec", "global", "policy")
    ]
    pose = results.get("policy", {}).get("pose", {})
    return (
        run.name,
        *seconds,
        _imagined(run),
        _drift(gates.get("drift", {}), "block_px"),
        _drift(gates.get("drift_far", {}), "block_px"),
        _number(gates.get("codec", {}).get("block_px"), 1),
        in_words(pose) if pose else "",
    )


def _drift(found: dict[str, Any], name: str) -> str:
    """Of each of `SHOWN`, after the longest horizon."""
    models = [found[model] for model in SHOWN if model in found]
    return ", ".join(f"{rows[max(rows, key=int)][name]:.1f}" for rows in models)


def _imagined(run: Path) -> str:
    rates = [line["speed/steps_per_second"] for line in read_log(run / "policy") if "speed/steps_per_second" in line]
    return _number(median(rates)) if rates else ""


def _number(value: float | None, digits: int = 0) -> str:
    return "" if value is None else f"{value:,.{digits}f}"


def _read(path: Path) -> dict[str, Any]:
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}


if __name__ == "__main__":
    tyro.cli(main, description=__doc__)
