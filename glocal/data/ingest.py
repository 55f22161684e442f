"""From a dataset of any known format to the episode store: decoded once, several episodes at a time."""

import hashlib
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import numpy as np

from glocal.data.dataset import Array, Dataset
from glocal.data.looks import Seen, look
from glocal.data.mapping import NAME, Mapping, apply, features_of, load
from glocal.data.parallel import over_episodes
from glocal.data.propose import propose
from glocal.data.store import recorded, recording_folder, write_episode
from glocal.files import UserError, appearing, read_json

NUMBERS = 40
"""Bytes that a row's numbers take in a store, about."""


def beside(path: Path) -> Path:
    """Where a dataset's mapping is kept."""
    return (path if path.is_dir() else path.parent) / NAME


def mapping_of(path: Path, dataset: Dataset) -> Mapping:
    """A dataset's mapping: from the file beside it, or else the one that is proposed."""
    return load(beside(path)) if beside(path).is_file() else propose(dataset)[0]


def source_digest(path: Path) -> str | None:
    """What a change of a dataset or of its mapping is recognised by: names, sizes and times, and the mapping's text.

    None where the dataset is gone; what was taken from it stands.
    """
    if not path.exists():
        return None
    files = sorted(file for file in path.rglob("*") if file.is_file()) if path.is_dir() else [path]
    seen = [f"{file} {file.stat().st_size} {file.stat().st_mtime_ns}" for file in files if file.name != NAME]
    if beside(path).is_file():
        seen.append(str(read_json(beside(path))))
    return hashlib.sha256("\n".join(seen).encode()).hexdigest()[:16]


def rows_of(mapping: Mapping, length: int) -> int:
    """Rows that an episode of so many recorded steps fills in a store."""
    return -(-length // mapping.stride)


def chosen(mapping: Mapping, lengths: Sequence[int]) -> tuple[list[int], list[int]]:
    """Episodes that are used, and those that are too short for a single decision."""
    wanted = mapping.episodes(len(lengths))
    short = [number for number in wanted if rows_of(mapping, lengths[number]) < 2]
    return [number for number in wanted if number not in set(short)], short


def megabytes(mapping: Mapping, lengths: Sequence[int], numbers: Sequence[int]) -> float:
    """What the store of some episodes will take on the disk."""
    return sum(rows_of(mapping, lengths[n]) for n in numbers) * (mapping.size**2 * 3 + NUMBERS) / 1e6


def ingest(
    path: Path, mapping: Mapping, folder: Path, numbers: Sequence[int], processes: int, tick: Callable[[int], None]
) -> None:
    """Write episodes of a dataset into a recording; those that stand there already are kept.

    Raises `UserError` naming file and episode where one is damaged; what was written before stays.
    """
    missing = [number for number in numbers if number not in recorded(folder)]
    work = partial(_ingest, path, mapping, folder)
    for done, _ in enumerate(over_episodes(path, work, missing, processes), len(numbers) - len(missing) + 1):
        tick(done)


def _ingest(path: Path, mapping: Mapping, folder: Path, dataset: Dataset, number: int) -> None:
    found = dataset.episode(number, features_of(mapping))
    _keep(folder, look(mapping, found, number))
    episode = apply(mapping, found)
    _check(episode, number, path)
    write_episode(folder, number, episode)


def _keep(folder: Path, seen: Seen) -> None:
    """Keep what the doctor wants of an episode, until the store is sealed."""
    state = {} if seen.state is None else {"state": seen.state}
    with appearing(recording_folder(folder) / f"look-{seen.number:06d}.npz") as draft, draft.open("wb") as file:
        np.savez(file, allow_pickle=False, action=seen.action, change=seen.change, peak=seen.peak, **state)


def looks(folder: Path, numbers: Sequence[int]) -> list[Seen]:
    """What was kept for the doctor."""
    found = []
    for number in numbers:
        with np.load(recording_folder(folder) / f"look-{number:06d}.npz", allow_pickle=False) as file:
            state = file["state"] if "state" in file.files else None
            found.append(Seen(number, file["action"], state, file["change"], file["peak"]))
    return found


def _check(episode: dict[str, Array], number: int, path: Path) -> None:
    for name, values in episode.items():
        if values.dtype != np.uint8 and not np.isfinite(values).all():
            raise UserError(
                f"the {name} of episode {number} in {path} holds numbers that are not finite; leave it out "
                f"(leave_out in {NAME}, or `glocal data doctor {path} --leave-out`), or mend it"
            )
