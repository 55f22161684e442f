"""How large a data set may be: far beyond what robots record, and small enough to be refused before memory is full."""

import math
import zipfile
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

from glocal.data.dataset import Dataset
from glocal.data.video import SIDE
from glocal.runtime.files import UserError

NUMBERS = 1_000_000
"""Numbers that a feature has in a step, where it is no picture."""
FEATURES = 1000
"""Features in a data set."""
STEPS = 1_000_000
"""Steps of an episode: nearly three hours at 100 a second."""
EPISODES = 1_000_000
"""Episodes of a data set."""
RATE = 10_000.0
"""Steps a second."""
EPISODE_BYTES = 4 * 2**30
"""Bytes of one feature of one episode, as it is read into memory: 86 minutes of 96x96 pictures at 30 a second, two and
a half of 640x480."""
TABLE_ROWS = 100_000_000
"""Rows of one table."""
TABLE_BYTES = 3 * 2**28
"""Bytes of one table, unpacked: eight times what LeRobot writes into one."""
DATASET_BYTES = 2**38
"""Bytes of all files of a data set that is trained on, 256 GiB: they are read once, to be recognised."""
KINDS = "biuf"
"""numpy's kinds of numbers: truth values, integers with and without a sign, floats."""


def check_shape(source: object, name: str, shape: Sequence[int], picture: bool) -> None:
    """Raise `UserError` where a feature's step is of a size that nothing records."""
    if picture and (len(shape) != 3 or not all(1 <= n <= SIDE for n in shape)):
        raise UserError(f"{source}: pictures of {name} are {_told(shape)}, expected (h, w, 3) of up to {SIDE} pixels")
    if not picture and (len(shape) > 8 or not all(n >= 1 for n in shape) or math.prod(shape) > NUMBERS):
        raise UserError(f"{source}: {name} is {_told(shape)} a step, expected up to {NUMBERS} numbers")


def check_length(source: object, number: object, length: int) -> None:
    """Raise `UserError` where an episode has no step, or more than anything records."""
    if not 1 <= length <= STEPS:
        raise UserError(f"{source}: episode {number} has {length!s:.30} steps, expected 1 to {STEPS}")


def check_size(source: object, what: str, size: int) -> None:
    """Raise `UserError` where something would take more memory than one feature of an episode may."""
    if not 0 <= size <= EPISODE_BYTES:
        raise UserError(f"{source}: {what} takes {size!s:.30} bytes of memory, {EPISODE_BYTES} are read at most")


def check_total(source: object, files: Iterable[Path]) -> None:
    """Raise `UserError` where files take too long to be read, by the sizes that they tell: holes in them count."""
    total = sum(file.stat().st_size for file in files)
    if total > DATASET_BYTES:
        raise UserError(
            f"the files of {source} have {total} bytes, {DATASET_BYTES} are read at most; take a part of it with "
            "`glocal data split`, or remove what is no part of the data"
        )


def check_dataset(dataset: Dataset) -> None:
    """Raise `UserError` where what a data set says of itself is beyond these bounds."""
    source = dataset.folder
    if not dataset.features:
        raise UserError(f"{source} tells of no features; expected pictures and actions")
    if len(dataset) > EPISODES or len(dataset.features) > FEATURES:
        raise UserError(
            f"{source} has {len(dataset)} episodes of {len(dataset.features)} features, expected up to {EPISODES} of "
            f"{FEATURES}; split it"
        )
    if dataset.fps is not None and not 0 < dataset.fps <= RATE:
        raise UserError(f"{source} tells a rate of {dataset.fps} steps a second, expected up to {RATE:g}")
    longest = max(dataset.lengths, default=0)
    for number, length in enumerate(dataset.lengths):
        check_length(source, number, length)
    for name, feature in dataset.features.items():
        if not name or not name.isprintable():
            raise UserError(f"{source} has a feature named {name!r:.60}; expected a name that can be printed")
        check_shape(source, name, feature.shape, feature.picture)
        step = math.prod(feature.shape) * np.dtype(feature.dtype).itemsize
        check_size(source, f"{name} of the longest episode", longest * step)


def check_zip(path: Path, archive: zipfile.ZipFile) -> None:
    """Raise `UserError` where a zip file's directory tells of too much; no more than it tells is unpacked."""
    members = archive.infolist()
    if len(members) > FEATURES:
        raise UserError(f"{path} holds {len(members)} arrays, {FEATURES} are read at most")
    check_size(path, "what is packed in it", sum(member.file_size for member in members))


def _told(shape: Sequence[int]) -> str:
    return "x".join(f"{n!s:.30}" for n in shape[:9]) or "of no size"
