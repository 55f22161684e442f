"""What differs between two configurations, and how that is said."""

from collections.abc import Sequence
from typing import Any

from glocal.pipeline.config import Config, flat, to_dict, typed

Change = tuple[str, Any, Any]
"""An option's name, what it is in a run, and what it is to be."""
SHOWN = 8
"""Options that differ, of which all are counted."""


def differences(stored: Config, config: Config) -> list[Change]:
    """Options that differ: their names, and what they are in one and in the other."""
    old, new = (dict(flat(to_dict(one))) for one in (stored, config))
    return [(name, old.get(name), new.get(name)) for name in {**old, **new} if old.get(name) != new.get(name)]


def changes_in_words(found: Sequence[Change]) -> str:
    changes = [f"{typed(name)} is {old} there and {new} here" for name, old, new in found]
    more = f", and {len(changes) - SHOWN} more differ" if len(changes) > SHOWN else ""
    return ", ".join(changes[:SHOWN]) + more


def part_of(name: str) -> str:
    """The part of a configuration that an option is in."""
    return name.partition(".")[0]
