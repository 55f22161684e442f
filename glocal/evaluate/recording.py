"""What was recorded: how much there is of it, how much moves the block, and how near the goal it comes."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from glocal.data.store import EpisodeStore

EDGES = (0, 0.01, 0.2, 0.4, 0.6, 0.8, 0.9, 0.95, 1.001)
"""Of the histogram of coverage."""
MOVED = 0.1
"""Pixels, or radians, from which on the block counts as moved."""
LEVELS = (0.1, 0.5, 0.9, 0.99)
"""Quantiles of the reward that are told."""


def understood(store: EpisodeStore) -> Mapping[str, Any]:
    """Recorded fields whose meaning is known by their names; of a robot's own streams none is, whatever their names."""
    own = "streams" in store.about
    return {name: x for name, x in store.fields.items() if not own or name in ("reward", "success")}


def describe(store: EpisodeStore) -> dict[str, Any]:
    """Episodes, control steps and quantiles of the reward; where they are known, the share of control steps that moves
    the block, of those that end in success, and of rows by coverage."""
    control_steps, fields = int(store.starts[-1]) - len(store), understood(store)
    found: dict[str, Any] = {"episodes": len(store), "control_steps": control_steps}
    if "reward" in fields:
        reward = np.asarray(fields["reward"])
        found["reward"] = {str(level): float(np.quantile(reward, level)) for level in LEVELS}
    if "pose" in fields:
        moved = np.abs(np.diff(fields["pose"], axis=0)).max(1) > MOVED
        moved[store.starts[1:-1] - 1] = False  # from one episode to the next
        found["moving_share"] = float(moved.sum() / control_steps)
    if "success" in fields:
        found["success_share"] = float(np.mean(np.asarray(fields["success"]) > 0.5))
    if "coverage" in fields:
        coverage = np.asarray(fields["coverage"])
        shares = np.histogram(coverage, EDGES)[0] / len(coverage)
        found["near_share"] = float((coverage > 0.8).mean())
        found["coverage"] = {str(EDGES[i]): float(share) for i, share in enumerate(shares)}
    return found


def told(found: Mapping[str, Any]) -> list[tuple[str, str]]:
    """A description as lines: what, and how much."""
    levels = found.get("reward", {}).items()
    quantiles = ", ".join(f"{float(level):.0%} below {value:.3g}" for level, value in levels) or "none yet"
    lines = [
        ("episodes", str(found["episodes"])),
        ("control steps", str(found["control_steps"])),
        ("reward", quantiles),
    ]
    shares = {
        "moving_share": "control steps that move the block",
        "success_share": "control steps that end in success",
        "near_share": "rows with a coverage of more than 0.8",
    }
    return lines + [(text, f"{found[name]:.1%}") for name, text in shares.items() if name in found]
