"""Ranges of options: they stand beside the fields (`gamma: Share = 0.97`), and are checked in one place."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields, is_dataclass
from typing import Annotated, Any, get_args, get_origin, get_type_hints


@dataclass(frozen=True)
class Range:
    """Numbers from `low` to `high`; an `open` end is not itself among them."""

    low: int | float
    high: int | float
    open_low: bool = False
    open_high: bool = False

    def holds(self, value: int | float) -> bool:
        """Whether a number is among them; NaN never is."""
        above = self.low < value if self.open_low else self.low <= value
        below = value < self.high if self.open_high else value <= self.high
        return above and below

    def __str__(self) -> str:
        low, high = "above" if self.open_low else "at least", "below" if self.open_high else "at most"
        return f"{low} {self.low:.10g} and {high} {self.high:.10g}"


Share = Annotated[float, Range(0, 1)]
Part = Annotated[float, Range(0, 1, open_high=True)]
"""A share that leaves something over: a discount, the decay of an average, what is held out."""
Inner = Annotated[float, Range(0, 1, open_low=True, open_high=True)]
"""A share that leaves something on either side."""
Positive = Annotated[float, Range(0, 1e6, open_low=True)]
Amount = Annotated[float, Range(0, 1e6)]
"""A weight, or another number that may be 0."""
Finite = Annotated[float, Range(-1e6, 1e6)]
Rate = Annotated[float, Range(0, 1e30, open_low=True)]
"""A learning rate; how large one may be, training itself shows."""
Small = Annotated[int, Range(1, 1000)]
"""Steps of a window or a rollout, epochs, layers."""
Width = Annotated[int, Range(1, 16_384)]
Count = Annotated[int, Range(1, 10_000_000)]
"""Updates, episodes, rows."""
Many = Annotated[int, Range(0, 10_000_000)]
"""The same, or none."""
Seed = Annotated[int, Range(0, 2**31 - 1)]
Processes = Annotated[int, Range(1, 256)]
"""Processes or threads."""


def outside(value: Any, hint: Any, name: str) -> Iterator[str]:
    """What of a value is not in the ranges that its type names, in words; a float has to be finite in any case."""
    if is_dataclass(value):
        hints = get_type_hints(type(value), include_extras=True)
        for one in fields(value):
            below = f"{name}.{one.name}" if name else one.name
            yield from outside(getattr(value, one.name), hints[one.name], below)
    elif isinstance(value, tuple):
        for part, own in zip(value, _parts(hint, len(value)), strict=True):
            yield from outside(part, own, name)
    elif isinstance(value, int | float) and not isinstance(value, bool):
        yield from _outside(value, range_of(hint), name)


def _outside(value: int | float, wanted: Range | None, name: str) -> Iterator[str]:
    if wanted is not None and not wanted.holds(value):
        what = "a number " if isinstance(value, float) and math.isnan(value) else ""
        yield f"{name} is {value!s:.30}, expected {what}{wanted}"
    elif wanted is None and isinstance(value, float) and not math.isfinite(value):
        yield f"{name} is {value}, expected a finite number"


def _parts(hint: Any, count: int) -> Sequence[Any]:
    """The types of a tuple's parts, where the hint is of a tuple or of something else beside one."""
    (parts,) = [get_args(one) for one in (hint, *get_args(hint)) if get_origin(one) is tuple]
    return parts[:1] * count if parts[1:] == (...,) else parts


def range_of(hint: Any) -> Range | None:
    """The range that a type names: its own, or that of one of the types that it is a union of."""
    told = get_args(hint)
    own = [one for one in told if isinstance(one, Range)] if get_origin(hint) is Annotated else []
    return own[0] if own else next(filter(None, map(range_of, told)), None)
