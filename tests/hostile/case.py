"""One hostile input: how it is made, what is done with it, and the one sentence that comes back."""

import hashlib
import os
import stat
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Case:
    """`make` is given an empty folder, and returns the path of what is hostile; `words` are of the answer (a regular
    expression), and None where the input is harmless and is read."""

    name: str
    make: Callable[[Path], Path]
    words: str | None
    verbs: tuple[str, ...] = ("convert",)


def tree(folder: Path) -> dict[str, str]:
    """All that is in a folder: what each thing is, and a digest of what it holds. Links are not followed."""
    found = {}
    for place, folders, files in os.walk(folder):
        for path in (Path(place, name) for name in (*folders, *files)):
            mode = path.lstat().st_mode
            content = os.readlink(path) if stat.S_ISLNK(mode) else path.stat().st_size if stat.S_ISREG(mode) else ""
            if stat.S_ISREG(mode) and path.stat().st_size < 2**24:
                content = hashlib.sha256(path.read_bytes()).hexdigest()
            found[str(path.relative_to(folder))] = f"{stat.S_IFMT(mode):o} {content}"
    return found
