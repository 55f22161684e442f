"""What the doctor says: one finding for each thing that was looked at."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal


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


def few(numbers: Sequence[int]) -> str:
    """The first of some numbers, in words."""
    return ", ".join(map(str, numbers[:10])) + (", ..." if len(numbers) > 10 else "")
