"""Stamps: what a run's folder says of each stage, how its output was made, and what has been begun.

RUN/stages/STAGE.json            the stage is done: its plan, the hashes of what it left, its time
RUN/stages/STAGE.attempt.json    the stage was begun, by this plan
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, TypeVar

import cattrs

from glocal.runtime.files import UnreadableError, UserError, read_json, write_json

R = TypeVar("R")
NAMES = ("collect", "codec", "global", "judge", "local", "gates", "cloning", "policy", "evaluate", "report")
"""Of the stages that leave stamps."""


class DamagedError(UserError):
    """A stamp or an attempt that says nothing, or was kept by another version."""


@dataclass(frozen=True)
class Plan:
    """All that decides what a stage's output will be."""

    config: Mapping[str, Any]
    """The parts of the configuration that it has declared."""
    inputs: Mapping[str, str | None]
    """What it reads, stage by stage, and what it takes in from outside."""
    code: str


@dataclass(frozen=True)
class Attempt:
    """A stage that was begun."""

    plan: Plan
    seconds: float
    """Spent on it before."""


@dataclass(frozen=True)
class Stamp:
    """A stage that is done."""

    plan: Plan
    output: str | None
    """What later stages recognise its output by."""
    files: Mapping[str, str]
    """The SHA-256 of the files that later stages read, by their paths in the run."""
    config: Mapping[str, Any]
    """The whole configuration that it was made with."""
    seconds: float
    finished: str


def stamp_path(folder: Path, name: str) -> Path:
    """Where a stage's stamp is kept in a run's folder."""
    return folder / "stages" / f"{name}.json"


def attempt_path(folder: Path, name: str) -> Path:
    """Where it is kept that a stage was begun."""
    return folder / "stages" / f"{name}.attempt.json"


def read_stamp(folder: Path, name: str) -> Stamp | None:
    """A stage's stamp, or None where it is not done; raises `DamagedError` where the stamp is damaged."""
    return _read(stamp_path(folder, name), Stamp, "stamp")


def read_attempt(folder: Path, name: str) -> Attempt | None:
    """What was begun of a stage, or None; raises `DamagedError` where the record of it is damaged."""
    return _read(attempt_path(folder, name), Attempt, "record of what was begun")


def write(path: Path, record: Stamp | Attempt) -> None:
    """Keep a stamp or an attempt."""
    write_json(path, asdict(record))


def stage_seconds(folder: Path) -> dict[str, float]:
    """How long each finished stage took, all attempts together."""
    stamps = {name: read_stamp(folder, name) for name in sorted(NAMES)}
    return {name: round(stamp.seconds, 1) for name, stamp in stamps.items() if stamp is not None}


def _read(path: Path, kind: type[R], what: str) -> R | None:
    if not path.is_file():
        return None
    try:
        values = read_json(path)
        if not isinstance(values, dict):
            raise ValueError(f"found a {type(values).__name__}")
        return cattrs.structure(values, kind)
    except UnreadableError:
        raise
    except (UserError, ValueError, KeyError, TypeError, cattrs.BaseValidationError) as error:
        raise DamagedError(f"its {what}, {path}, is damaged or of another version of glocal; delete it") from error
