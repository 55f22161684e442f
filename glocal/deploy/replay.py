"""What a policy would have done where somebody else acted: how far that is from what was done, and how smooth."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from glocal.deploy.controllers import Array

SATURATED = 0.99


@dataclass(frozen=True)
class Replay:
    """Actions (T, a) from -1 to 1, of a policy and of a recording, at the same control steps of an episode."""

    policy: Array
    recorded: Array


def compared(replays: Sequence[Replay]) -> dict[str, Any]:
    """Root mean square difference of each number; how often actions are at a limit, and how fast they change, of the
    policy and of the recording."""
    apart = np.concatenate([one.policy - one.recorded for one in replays])
    return {
        "difference_to_recorded": [round(float(x), 4) for x in np.sqrt(np.square(apart).mean(0))],
        "saturated": {name: round(_saturated(replays, name), 4) for name in ("policy", "recorded")},
        "jerk": {name: round(_jerk(replays, name), 4) for name in ("policy", "recorded")},
    }


def _saturated(replays: Sequence[Replay], name: str) -> float:
    """Share of the numbers that are at a limit."""
    return float(np.concatenate([abs(getattr(one, name)) >= SATURATED for one in replays]).mean())


def _jerk(replays: Sequence[Replay], name: str) -> float:
    """Root mean square of the second difference of actions: zero where they change steadily."""
    bends = [np.diff(getattr(one, name), 2, axis=0) for one in replays if len(getattr(one, name)) > 2]
    return float(np.sqrt(np.square(np.concatenate(bends)).mean())) if bends else 0.0
