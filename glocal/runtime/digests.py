"""Hashes of files, worked out once: a file is read again when its size, time or inode has changed."""

import contextlib
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from glocal.runtime.files import UserError, read_json, sha256, write_json

SETTLED = 2.0
"""Seconds after which a file's time tells a later change apart; younger hashes are not kept."""


class Digests:
    """The SHA-256 of files by their paths; `kept` is what is known from before."""

    def __init__(self, kept: dict[str, Any]):
        self.kept, self.is_new = kept, False

    def __call__(self, file: Path) -> str:
        """The SHA-256 of a file's content."""
        path, state = str(file.resolve()), file.stat()
        seen = [state.st_size, state.st_mtime_ns, state.st_ino]
        match self.kept.get(path):
            case [known, str(digest)] if known == seen:
                return digest
        digest = sha256(file)
        if time.time() - state.st_mtime > SETTLED:
            self.kept[path], self.is_new = [seen, digest], True
        return digest


@contextmanager
def kept_digests(path: Path) -> Iterator[Digests]:
    """Hashes that are kept in a file; a broken one is begun anew, and one that cannot be written is done without."""
    digests = Digests(_read(path))
    try:
        yield digests
    finally:
        if digests.is_new:
            with contextlib.suppress(OSError, UserError):
                write_json(path, digests.kept)


def _read(path: Path) -> dict[str, Any]:
    try:
        found = read_json(path) if path.is_file() else {}
    except (UserError, OSError):
        return {}
    return found if isinstance(found, dict) else {}
