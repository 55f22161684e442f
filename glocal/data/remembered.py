"""Arrays that took long to make, kept in a file and made again unless it holds exactly what was written."""

from collections.abc import Callable
from pathlib import Path

import numpy as np

from glocal.data.dataset import Array
from glocal.runtime.files import UserError, atomic_write, read_json, sha256, write_json


def remembered(path: Path, rows: int, make: Callable[[], Array]) -> Array:
    """What `make` says, (rows, d) floats: from `path`, or made and kept there, with its hash in a file beside it."""
    found = _kept(path)
    if found is not None and found.ndim == 2 and len(found) == rows and found.dtype == np.float32:
        return found
    made = make()
    with atomic_write(path) as draft, draft.open("wb") as file:
        np.save(file, made)
    write_json(_beside(path), {"sha256": sha256(path)})
    return made


def _kept(path: Path) -> Array | None:
    """What a file holds; None where it is not there, or is not what was written."""
    try:
        if read_json(_beside(path)) != {"sha256": sha256(path)}:
            return None
        return np.load(path, allow_pickle=False)
    except (UserError, OSError, ValueError, EOFError):
        return None


def _beside(path: Path) -> Path:
    return path.with_suffix(".json")
