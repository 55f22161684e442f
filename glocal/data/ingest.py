"""From a dataset of any known format to the episode store: decoded once, several episodes at a time."""

import hashlib
import json
import os
import zipfile
import zlib
from collections.abc import Callable, Sequence
from functools import partial
from itertools import count
from pathlib import Path

import numpy as np

from glocal.data import mappings
from glocal.data.dataset import Array, Dataset
from glocal.data.formats.bounds import check_total
from glocal.data.inside import sealed
from glocal.data.looks import Seen, from_arrays
from glocal.data.mapping import NAME, Mapping, load, values_in
from glocal.data.mappings import AnyMapping, tells_streams
from glocal.data.parallel import over_episodes
from glocal.data.propose import propose
from glocal.data.propose_robot import propose_robot
from glocal.data.reading import Reading, RobotReading
from glocal.data.store import recorded, recording_folder, write_episode
from glocal.data.streams import RobotMapping, from_dict
from glocal.runtime.files import UserError, atomic_write, cannot_write, sha256
from glocal.runtime.progress import quoted

NOTES = ("README", "LICENSE", "LICENCE", "CITATION")
"""What files beside the data are called that say something about them."""
DAMAGED = (OSError, ValueError, KeyError, EOFError, RuntimeError, zipfile.BadZipFile, zlib.error, SyntaxError)
"""What reading an archive of arrays raises that is not what was written."""
ZARR = ".z"
"""How zarr's own hidden files begin: .zarray, .zgroup."""


def beside(path: Path) -> Path:
    """Where a dataset's mapping is kept."""
    return (path if path.is_dir() else path.parent) / NAME


def mapping_of(path: Path, dataset: Dataset) -> Mapping:
    """A dataset's mapping: from the file beside it, or else the one that is proposed."""
    return load(beside(path)) if beside(path).is_file() else propose(dataset)[0]


def robot_mapping_of(path: Path, dataset: Dataset) -> RobotMapping:
    """The mapping of any robot's logs: from the file beside them, or else the one that is proposed."""
    if not beside(path).is_file():
        return propose_robot(dataset)[0]
    values = values_in(beside(path))
    if not tells_streams(values):
        raise UserError(
            f"{beside(path)} is the mapping of a planar robot that is seen by a camera, not one of streams; "
            f"`glocal data inspect {quoted(path)} --robot` shows one of streams. Move the file away, or use a preset "
            "of Push-T"
        )
    return from_dict(values, beside(path))


def put_beside(path: Path, mapping: AnyMapping, replace: bool) -> Path | None:
    """Write a dataset's mapping beside it; another one that is there is kept, under the name that is returned.

    Raises `UserError` where there is another one and `replace` is not said.
    """
    place, kept = beside(path), None
    if os.path.lexists(place):
        if _holds(place, mapping):
            return None
        kept = next(one for n in count(1) if not os.path.lexists(one := place.with_name(f"{NAME}.{n}")))
        if not replace:
            raise UserError(
                f"{place} is there already, and is not the mapping that is proposed; it stays as it is. Mend it by "
                f"hand, or add --replace: the proposed one is written then, and this one kept as {kept.name}"
            )
        with cannot_write(kept):
            place.rename(kept)
    mappings.save(place, mapping)
    return kept


def _holds(place: Path, mapping: AnyMapping) -> bool:
    try:
        return mappings.load(place) == mapping
    except UserError:
        return False


def source_digest(path: Path, digest: Callable[[Path], str] = sha256) -> str | None:
    """What a change of a dataset or of its mapping is recognised by: what its files hold, by whatever path.

    What people and tools put beside the data does not count: notes, licences and hidden files. None where the dataset
    is gone; what was taken from it stands. `digest` is asked for the hash of a file. Raises `UserError`, before any of
    them is read, where its files lead elsewhere or are too large, and where its mapping is no JSON.
    """
    if not path.exists():
        return None
    seen = [f"{name} {digest(file)}" for name, file in data_files(path).items()]
    if beside(path).is_file():
        seen.append(json.dumps(values_in(beside(path)), sort_keys=True))  # however it is laid out
    return hashlib.sha256("\n".join(seen).encode()).hexdigest()[:16]


def check_source(path: Path) -> None:
    """Raise `UserError` where logs or their mapping are not to be read, before any of them is."""
    data_files(path)
    if beside(path).is_file():
        mappings.load(beside(path))


def data_files(path: Path) -> dict[str, Path]:
    """A dataset's files by their names in it, in order; raises `UserError` where they cannot be read to the end."""
    sealed(path)
    if not path.is_dir():
        check_total(path, [path])
        return {"": path}
    named = {file.relative_to(path): file for file in path.rglob("*") if file.is_file()}
    found = {name.as_posix(): named[name] for name in sorted(named) if _is_data(name)}
    check_total(path, found.values())
    return found


def _is_data(name: Path) -> bool:
    *folders, file = name.parts
    hidden = any(part.startswith(".") for part in folders) or (file.startswith(".") and not file.startswith(ZARR))
    return not hidden and not file.startswith(NAME) and not file.upper().startswith(NOTES) and name.suffix != ".md"


def chosen(reading: Reading, observed: Sequence[int]) -> tuple[list[int], list[int]]:
    """Episodes that are used, and those that are too short for a single control step, by their observations."""
    wanted = reading.episodes(len(observed))
    short = [number for number in wanted if reading.rows(observed[number]) < 2]
    return [number for number in wanted if number not in set(short)], short


def megabytes(reading: Reading, observed: Sequence[int], numbers: Sequence[int]) -> float:
    """What the store of some episodes will take on the disk, by their observations."""
    return sum(reading.rows(observed[n]) for n in numbers) * reading.row_bytes / 1e6


def ingest(
    path: Path, reading: Reading, folder: Path, numbers: Sequence[int], processes: int, tick: Callable[[int], None]
) -> None:
    """Write episodes of a dataset into a recording; those that stand there already are kept.

    Raises `UserError` naming file and episode where one is damaged; what was written before stays.
    """
    standing = {number for number in recorded(folder) if _look(folder, number).is_file()}
    missing = [number for number in numbers if number not in standing]
    work = partial(_ingest, path, reading, folder)
    for done, _ in enumerate(over_episodes(path, work, missing, processes), len(numbers) - len(missing) + 1):
        tick(done)


def _ingest(path: Path, reading: Reading, folder: Path, dataset: Dataset, number: int) -> None:
    found = dataset.episode(number, reading.features)
    episode = reading.apply(found, dataset.final(number, reading.features))
    _keep(folder, number, reading.look(found, number, episode))
    _check(episode, number, path, " --robot" if isinstance(reading, RobotReading) else "")
    write_episode(folder, number, episode)


def _keep(folder: Path, number: int, seen: dict[str, Array]) -> None:
    """Keep what the doctor wants of an episode, until the store is sealed."""
    with atomic_write(_look(folder, number)) as draft, draft.open("wb") as file:
        np.savez(file, allow_pickle=False, **seen)


def kept(folder: Path, number: int) -> dict[str, Array]:
    """What was kept of an episode for the doctor; raises `UserError` where it is damaged."""
    path = _look(folder, number)
    try:
        with np.load(path, allow_pickle=False) as file:
            return {name: file[name] for name in file.files}
    except DAMAGED as error:
        raise UserError(
            f"{path}, what was kept of episode {number} for the data checks, is missing or damaged ({error}); delete "
            "it and collect again"
        ) from error


def looks(folder: Path, numbers: Sequence[int]) -> list[Seen]:
    """What was kept of planar robots' episodes for the doctor."""
    return [from_arrays(number, kept(folder, number)) for number in numbers]


def _look(folder: Path, number: int) -> Path:
    return recording_folder(folder) / f"look-{number:06d}.npz"


def _check(episode: dict[str, Array], number: int, path: Path, seen_as: str) -> None:
    for name, values in episode.items():
        if values.dtype != np.uint8 and not np.isfinite(values).all():
            raise UserError(
                f"the {name} of episode {number} in {path} holds numbers that are not finite; leave it out "
                f"(leave_out in {NAME}, or `glocal data doctor {quoted(path)}{seen_as} --leave-out`), or mend it"
            )
