"""A run's folder is one process's at a time, and what is set aside in it is kept."""

import fcntl
import os
import stat
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from itertools import count
from pathlib import Path

from glocal.runtime.files import UserError, cannot_write, remove_drafts


@contextmanager
def alone(folder: Path) -> Iterator[None]:
    """Keep other processes from working in the same run; raises `UserError` where one does.

    What a process that was killed there had half-written is removed.
    """
    with os.fdopen(_lock(folder / "stages" / "lock"), "rb") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise UserError(f"another glocal is at work in {folder}; wait for it, or stop it first") from None
        remove_drafts(folder)
        yield


def _lock(path: Path) -> int:
    """Open a lock, which is never written to; raises `UserError` where something else stands in its place."""
    with cannot_write(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        if os.path.lexists(path) and not stat.S_ISREG(path.lstat().st_mode):
            raise UserError(f"{path} is no plain file, as a run's lock is; remove it")
        return os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK, 0o666)


def set_aside(folder: Path, name: str, left: Sequence[str]) -> Path | None:
    """Move some of what is in a run to a new folder in `previous/`; None where there is nothing of it.

    What is moved keeps its path within the run, so that no two meet. Nothing in there is ever written over or removed.
    """
    found = [one for one in left if os.path.lexists(folder / one)]
    if not found:
        return None
    with cannot_write(folder / "previous"):
        place = _new_folder(folder / "previous", f"{datetime.now(UTC):%Y%m%dT%H%M%SZ}-{name}")
        for one in found:
            (place / one).parent.mkdir(parents=True, exist_ok=True)
            (folder / one).rename(place / one)
    return place


def _new_folder(parent: Path, name: str) -> Path:
    parent.mkdir(parents=True, exist_ok=True)
    for number in count(1):
        place = parent / (name if number == 1 else f"{name}-{number}")
        with suppress(FileExistsError):
            place.mkdir()
            return place
    raise AssertionError("there are numbers enough")
