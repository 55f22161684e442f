"""Formats that keep each feature as one array for all episodes: Diffusion Policy's zarr, and HDF5.

In zarr, and as stable-worldmodel lays HDF5 out, episodes stand one behind the other; in files (shards) of images,
actions and lengths they may also be padded to the longest.
"""

from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from glocal.data.dataset import Array, Dataset, Feature, Format
from glocal.data.formats.aside import Aside
from glocal.data.formats.bounds import EPISODES, KINDS, STEPS, check_shape, check_size
from glocal.data.formats.pictures import as_bytes, brightest, feature_of
from glocal.runtime.files import UserError

H5_ENDINGS = (".h5", ".hdf5")
LENGTHS = ("ep_len", "lengths")
"""Arrays that tell the episodes' lengths."""
BESIDE = (*LENGTHS, "ep_offset")
LOOKED_AT = 8
"""Episodes, evenly spread, of which a picture is looked at to tell what white is."""
CODECS = {"blosc", "zstd", "lz4", "gzip", "zlib", "bz2", "lzma", "crc32", "crc32c", "adler32", "fletcher32", "bytes",
          "shuffle", "delta", "fixedscaleoffset", "astype", "bitround", "quantize", "transpose", "sharding_indexed",
          "imagecodecs_jpegxl", "imagecodecs_jpeg", "imagecodecs_jpeg2k", "imagecodecs_png"}  # fmt: skip
"""Of zarr, those that hold numbers and pictures; others, such as pickle, run what is in the data."""


class Padded:
    """An array (episodes, steps of the longest, ...) as if episodes stood one behind the other."""

    def __init__(self, array: Any, starts: Array):
        self.array, self.starts = array, starts
        self.shape, self.dtype = (int(starts[-1]), *array.shape[2:]), array.dtype

    def __getitem__(self, rows: slice) -> Array:
        """The rows of one episode."""
        episode = int(np.searchsorted(self.starts, rows.start, side="right")) - 1
        return np.asarray(self.array[episode, : rows.stop - rows.start])


class FlatDataset(Dataset):
    """Arrays (steps of all episodes, ...) that are read in slices, in one file or in several (shards)."""

    fps = None

    def __init__(self, path: Path, name: str, shards: Sequence[tuple[Path, Mapping[str, Any], Array]]):
        """Of shards: the file, its arrays by name, and where its episodes begin and the last one ends, (n + 1,)."""
        self.folder, self.format = path, name
        self.features = {key: feature_of(array) for key, array in shards[0][1].items()}
        self._white: dict[str, float] = {}
        self._episodes = [(shard, *bounds) for shard in shards for bounds in pairwise(shard[2].tolist())]
        self.lengths = [end - begin for _, begin, end in self._episodes]
        for file, arrays, starts in shards:
            _check_shard(file, arrays, starts, self.features)

    def episode(self, number: int, names: Sequence[str]) -> dict[str, Array]:
        (file, arrays, _), begin, end = self._episodes[number]
        found = {}
        for name in names:
            try:
                values = np.asarray(arrays[name][begin:end]).reshape(end - begin, *self.features[name].shape)
                found[name] = self._shown(name, values, f"episode {number} in {file}")
            except UserError:
                raise
            except Exception as error:  # decoders raise what they like at damaged files, SystemError included
                raise UserError(
                    f"{name} of episode {number} in {file} cannot be read ({error}); it is damaged"
                ) from error
        return found

    def _shown(self, name: str, values: Array, place: str) -> Array:
        """An episode's values; pictures as bytes."""
        if not self.features[name].picture or values.dtype == np.uint8:
            return values
        try:
            return as_bytes(values, self._brightest(name))
        except ValueError as error:
            raise UserError(f"{name} of {place} cannot be used: {error}") from error

    def _brightest(self, name: str) -> float:
        """What white is in all pictures of a camera, by some of them."""
        if name not in self._white:
            some = np.unique(np.linspace(0, len(self._episodes) - 1, LOOKED_AT).astype(int))
            places = [self._episodes[number] for number in some]
            self._white[name] = brightest(
                np.asarray(arrays[name][begin : begin + 1]) for (_, arrays, _), begin, _ in places
            )
        return self._white[name]


def _check_shard(file: Path, arrays: Mapping[str, Any], starts: Array, features: Mapping[str, Feature]) -> None:
    if set(arrays) != set(features):
        raise UserError(f"{file} holds {', '.join(sorted(arrays))}, the first file {', '.join(sorted(features))}")
    if starts[0] < 0 or (np.diff(starts) <= 0).any():
        raise UserError(f"{file}: episodes begin at {starts[:5].tolist()}...; their lengths have to be above 0")
    for name, array in arrays.items():
        if array.shape[0] < starts[-1]:
            raise UserError(f"{file}: {name} has {array.shape[0]} steps where the episodes end at {starts[-1]}")


def open_zarr(path: Path) -> Dataset:
    """`data/*` and `meta/episode_ends` in a zarr folder or zip file; what holds no numbers is left out."""
    zarr = library("zarr")
    try:
        root = zarr.open_group(str(path), mode="r", use_consolidated=False)
        found = {name: array for name, array in root["data"].arrays() if array.ndim and array.dtype.kind in KINDS}
        arrays = {name: _checked_zarr(path, name, array) for name, array in found.items()}
        ends = _counts(path, "meta/episode_ends", _checked_zarr(path, "episode_ends", root["meta"]["episode_ends"]))
    except UserError:
        raise
    except Exception as error:
        raise UserError(f"{path} does not read as zarr with data/* and meta/episode_ends ({error!r})") from error
    if not arrays or not len(ends):
        raise UserError(f"{path} holds {len(arrays)} arrays under data/, and {len(ends)} episode ends")
    return FlatDataset(path, "Diffusion Policy zarr", [(path, arrays, np.concatenate([[0], ends]))])


def _checked_zarr(path: Path, name: str, array: Any) -> Any:
    """An array of zarr; raises `UserError` where its codecs or its chunks are none that hold numbers of robots."""
    foreign = set(_codecs(array.metadata.to_dict())) - CODECS
    if foreign:
        raise UserError(f"{path}: {name} is packed by {', '.join(sorted(foreign))}; known are {', '.join(CODECS)}")
    _check_array(path, name, array)
    check_size(path, f"a chunk of {name}", int(np.prod([float(n) for n in array.chunks])) * array.dtype.itemsize)
    return array


def _codecs(told: Any) -> Iterator[str]:
    """The names of all codecs in an array's metadata, nested ones too."""
    if isinstance(told, Mapping):
        if "zarr_format" in told:
            told = {"codecs": [told.get("compressor"), *(told.get("filters") or ()), *(told.get("codecs") or ())]}
        name = told.get("id", told.get("name"))
        yield from [str(name).removeprefix("numcodecs.")] if name is not None else []
        inner = [value for key, value in told.items() if key in ("configuration", "codecs", "index_codecs")]
        for part in inner:
            yield from _codecs(part)
    elif isinstance(told, list | tuple):
        for part in told:
            yield from _codecs(part)


def _check_array(file: Path, name: str, array: Any) -> None:
    """Raise `UserError` where an array is beyond the bounds, by what it says of itself."""
    if len(array.shape) > 1:
        check_shape(file, name, array.shape[1:], picture=len(array.shape) == 4 and array.shape[-1] == 3)


def _counts(file: Path, name: str, array: Any) -> Array:
    """Counts of steps, (n,); raises `UserError` where they are none, or beyond the bounds."""
    most = STEPS * EPISODES
    if array.dtype.kind not in "iu" or not 0 < int(np.prod(array.shape, dtype=float)) <= EPISODES:
        raise UserError(f"{file}: {name} is {array.dtype} {array.shape}, expected a count for each of the episodes")
    counts = np.asarray(array[:]).reshape(-1)
    if int(counts.min()) < 0 or int(counts.max()) > most:
        raise UserError(f"{file}: {name} holds {counts.min()} to {counts.max()}, expected counts of steps up to {most}")
    return counts.astype(np.int64)


def open_hdf5(path: Path) -> Dataset:
    """One file, or a folder of them, with arrays of all steps and the episodes' lengths (`ep_len` or `lengths`);
    what holds no numbers is left out."""
    files = [path] if path.is_file() else sorted(file for file in path.iterdir() if file.suffix in H5_ENDINGS)
    try:
        return FlatDataset(path, "HDF5", [_shard(file) for file in files])
    except UserError:
        raise
    except Exception as error:  # h5py raises what it likes wherever it meets damage, types of arrays included
        raise UserError(f"{path} does not read as HDF5 ({error!r}); it is damaged or cut short") from error


def _shard(file: Path) -> tuple[Path, Mapping[str, Any], Array]:
    h5py = library("h5py")
    try:
        handle = h5py.File(file, "r")
    except OSError as error:
        raise UserError(f"{file} does not read as HDF5 ({error}); it is damaged or cut short") from error
    found = {name: _checked_hdf5(file, name, handle[name]) for name in own_names(file, handle)}
    found = {name: array for name, array in found.items() if array is not None}
    name = next((name for name in LENGTHS if name in found), None)
    if name is None:
        raise UserError(
            f"{file} tells no lengths of episodes: expected one of {', '.join(LENGTHS)} beside {list(found)}"
        )
    lengths = _counts(file, name, found[name])
    if int(lengths.max()) > STEPS:
        raise UserError(f"{file}: {name} holds {lengths.max()}, expected up to {STEPS} steps an episode")
    starts = np.concatenate([[0], np.cumsum(lengths)])
    if "ep_offset" in found and not np.array_equal(_counts(file, "ep_offset", found["ep_offset"]), starts[:-1]):
        raise UserError(f"{file}: ep_offset does not follow from ep_len; episodes have to stand one behind the other")
    arrays = {name: array for name, array in found.items() if name not in BESIDE}
    shapes = [array.shape for array in arrays.values()]
    if all(len(shape) > 1 and shape[0] == len(lengths) and shape[1] >= lengths.max() for shape in shapes):
        return file, {name: Padded(array, starts) for name, array in arrays.items()}, starts
    return file, arrays, starts


def own_names(file: Path, group: Any) -> list[str]:
    """The names in a group of an HDF5 file; raises `UserError` where one is a link that leads elsewhere."""
    h5py, kinds = library("h5py"), {}
    group.id.links.iterate(lambda name, info: kinds.__setitem__(name.decode("utf-8", "replace"), info.type), info=True)
    for name, kind in kinds.items():
        if kind != h5py.h5l.TYPE_HARD:
            raise UserError(
                f"{file}: {name!r:.60} is a link to elsewhere, which is not followed; copy what it leads to"
            )
    return list(kinds)


def _checked_hdf5(file: Path, name: str, found: Any) -> Any:
    """An array of numbers, or None where it is another thing; raises `UserError` where its values are elsewhere."""
    if not isinstance(found, library("h5py").Dataset) or not found.shape or found.dtype.kind not in KINDS:
        return None
    check_own_values(file, found)
    _check_array(file, name, found)
    return found


def check_own_tree(file: Path, group: Any) -> None:
    """Raise `UserError` where anything in a group of an HDF5 file, however deep, leads to other files."""
    for name in own_names(file, group):
        part = group[name]
        if isinstance(part, library("h5py").Dataset):
            check_own_values(file, part)
        elif isinstance(part, library("h5py").Group):
            check_own_tree(file, part)


def check_own_values(file: Path, array: Any) -> None:
    """Raise `UserError` where an array of an HDF5 file has its values in other files."""
    if array.is_virtual or array.id.get_create_plist().get_external_count():
        raise UserError(
            f"{file}: {array.name} keeps its values in other files (external storage, or a virtual data set), which "
            "are not read; write them into this one"
        )


def library(name: str) -> Any:
    """A package that only some formats need; raises `UserError` where it is not installed."""
    import importlib

    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise UserError(f"reading this format needs {name} ({error}); install it with `pip install {name}`") from error


def _is_zarr(path: Path) -> bool:
    inside = ("zarr.json", ".zgroup")
    return path.name.endswith((".zarr", ".zarr.zip")) or (
        path.is_dir() and any((path / name).is_file() for name in inside)
    )


def _is_hdf5(path: Path) -> bool:
    return path.suffix in H5_ENDINGS or (path.is_dir() and any(file.suffix in H5_ENDINGS for file in path.iterdir()))


ZARR = Format("zarr", _is_zarr, partial(Aside, open_zarr))
HDF5 = Format("hdf5", _is_hdf5, partial(Aside, open_hdf5))
"""Aside: what is packed in a chunk may unpack to any size, and costs no more than that process's memory."""
