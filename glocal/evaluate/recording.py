"""What was recorded: how much of it moves the block, and how near the goal it comes."""

from typing import Any

import numpy as np

from glocal.data.store import EpisodeStore

EDGES = (0, 0.01, 0.2, 0.4, 0.6, 0.8, 0.9, 0.95, 1.001)
"""Of the histogram of coverage."""
MOVED = 0.1
"""Pixels, or radians, from which on the block counts as moved."""


def describe(store: EpisodeStore) -> dict[str, Any]:
    """Episodes, decisions, the share of them that moves the block, and the share of rows by coverage."""
    pose, begins = store.fields["pose"], store.starts[:-1]
    moved = np.abs(np.diff(pose, axis=0)).max(1) > MOVED
    moved[begins[1:] - 1] = False  # from one episode to the next
    decisions = int(store.starts[-1]) - len(store)
    coverage = np.asarray(store.fields["coverage"])
    return {
        "episodes": len(store),
        "decisions": decisions,
        "moving_share": float(moved.sum() / decisions),
        "near_share": float((coverage > 0.8).mean()),
        "coverage": {str(EDGES[i]): float(n / len(coverage)) for i, n in enumerate(np.histogram(coverage, EDGES)[0])},
    }
