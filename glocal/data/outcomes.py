"""What came of recorded steps as what came of control steps: rewards, success and ends."""

from collections.abc import Sequence
from typing import Literal

import numpy as np

from glocal.data.dataset import Array

Over = Literal["largest", "last", "mean", "sum"]
At = Literal["action", "observation"]
JUMP = 0.25
"""Share of the rewards' range: where no step changes the reward by more, the last of a control step tells them all."""


def of_control_steps(values: Array, rows: Array, over: Over, at: At = "action") -> Array:
    """Outcomes of steps (steps,) as outcomes of the control steps between `rows` (n,), (n,): each led to the next row.

    What no later observation was recorded for counts for the last row: its control step holds all steps that are left.
    The first row, which no control step led to, has what came of its own step, or was observed with it.
    """
    first, after = _led_to(values.reshape(-1).astype(np.float64), at)
    return np.concatenate([[first], _combined(after, rows[:-1], over)]).astype(np.float32)


def of_parts(parts: Sequence[Sequence[float]], over: Over) -> Array:
    """What came of the steps of each control step, none of them without one, as what came of it, (control steps,)."""
    begins = np.cumsum([0, *(len(part) for part in parts[:-1])])
    return _combined(np.concatenate(parts).astype(np.float64), begins, over).astype(np.float32)


def any_of_control_steps(values: Array, rows: Array, at: At = "action") -> Array:
    """Whether something (steps,) came of the control steps between `rows`; it has not yet in the first row."""
    return np.r_[0.0, of_control_steps(values, rows, "largest", at)[1:]].astype(np.float32)


def _led_to(values: Array, at: At) -> tuple[float, Array]:
    """What there was at the beginning, and what came of each step."""
    return values[0], values if at == "action" else values[1:]


def _combined(after: Array, begins: Array, over: Over) -> Array:
    total = np.add.reduceat(after, begins)
    if over == "sum":
        return total
    ends = np.append(begins[1:], len(after))
    if over == "mean":
        return total / (ends - begins)
    if over == "last":
        return after[ends - 1]
    high, low = np.maximum.reduceat(after, begins), np.minimum.reduceat(after, begins)
    return np.where(high >= -low, high, low)


def over_which(rewards: Sequence[Array]) -> Over:
    """How the rewards of some episodes, (steps,) each, are best told of control steps.

    Where they change little by little, the last one is that of having arrived; where they jump, as sparse ones and
    bonuses do, the last one can miss what the largest tells.
    """
    parts = [part.reshape(-1).astype(np.float64) for part in rewards]
    steps = np.concatenate([np.abs(np.diff(part)) for part in parts])
    known = np.concatenate(parts)
    known = known[np.isfinite(known)]
    smooth = len(known) > 0 and len(steps) > 0 and bool(np.nanmax(steps, initial=0.0) <= JUMP * np.ptp(known))
    return "last" if smooth else "largest"
