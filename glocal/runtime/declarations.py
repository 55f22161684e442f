"""Declarations: a stage can read what it has declared of the configuration, so that nothing else decides its result."""

from collections.abc import Mapping, Sequence
from functools import reduce
from typing import Any, TypeVar, cast

C = TypeVar("C")


class UndeclaredError(AssertionError):
    """A stage reads a part of the configuration that it has not declared: a mistake in the program."""


class Declared:
    """A configuration, or a part of one, of which only declared parts can be read; they are themselves.

    `parts` are names, dotted where of a part only something is declared: "world", "learn.horizon".
    """

    def __init__(self, whole: Any, parts: Sequence[str], reader: str, path: str = ""):
        self._whole, self._parts, self._reader, self._path = whole, tuple(parts), reader, path

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(name)
        value, path = getattr(self._whole, name), f"{self._path}{name}"
        if path in self._parts:
            return value
        if any(part.startswith(f"{path}.") for part in self._parts):
            return Declared(value, self._parts, self._reader, f"{path}.")
        raise UndeclaredError(
            f"{self._reader} reads config.{path}, which it has not declared: its result would not be stale when that "
            "changes. Declare it in glocal/pipeline/plan.py"
        )


def declared(config: C, parts: Sequence[str], reader: str) -> C:
    """The configuration for the eyes of one reader."""
    return cast(C, Declared(config, parts, reader))


def whole(config: Any) -> Any:
    """The configuration itself, for those who only write it down."""
    return config._whole if isinstance(config, Declared) else config


def chosen(values: Mapping[str, Any], part: str) -> Any:
    """What a configuration as plain values says of a part."""
    return reduce(lambda found, name: found[name], part.split("."), values)
