"""What the doctor says: one finding for each thing that was looked at."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

STILL = 5.0
"""Change of a picture's most changed pixels (0 to 255) below which it counts as the one before: what a video's loss
makes of nothing."""


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at: what was found, and what to do about it."""

    name: str
    verdict: Literal["ok", "warn", "fail"]
    found: str
    advice: str = ""
    numbers: Mapping[str, float] | None = None
    episodes: tuple[int, ...] = ()
    """Those that it is found in, where leaving them out would mend it."""


def lengths(control_steps: Mapping[int, int], context: int) -> Finding:
    """Whether episodes, by number, have more control steps than the context that the global model needs to see."""
    short = tuple(number for number, count in control_steps.items() if count <= context)
    found = (
        f"{len(control_steps)} episodes of {min(control_steps.values())} to {max(control_steps.values())} control steps"
    )
    if not short:
        return Finding("lengths", "ok", found)
    found += f"; {len(short)} are not longer than the context of {context}: {few(short)}"
    return Finding("lengths", "warn", found, "leave them out", episodes=short)


def few(numbers: Sequence[int]) -> str:
    """The first of some numbers, in words."""
    return ", ".join(map(str, numbers[:10])) + (", ..." if len(numbers) > 10 else "")
