"""Files that are either whole or not there: everything that is written appears in one rename, or not at all."""

import errno
import glob
import hashlib
import json
import os
import re
import shutil
import stat
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from io import BufferedReader
from pathlib import Path
from typing import Any


class UserError(Exception):
    """Something that a person can mend: says what was found, what was expected and what to do."""


class UnreadableError(UserError):
    """A file that may not be read, whatever it holds: it is no reason to do anything again."""


REFUSED = (
    errno.ENOENT, errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR, errno.EEXIST, errno.EISDIR,
    errno.ENAMETOOLONG, errno.ELOOP,
)  # fmt: skip
"""What the system answers where something cannot be written at all."""
FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
"""What it answers where there is no room."""


@contextmanager
def cannot_write(path: Path) -> Iterator[None]:
    """Say so in a sentence where `path`, or the folder that it is in, cannot be written in the block."""
    try:
        yield
    except OSError as error:
        if error.errno not in REFUSED:
            raise
        raise UserError(f"cannot write to {path}: {_reason(error)}; name another folder, or mend it") from error


@contextmanager
def atomic_write(path: Path) -> Iterator[Path]:
    """A temporary sibling of `path`, a file or folder to be made inside the block, that becomes `path` after it.

    On any error, a full disk included, `path` stays as it was and the temporary one is removed.
    """
    draft = path.with_name(f".{path.name}.{os.getpid()}.part")
    with cannot_write(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        remove(draft)
    try:
        yield draft
        _sync(draft)
        os.replace(draft, path)
    except OSError as error:
        remove(draft)
        if error.errno in FULL:
            raise UserError(
                f"no room to write {path} ({error.strerror}); what was there before is untouched. "
                "Free some disk space and run the same command again; runs go on where they were."
            ) from error
        if error.errno in REFUSED and str(draft) in str(error.filename):
            raise UserError(f"cannot write to {path}: {_reason(error)}") from error
        raise
    except BaseException:
        remove(draft)
        raise


def remove_drafts(folder: Path) -> None:
    """Remove what processes that ended without a chance to clear up have left half-written in a run's folder.

    For the one process that works in the folder, before it writes anything: drafts of its own number are of another
    that had it before. Nothing is looked for in `previous`.
    """
    for place, folders, files in os.walk(folder):
        found = [name for name in (*folders, *files) if _is_left(name)]
        folders[:] = [name for name in folders if name not in found and Path(place, name) != folder / "previous"]
        for name in found:
            with cannot_write(Path(place, name)):
                remove(Path(place, name))


def remove_left(path: Path) -> None:
    """Remove what processes that ended without a chance to clear up have left of a file or folder to be."""
    for draft in path.parent.glob("." + glob.escape(path.name) + ".*.part"):
        if _is_left(draft.name):
            remove(draft)


def _is_left(name: str) -> bool:
    """Whether a file is called as a draft is, and the process that wrote it is gone."""
    match = re.fullmatch(r"\..+\.(\d{1,9})\.part", name)
    return match is not None and (int(match[1]) == os.getpid() or not _is_alive(int(match[1])))


def _is_alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:  # somebody else's
        return True
    return True


def _reason(error: OSError) -> str:
    return (error.strerror or str(error)).lower()


def write_text(path: Path, text: str) -> None:
    """Write a text file whole or not at all."""
    with atomic_write(path) as draft:
        draft.write_text(text, encoding="utf-8")


def write_json(path: Path, value: Any) -> None:
    """Write a JSON file whole or not at all."""
    write_text(path, json.dumps(value, indent=2) + "\n")


@contextmanager
def reading(path: Path) -> Iterator[BufferedReader]:
    """A plain file, open in the block, which does nothing but read it.

    Raises `UnreadableError` where it may not be read, or where something else, a pipe say, stands in its place, and
    `FileNotFoundError` where there is nothing.
    """
    try:
        if not stat.S_ISREG(path.stat().st_mode):
            raise UnreadableError(
                f"{path} is no plain file, as is expected there; remove it, or restore it from a copy"
            )
        with os.fdopen(os.open(path, os.O_RDONLY | os.O_NONBLOCK), "rb") as file:
            yield file
    except FileNotFoundError:
        raise
    except OSError as error:
        raise UnreadableError(
            f"cannot read {path}: {_reason(error)}; give yourself the right to, or restore it from a copy"
        ) from error


def read_json(path: Path) -> Any:
    """Read a JSON file, or say clearly what is the matter with it."""
    try:
        with reading(path) as file:
            return json.loads(file.read().decode("utf-8"))
    except FileNotFoundError:
        raise UserError(f"{path} is missing; run the stage that writes it first (`glocal status` names it)") from None
    except (ValueError, RecursionError) as error:
        raise UserError(f"{path} is not readable as JSON ({error}); delete it and run its stage again") from error


def answered(path: Path, asked: Mapping[str, Any]) -> dict[str, Any] | None:
    """What was kept in a file that says what it `asked`; None where that was something else, or the file is damaged."""
    try:
        found = read_json(path)
    except UserError:
        return None
    return found if isinstance(found, dict) and found.get("asked") == asked else None


def sha256(path: Path) -> str:
    """The SHA-256 of a file's content."""
    with reading(path) as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def remove(path: Path) -> None:
    """Remove a file, a link or a folder, if it is there."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def _sync(path: Path) -> None:
    for file in [path, *path.rglob("*")] if path.is_dir() else [path]:
        descriptor = os.open(file, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
