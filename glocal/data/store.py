"""The episode store: one folder with a flat array per field and an index; memory-mapped, hashed, sealed in one rename.

While episodes are being recorded each stands in a file of its own under `<folder>.recording`; `seal` joins them. A
store therefore exists whole or not at all, and a recording that was cut short goes on with the episodes that it lacks.
"""

import hashlib
import zipfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from glocal.runtime.files import UserError, atomic_write, read_json, reading, remove, write_json

Array = NDArray[Any]
FORMAT = 1
MOST_ROWS = 10**9
"""Of an episode."""


def recording_folder(folder: Path) -> Path:
    """Where the episodes of a store wait until it is sealed."""
    return folder.with_name(folder.name + ".recording")


def write_episode(folder: Path, number: int, episode: Mapping[str, Array]) -> None:
    """Add an episode, a mapping from field to array (rows, ...), to a recording."""
    rows = {name: len(array) for name, array in episode.items()}
    if len(set(rows.values())) != 1:
        raise ValueError(f"the fields of episode {number} differ in length: {rows}")
    with atomic_write(_part(folder, number)) as draft, draft.open("wb") as file:
        np.savez(file, allow_pickle=False, **dict(episode))


def recorded(folder: Path) -> set[int]:
    """The numbers of the episodes that a recording holds already; files of other names are none."""
    named = {path.stem for path in recording_folder(folder).glob("[0-9]*.npz") if path.stem.isdecimal()}
    return {int(name) for name in named if _part(folder, int(name)).stem == name and _part(folder, int(name)).is_file()}


def _part(folder: Path, number: int) -> Path:
    """Where an episode waits."""
    return recording_folder(folder) / f"{number:06d}.npz"


def episode_of(folder: Path, number: int) -> dict[str, Array]:
    """The fields of an episode that a recording holds, each (rows, ...)."""
    return _read_part(_part(folder, number))


def seal(folder: Path, about: Mapping[str, Any], numbers: Iterable[int] | None = None) -> None:
    """Join a recording's episodes into the store, and remove the recording; `about` says how they were made.

    Only episodes of these `numbers` are joined, in their order, where they are given; raises `UserError` where one is
    damaged.
    """
    parts = [_part(folder, number) for number in (sorted(recorded(folder)) if numbers is None else numbers)]
    first = _read_part(parts[0])
    lightest = min(first, key=lambda name: first[name].nbytes)
    lengths = [len(_read_part(part, lightest)[lightest]) for part in parts]
    starts = np.concatenate([[0], np.cumsum(lengths)])
    digests = [hashlib.sha256() for _ in parts]
    with atomic_write(folder) as draft:
        draft.mkdir()
        for name, array in sorted(first.items()):
            _join(draft / f"{name}.npy", name, array, parts, starts, digests)
        episodes = [{"rows": n, "sha256": d.hexdigest()} for n, d in zip(lengths, digests, strict=True)]
        write_json(
            draft / "index.json", {"format": FORMAT, "fields": sorted(first), "about": about, "episodes": episodes}
        )
    remove(recording_folder(folder))


def _join(path: Path, name: str, like: Array, parts: Sequence[Path], starts: Array, digests: Sequence[Any]) -> None:
    """Write a field of all episodes one after the other, as `numpy.save` would write it, and feed it to `digests`.

    It is not mapped into memory: on a full disk that ends the process, where writing is an error.
    """
    header = np.lib.format.header_data_from_array_1_0(like) | {"shape": (int(starts[-1]), *like.shape[1:])}
    with path.open("wb") as file:
        np.lib.format.write_array_header_1_0(file, header | {"fortran_order": False})
        for part, length, digest in zip(parts, np.diff(starts), digests, strict=True):
            rows = _read_part(part, name)[name]
            if (rows.shape, rows.dtype) != ((length, *like.shape[1:]), like.dtype):
                raise UserError(
                    f"the {name} of the recorded episode {part} is {rows.dtype} {rows.shape}, expected {like.dtype} "
                    f"{(int(length), *like.shape[1:])} as in the others; delete it and collect again"
                )
            content = rows.tobytes()
            file.write(content)
            digest.update(content)


def _read_part(path: Path, field: str | None = None) -> dict[str, Array]:
    try:
        with np.load(path, allow_pickle=False) as file:
            return {name: file[name] for name in (file.files if field is None else [field])}
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        raise UserError(
            f"the recorded episode {path} is missing or damaged ({error}); delete it and collect again"
        ) from error


@dataclass(frozen=True)
class _Entry:
    """What the index says of an episode."""

    rows: int
    sha256: str


@dataclass(frozen=True)
class _Index:
    """What `index.json` says."""

    fields: tuple[str, ...]
    episodes: tuple[_Entry, ...]
    about: Mapping[str, Any]


def _index(path: Path) -> _Index:
    match read_json(path):
        case {"format": format, "fields": [*names], "about": dict(about), "episodes": [_, *_] as episodes}:
            if format == FORMAT and all(isinstance(name, str) and name.isidentifier() for name in names):
                entries = (_entry(path, number, one) for number, one in enumerate(episodes))
                return _Index(tuple(names), tuple(entries), about)
    raise UserError(f"{path} is not an episode store of format {FORMAT}; collect again")


def _entry(path: Path, number: int, found: Any) -> _Entry:
    match found:
        case {"rows": int(rows), "sha256": str(digest)} if rows > 0:
            return _Entry(rows, digest)
    raise UserError(
        f"{path} is damaged: of episode {number} it says {found!r}, expected a number of rows and a hash. Restore it "
        "from a copy, or collect again"
    )


class _Fields(dict[str, Array]):
    """Recorded fields; one that is asked for and was not recorded is a `UserError`."""

    def __init__(self, folder: Path, arrays: Mapping[str, Array]):
        super().__init__(arrays)
        self._folder = folder

    def __missing__(self, name: str) -> Array:
        raise UserError(
            f"{self._folder} holds no {name!r}, which is needed; found {', '.join(self)}. Collect again, or restore "
            "its index.json from a copy"
        )


@dataclass(frozen=True)
class EpisodeStore:
    """Recorded episodes, memory-mapped: `fields[name]` is (rows, ...), episode i is `starts[i]` to `starts[i + 1]`."""

    folder: Path
    fields: Mapping[str, Array]
    starts: Array
    about: Mapping[str, Any]
    hash: str

    @classmethod
    def open(cls, folder: Path) -> "EpisodeStore":
        """Map a store; raises `UserError` where it is missing, foreign or of another size than its index says."""
        if not folder.is_dir():
            raise UserError(f"no recorded data at {folder}; run `glocal collect` first")
        index = _index(folder / "index.json")
        starts = np.concatenate([[0], np.cumsum([episode.rows for episode in index.episodes])])
        fields = _Fields(folder, {name: _map(folder / f"{name}.npy", int(starts[-1])) for name in index.fields})
        digest = hashlib.sha256("".join(episode.sha256 for episode in index.episodes).encode())
        return cls(folder, fields, starts, index.about, digest.hexdigest())

    def __len__(self) -> int:
        return len(self.starts) - 1

    def episode(self, number: int) -> dict[str, Array]:
        """The fields of one episode, each (rows, ...)."""
        rows = slice(self.starts[number], self.starts[number + 1])
        return {name: array[rows] for name, array in self.fields.items()}

    def verify(self) -> None:
        """Compare every episode with its hash; raises `UserError` naming the first that differs."""
        for number, entry in enumerate(_index(self.folder / "index.json").episodes):
            digest = hashlib.sha256()
            for _, array in sorted(self.episode(number).items()):
                digest.update(np.ascontiguousarray(array).tobytes())
            if digest.hexdigest() != entry.sha256:
                raise UserError(
                    f"episode {number} of {self.folder} is damaged: its content does not match the hash in index.json. "
                    f"Delete the folder and collect again, or restore it from a copy."
                )


def _map(path: Path, rows: int) -> Array:
    try:
        with reading(path):
            array = np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, EOFError, SyntaxError, TypeError, RecursionError, OverflowError) as error:
        raise UserError(f"{path} is missing or damaged ({error}); collect again or restore it from a copy") from error
    if array.shape[:1] != (rows,):
        raise UserError(f"{path} is {array.shape} where index.json says {rows} rows; collect again")
    return array
