"""A plain folder: an npz for each episode, or an mp4 for each with an npy of its actions (or an npz) beside it."""

import math
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.lib import format as npy

from glocal.data.dataset import Array, Dataset, Feature, Format
from glocal.data.formats.bounds import KINDS, check_size, check_zip
from glocal.data.formats.pictures import as_bytes, brightest, feature_of
from glocal.data.video import read_frames, stacked, video_info
from glocal.runtime.files import UserError

VIDEO, ACTION = "image", "action"
"""What a video's pictures and an npy's rows are called."""
AT_ONCE = 2**20
"""Bytes that are unpacked at a time."""


class FolderDataset(Dataset):
    """Episodes in the order of their files' names; all have the features of the first."""

    def __init__(self, folder: Path):
        self.folder = folder
        videos = {path.stem: path for path in folder.glob("*.mp4")}
        numbers = {path.stem: path for ending in ("npy", "npz") for path in sorted(folder.glob(f"*.{ending}"))}
        self.format = "folder of mp4 and npy" if videos else "folder of npz"
        alone = sorted(set(videos) - set(numbers))
        if alone:
            raise UserError(f"{videos[alone[0]]} has no {alone[0]}.npy or {alone[0]}.npz with its actions beside it")
        self.files = [(numbers[stem], videos.get(stem)) for stem in sorted(videos or numbers)]
        first, video = self.files[0]
        kept = _numbers(first)
        self.features = {name: feature_of(array) for name, array in kept.items()}
        self._white = {name: brightest([kept[name]]) for name, one in self.features.items() if one.picture}
        self.fps = None
        if video is not None:
            info = video_info(video)
            if not info["fps"] > 0:
                raise UserError(f"{video} tells a rate of {info['fps']} frames a second; it is damaged")
            self.fps = info["fps"]
            self.features[VIDEO] = Feature((info["height"], info["width"], 3), "uint8", picture=True, filmed=True)
        self.lengths = [len(next(iter(_numbers(path).values()))) for path, _ in self.files]

    def episode(self, number: int, names: Sequence[str]) -> dict[str, Array]:
        path, video = self.files[number]
        found: dict[str, Array] = dict(_numbers(path))
        for name, array in found.items():
            self._check(name, array, path, number)
        if video is not None and VIDEO in names:
            found[VIDEO] = self._film(video, number)
        missing = [name for name in names if name not in found]
        if missing:
            raise UserError(f"{path} has no {', '.join(missing)}; expected {', '.join(self.features)} in every episode")
        found |= {name: self._shown(name, found[name], path) for name in names if name in self._white}
        return {name: found[name].reshape(self.lengths[number], *self.features[name].shape) for name in names}

    def _check(self, name: str, array: Array, path: Path, number: int) -> None:
        """Raise `UserError` where an array is not what the first episode has under that name."""
        first, feature, steps = self.files[0][0], self.features.get(name), self.lengths[number]
        if feature is None:
            raise UserError(f"{path} holds {name}, which {first} does not; all episodes need the features of the first")
        if feature_of(array) != feature or len(array) != steps:
            raise UserError(
                f"{name} in {path} is {array.dtype} {array.shape}, expected {steps} steps of {feature.dtype} "
                f"{feature.shape} as in {first}"
            )

    def _shown(self, name: str, values: Array, path: Path) -> Array:
        try:
            return as_bytes(values, self._white[name])
        except ValueError as error:
            raise UserError(f"{name} in {path} cannot be used: {error}") from error

    def _film(self, video: Path, number: int) -> Array:
        length, shape = self.lengths[number], self.features[VIDEO].shape
        assert self.fps is not None
        try:
            return stacked(read_frames(video, 0.0, length, self.fps), length, shape)
        except ValueError as error:
            raise UserError(f"episode {number} in {video}: {error} as in {self.files[0][1]}") from error


def _numbers(path: Path) -> dict[str, Any]:
    """The arrays of an npz, or the one of an npy; (steps, ...) each."""
    try:
        arrays = _one(path) if path.suffix == ".npy" else _packed(path)
    except UserError:
        raise
    except Exception as error:  # a damaged header is parsed as Python by numpy, and raises whatever that raises
        why = " ".join(str(error).split())[:200]
        raise UserError(f"{path} does not read as numpy arrays ({why}); it is damaged or cut short") from error
    lengths = {name: len(array) if array.ndim else 0 for name, array in arrays.items()}
    if not arrays or len(set(lengths.values())) != 1 or not min(lengths.values()):
        raise UserError(f"the arrays in {path} have lengths {lengths}; expected one length, above 0")
    return arrays


def _one(path: Path) -> dict[str, Any]:
    with path.open("rb") as file:
        return {ACTION: _array(path, file, path.stat().st_size)}


def _packed(path: Path) -> dict[str, Any]:
    with zipfile.ZipFile(path) as archive:
        check_zip(path, archive)
        arrays = {}
        for member in archive.infolist():
            with archive.open(member) as file:
                arrays[member.filename.removesuffix(".npy")] = _array(path, file, member.file_size)
    return arrays


def _array(path: Path, file: IO[bytes], size: int) -> Array:
    """The array in a file of so many bytes; raises `ValueError` where its header tells another size."""
    shape, fortran, dtype = _header(file)
    told = math.prod(shape) * dtype.itemsize
    if dtype.kind not in KINDS:
        raise ValueError(f"it holds {dtype}, expected numbers")
    if min(shape, default=0) < 0 or told != size - file.tell():
        raise ValueError(f"{dtype} of shape {shape} is told, which is not the {size - file.tell()} bytes that it holds")
    check_size(path, "its array", told)
    content, done = bytearray(told), 0
    while part := file.read(min(AT_ONCE, told - done)):
        content[done : done + len(part)] = part
        done += len(part)
    if done != told:
        raise ValueError("it is cut short")
    return np.frombuffer(content, dtype).reshape(shape, order="F" if fortran else "C")


def _header(file: IO[bytes]) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
    if npy.read_magic(file) == (1, 0):
        return npy.read_array_header_1_0(file)
    return npy.read_array_header_2_0(file)


def _recognises(path: Path) -> bool:
    return path.is_dir() and any(any(path.glob(f"*.{ending}")) for ending in ("npz", "npy", "mp4"))


FORMAT = Format("folder", _recognises, FolderDataset)
