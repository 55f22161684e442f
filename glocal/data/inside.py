"""Where paths are made safe: a data set is foreign input, and leads to regular files in its own folder alone."""

import json
import os
import re
import stat
from collections.abc import Iterable, Mapping
from pathlib import Path, PureWindowsPath
from string import Formatter
from typing import Any

from glocal.runtime.files import UserError

ENTRIES = 2_000_000
"""Files and folders in a data set, at most."""
JSON_BYTES = 256 * 2**20
"""Bytes of a JSON file in a data set, at most."""
TEMPLATE = 500
"""Characters of a path's pattern, at most."""
NUMBER = re.compile(r"(0?[1-9])?d?")
"""How a pattern may format a number: to up to nine digits, led by zeros or blanks."""
LARGEST = 10**9
"""Numbers in paths stay below this."""
COPY = "make a real copy with `cp -rL`, or download with `huggingface-cli download --local-dir`"


def sealed(path: Path) -> None:
    """Raise `UserError` unless a path is a regular file, or a folder with nothing but regular files and folders in it.

    Links would lead out of the folder, and reading a pipe, device or socket may never end. The path itself may be a
    link: it was named by a person. Hidden folders at the top (`.git`, `.cache`) are no part of a data set.
    """
    try:
        mode = path.stat().st_mode
        if stat.S_ISDIR(mode):
            _sealed(path)
        elif not stat.S_ISREG(mode):
            raise UserError(f"{path} is neither a file nor a folder, but {_kind(mode)}; name a data set")
    except (OSError, ValueError) as error:
        raise UserError(f"{path} cannot be looked at ({error}); expected a data set") from error


def _sealed(folder: Path) -> None:
    waiting, count = [os.fspath(folder)], 0
    while waiting:
        place = waiting.pop()
        with os.scandir(place) as entries:
            for entry in entries:
                count += 1
                if entry.is_dir(follow_symlinks=False):
                    if not (entry.name.startswith(".") and place == os.fspath(folder)):
                        waiting.append(entry.path)
                elif not entry.is_file(follow_symlinks=False):
                    raise _foreign(Path(entry.path), entry.stat(follow_symlinks=False).st_mode)
        if count > ENTRIES:
            raise UserError(f"{folder} holds more than {ENTRIES} files and folders; split the data set")


def _foreign(path: Path, mode: int) -> UserError:
    if stat.S_ISLNK(mode):
        return UserError(
            f"{path} is a symbolic link; links in data sets are not followed, as they may lead anywhere: {COPY}"
        )
    return UserError(f"{path} is {_kind(mode)}; a data set holds nothing but regular files and folders: remove it")


def _kind(mode: int) -> str:
    kinds = {stat.S_ISFIFO: "a pipe (FIFO)", stat.S_ISSOCK: "a socket", stat.S_ISCHR: "a device"}
    kinds |= {stat.S_ISBLK: "a device", stat.S_ISDIR: "a folder", stat.S_ISLNK: "a symbolic link"}
    return next((name for holds, name in kinds.items() if holds(mode)), "no regular file")


def inside(folder: Path, relative: str, source: Path) -> Path:
    """The path in a folder that `source`, a file of a data set, names; raises `UserError` where it leads out."""
    parts = relative.split("/")
    plain = not PureWindowsPath(relative).anchor and relative.isprintable() and "\\" not in relative
    if not plain or any(part in ("", ".", "..") for part in parts):
        raise UserError(
            f"{source} names the path {relative!r}, which does not stay in {folder}; expected a relative path without "
            "`..`: the data set is damaged, or made to do harm"
        )
    return folder.joinpath(*parts)


def regular(folder: Path, path: Path) -> Path:
    """The same path, a regular file to which no link leads from the folder on; raises `UserError` where it is not."""
    try:
        for place in (path, *path.parents):
            if place == folder:
                break
            mode = place.lstat().st_mode
            if not (stat.S_ISREG(mode) if place == path else stat.S_ISDIR(mode)):
                raise _foreign(place, mode)
    except OSError as error:
        raise UserError(f"{path} cannot be read ({error.strerror}); it is missing or damaged") from error
    return path


def expanded(template: Any, fields: Mapping[str, int | str], source: Path) -> str:
    """A path's pattern with its fields filled in: `{name}` and, for numbers, `{name:03d}` are all that it may say."""
    if not isinstance(template, str) or len(template) > TEMPLATE:
        raise UserError(f"{source} has no pattern of paths of up to {TEMPLATE} characters; found {_shown(template)}")
    try:
        return "".join(_filled(fields, *part) for part in Formatter().parse(template))
    except ValueError as error:
        raise UserError(
            f"{source} has the pattern {template!r} ({error}); expected names like "
            f"{{{next(iter(fields))}:03d}}, out of {', '.join(fields)}"
        ) from error


def _filled(
    fields: Mapping[str, int | str], literal: str, name: str | None, spec: str | None, conversion: str | None
) -> str:
    if name is None:
        return literal
    if name not in fields:
        raise ValueError(f"{name[:40]!r} is no field")
    value = fields[name]
    if conversion or not (NUMBER.fullmatch(spec or "") if isinstance(value, int) else not spec):
        raise ValueError(f"{name} is asked for as {conversion or spec!r:.40}")
    if isinstance(value, int) and not 0 <= value < LARGEST:
        raise ValueError(f"{name} is {value}")
    return literal + format(value, spec or "")


def _shown(value: Any) -> str:
    return f"{value!r:.60}"


def read_foreign_json(folder: Path, path: Path) -> Any:
    """What a JSON file of a data set holds; raises `UserError` where it is no such file, too large or not plain."""
    size = regular(folder, path).stat().st_size
    if size > JSON_BYTES:
        raise UserError(f"{path} has {size} bytes; {JSON_BYTES} are read at most")
    try:
        return parse(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UserError(f"{path} does not read as JSON ({error}); it is damaged") from error


def parse(text: str) -> Any:
    """JSON as values; raises `ValueError` also where a key is told twice, or values are nested too deeply."""
    try:
        return json.loads(text, object_pairs_hook=_once)
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a key is told twice")
    return found


def check_names(names: Iterable[str], source: Path) -> None:
    """Raise `UserError` where features are to become folders (of videos) or columns and their names will not do."""
    for name in names:
        if name in ("", ".", "..") or "/" in name or "\\" in name or not name.isprintable() or len(name) > 200:
            raise UserError(
                f"{source} has a feature named {_shown(name)}, which cannot be the name of a folder; rename it: no "
                "slashes, nothing that does not print, at most 200 characters"
            )


def apart(out: Path, folder: Path) -> None:
    """Raise `UserError` where what is to be written lies in the data set that is read."""
    if folder.resolve() in out.resolve().parents:
        raise UserError(f"{out} is inside the data set {folder}, which stays as it is; name a folder outside")
