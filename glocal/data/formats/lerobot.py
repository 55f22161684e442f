"""LeRobotDataset, versions 3.0 and 2.1, read directly: parquet tables for numbers, and videos or pictures in tables.

In 3.0 many episodes share a table and a video, and `meta/episodes` says where each begins; in 2.1 each has its own.
"""

import io
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image, UnidentifiedImageError

from glocal.data.dataset import Array, Dataset, Feature, Format
from glocal.data.formats.bounds import NUMBERS as NUMBERS_A_STEP
from glocal.data.formats.bounds import RATE, TABLE_BYTES, TABLE_ROWS, check_length, check_shape
from glocal.data.inside import JSON_BYTES, expanded, inside, parse, read_foreign_json, regular
from glocal.data.video import read_frames, stacked
from glocal.runtime.files import UserError

VERSIONS = ("v3.0", "v2.1")
KEPT_BY_THE_FORMAT = ("timestamp", "frame_index", "episode_index", "index", "task_index")
PICTURES = ("video", "image")
WHOLE = tuple(f"{kind}{bits}" for kind in ("int", "uint") for bits in (8, 16, 32, 64))
DTYPES = ("bool", *WHOLE, "float16", "float32", "float64", "string", *PICTURES)
"""That features may be told as."""
PICTURE_FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "TIFF")
"""Of pictures in tables."""
WHERE = ("episode_index", "dataset_from_index", "dataset_to_index", "tasks")
"""Columns of `meta/episodes` that say where an episode is; videos add to them."""
AT_ONCE = 2**26
"""Bytes of texts or pictures, at most, that a table is unpacked by."""
ROWS_AT_ONCE = 65536
UNREADABLE = (pa.ArrowException, ValueError, TypeError, KeyError, IndexError, ArithmeticError, MemoryError, OSError,
              SyntaxError, UnidentifiedImageError, Image.DecompressionBombError)  # fmt: skip
"""What readers of tables and of pictures in them raise at damage."""
INCOMPLETE = (KeyError, TypeError, ValueError, IndexError, AttributeError, ArithmeticError, OSError)
"""What comes of metadata that lack something, or tell it as something else."""


@dataclass(frozen=True)
class Place:
    """Where an episode is: rows of a table, and for each camera a video and the second that it begins at."""

    table: Path
    first: int
    """Its first row's value in the column `index`; rows are counted through all episodes."""
    length: int
    videos: Mapping[str, tuple[Path, float]]
    tasks: tuple[str, ...]


class LeRobotDataset(Dataset):
    """A folder with `meta/info.json`; raises `UserError` where that or what it points to does not fit."""

    def __init__(self, folder: Path):
        self.folder = folder
        info = _info(folder)
        self.version = info["codebase_version"]
        self.format, self.fps = f"LeRobotDataset {self.version}", float(info["fps"])
        told = {name: told for name, told in info["features"].items() if name not in KEPT_BY_THE_FORMAT}
        self.features = {name: _feature(name, feature, folder / "meta" / "info.json") for name, feature in told.items()}
        self.stored = {name: str(feature["dtype"]) for name, feature in told.items()}
        cameras = [name for name, dtype in self.stored.items() if dtype == "video"]
        self.places = (_places_v3 if self.version == "v3.0" else _places_v21)(folder, info, cameras)
        self.lengths = [place.length for place in self.places]
        self._last: tuple[Path, tuple[str, ...], pa.Table] | None = None

    def task(self, number: int) -> str:
        return next(iter(self.places[number].tasks), "")

    def episode(self, number: int, names: Sequence[str]) -> dict[str, Array]:
        place = self.places[number]
        rows = self._rows(number, tuple(name for name in names if self.stored[name] != "video"))
        return {name: self._read(number, name, place, rows) for name in names}

    def _read(self, number: int, name: str, place: Place, rows: pa.Table) -> Array:
        feature = self.features[name]
        try:
            if self.stored[name] == "video":
                path, begin = place.videos[name]
                assert self.fps is not None
                regular(self.folder, path)
                return stacked(read_frames(path, begin, place.length, self.fps), place.length, feature.shape)
            column = rows[name].combine_chunks()
            if self.stored[name] == "image":
                pictures = (_picture(cell, feature.shape) for cell in column)
                return stacked(pictures, place.length, feature.shape)
            return _numbers(column, place.length, feature)
        except UserError as error:
            raise UserError(f"{name} of episode {number}: {error}") from error
        except UNREADABLE as error:
            raise UserError(
                f"{name} of episode {number} in {place.table} does not read as {feature.dtype} {feature.shape} "
                f"({error}); the file is damaged, or meta/info.json is of another dataset"
            ) from error

    def _rows(self, number: int, columns: tuple[str, ...]) -> pa.Table:
        """The episode's rows of its table; the table that was read last is kept."""
        place = self.places[number]
        if self._last is None or self._last[:2] != (place.table, columns):
            of = f", which holds episode {number},"
            self._last = (place.table, columns, read_table(self.folder, place.table, ("index", *columns), of))
        table = self._last[2]
        index = index_of(table, place.table)
        begin = int(np.searchsorted(index, place.first))
        rows = table.slice(begin, place.length)
        if (
            rows.num_rows != place.length
            or index[begin + place.length - 1] - place.first != place.length - 1
            or index[begin] != place.first
        ):
            raise UserError(
                f"{place.table} has not the {place.length} rows from {place.first} on that are episode {number} by "
                "what meta says; the file is cut short, or meta is of another dataset"
            )
        return rows


def _info(folder: Path) -> dict[str, Any]:
    path = folder / "meta" / "info.json"
    info = read_foreign_json(folder, path)
    missing = [key for key in ("codebase_version", "fps", "features") if not isinstance(info, dict) or key not in info]
    if missing:
        raise UserError(f"{path} does not say {', '.join(missing)}; it is no LeRobotDataset, or damaged")
    if info["codebase_version"] not in VERSIONS:
        raise UserError(
            f"{folder} is a LeRobotDataset of version {info['codebase_version']!r:.40}; {' and '.join(VERSIONS)} are "
            "read. Convert it with LeRobot's own scripts first"
        )
    fps, features = info["fps"], info["features"]
    if not isinstance(features, dict) or not isinstance(fps, int | float) or not 0 < fps <= RATE:
        raise UserError(
            f"{path}: fps is {fps!r:.40} (expected up to {RATE:g}) and features are {type(features).__name__}; it is "
            "damaged"
        )
    return info


def _feature(name: str, told: Any, source: Path) -> Feature:
    try:
        shape, dtype = tuple(int(n) for n in told["shape"]), str(told["dtype"])
        picture = dtype in PICTURES
        shape = _height_first(shape, told.get("names")) if picture else shape
        feature = Feature(shape, _dtype(dtype), picture, _flat_names(told), dtype == "video")
    except (KeyError, TypeError, ValueError, AttributeError, IndexError, ArithmeticError) as error:
        raise UserError(f"{source}: feature {name!r:.60} is told as {told!r:.200} ({error!s:.200})") from error
    check_shape(source, name, shape, picture)
    return feature


def _dtype(told: str) -> str:
    if told not in DTYPES:
        raise ValueError(f"expected one of {', '.join(DTYPES)}")
    return "uint8" if told in PICTURES else "object" if told == "string" else told


def _height_first(shape: tuple[int, ...], names: Any) -> tuple[int, ...]:
    """Pictures are told as (h, w, c) or (c, h, w)."""
    first = names[0] if isinstance(names, list) and names else ""
    return (shape[1], shape[2], shape[0]) if str(first).startswith("channel") else shape


def _flat_names(told: Mapping[str, Any]) -> tuple[str, ...] | None:
    names = told.get("names")
    if isinstance(names, dict):
        names = [name for part in names.values() for name in (part if isinstance(part, list) else [part])]
    return tuple(map(str, names)) if isinstance(names, list) else None


def _places_v3(folder: Path, info: Mapping[str, Any], cameras: Sequence[str]) -> list[Place]:
    paths = sorted((folder / "meta" / "episodes").glob("*/*.parquet"))
    if not paths:
        raise UserError(f"{folder / 'meta' / 'episodes'} holds no parquet file, so that no episode can be found")
    rows = [(path, row) for path in paths for row in _records(folder, path)]
    return [_place_v3(folder, info, cameras, path, row) for path, row in sorted(rows, key=lambda one: _number(*one))]


def _records(folder: Path, path: Path) -> list[dict[str, Any]]:
    """Where episodes are; the statistics of each, which stand beside that, are not read."""
    try:
        known = pq.read_schema(regular(folder, path)).names
        wanted = [name for name in known if name in WHERE or name.startswith(("data/", "videos/"))]
        return read_table(folder, path, wanted).to_pylist()
    except UNREADABLE as error:  # names and texts that are no UTF-8
        raise UserError(f"{path} does not read as parquet ({error}); it is damaged") from error


def _number(path: Path, row: Mapping[str, Any]) -> int:
    if not isinstance(row.get("episode_index"), int):
        raise UserError(f"{path} has a row without an episode_index; it is damaged")
    return row["episode_index"]


def _place_v3(
    folder: Path, info: Mapping[str, Any], cameras: Sequence[str], path: Path, row: Mapping[str, Any]
) -> Place:
    source = folder / "meta" / "info.json"

    def named(template: Any, prefix: str, **more: str) -> Path:
        fields = {key: int(row[f"{prefix}/{key}"]) for key in ("chunk_index", "file_index")}
        return inside(folder, expanded(template, {**fields, **more}, source), source)

    try:
        first, end = int(row["dataset_from_index"]), int(row["dataset_to_index"])
        check_length(path, row["episode_index"], end - first)
        videos = {
            name: (
                named(info["video_path"], f"videos/{name}", video_key=name),
                _second(row[f"videos/{name}/from_timestamp"]),
            )
            for name in cameras
        }
        return Place(named(info["data_path"], "data"), first, end - first, videos, tuple(row.get("tasks") or ()))
    except INCOMPLETE as error:
        raise UserError(f"{path}: episode {row.get('episode_index')} is not told whole ({error!r})") from error


def _second(told: Any) -> float:
    if not 0 <= float(told) < math.inf:
        raise ValueError(f"a video begins at {told} s")
    return float(told)


def _places_v21(folder: Path, info: Mapping[str, Any], cameras: Sequence[str]) -> list[Place]:
    path, source = folder / "meta" / "episodes.jsonl", folder / "meta" / "info.json"
    places, first = [], 0

    def named(template: Any, **fields: int | str) -> Path:
        return inside(folder, expanded(template, fields, source), source)

    try:
        for row in sorted(_lines(folder, path), key=lambda row: row["episode_index"]):
            number, length = int(row["episode_index"]), int(row["length"])
            check_length(path, number, length)
            where = {"episode_chunk": number // int(info["chunks_size"]), "episode_index": number}
            videos = {name: (named(info["video_path"], **where, video_key=name), 0.0) for name in cameras}
            table = named(info["data_path"], **where)
            places.append(Place(table, first, length, videos, tuple(row.get("tasks", ()))))
            first += length
    except INCOMPLETE as error:
        raise UserError(f"{path} does not tell the episodes ({error!r}); it is missing or damaged") from error
    return places


def _lines(folder: Path, path: Path) -> list[Any]:
    size = regular(folder, path).stat().st_size
    if size > JSON_BYTES:
        raise UserError(f"{path} has {size} bytes; {JSON_BYTES} are read at most")
    return [parse(line) for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]


def read_table(folder: Path, path: Path, columns: Sequence[str] | None = None, of: str = "") -> pa.Table:
    """Columns of a table, or all; raises `UserError` where it does not read, or is beyond the bounds."""
    try:
        with pq.ParquetFile(regular(folder, path)) as file:
            wanted = file.schema_arrow.names if columns is None else list(columns)
            rows = _rows_at_once(path, file.metadata, wanted)
            parts, size = [], 0
            for part in file.iter_batches(rows, columns=wanted):
                size += part.nbytes
                if size > TABLE_BYTES:
                    raise UserError(f"{path} unpacks to more than {TABLE_BYTES} bytes; {TABLE_BYTES} are read at most")
                parts.append(part)
            return pa.Table.from_batches(parts) if parts else file.schema_arrow.empty_table().select(wanted)
    except UNREADABLE as error:
        raise UserError(
            f"{path}{of} does not read as parquet ({error}); it is missing, damaged or cut short"
        ) from error


def _rows_at_once(path: Path, about: Any, columns: Sequence[str]) -> int:
    """How many rows of a table to unpack at a time; raises `UserError` where it is beyond the bounds.

    A table's texts may be told once and meant in every row, so that each row may unpack to all that is told.
    """
    groups = [about.row_group(i) for i in range(about.num_row_groups)]
    parts = [group.column(i) for group in groups for i in range(group.num_columns)]
    read = [part for part in parts if any(f"{part.path_in_schema}.".startswith(f"{name}.") for name in columns)]
    size, values = sum(part.total_uncompressed_size for part in read), max((p.num_values for p in read), default=0)
    if not 0 <= about.num_rows <= TABLE_ROWS or size > TABLE_BYTES or values > max(1, about.num_rows) * NUMBERS_A_STEP:
        raise UserError(
            f"{path} tells of {about.num_rows} rows and {size} bytes; up to {TABLE_ROWS} rows, of {NUMBERS_A_STEP} "
            f"numbers each, and {TABLE_BYTES} bytes are read"
        )
    texts = [part.total_uncompressed_size for part in read if part.physical_type.endswith("BYTE_ARRAY")]
    return max(1, min(ROWS_AT_ONCE, AT_ONCE // max(1, *texts))) if texts else ROWS_AT_ONCE


def index_of(table: pa.Table, path: Path) -> Array:
    """A table's column `index`, which counts rows through all episodes."""
    if "index" not in table.column_names or not pa.types.is_integer(table["index"].type) or table["index"].null_count:
        raise UserError(f"{path} has no column `index` of whole numbers; it is damaged")
    return table["index"].to_numpy()


def _numbers(column: Any, length: int, feature: Feature) -> Array:
    """A column of scalars or (nested) lists as (length, *shape)."""
    if column.null_count:
        raise ValueError(f"{column.null_count} values are missing")
    flat = column
    while pa.types.is_list(flat.type) or pa.types.is_fixed_size_list(flat.type) or pa.types.is_large_list(flat.type):
        flat = flat.flatten()
    return flat.to_numpy(zero_copy_only=False).reshape(length, *feature.shape).astype(feature.dtype)


def _picture(scalar: Any, shape: tuple[int, ...]) -> Array:
    cell = scalar.as_py()
    if not isinstance(cell, dict) or not isinstance(cell.get("bytes"), bytes):
        raise ValueError("a picture's bytes are missing")
    with Image.open(io.BytesIO(cell["bytes"]), formats=PICTURE_FORMATS) as picture:
        if (picture.height, picture.width) != shape[:2]:
            raise ValueError(f"a picture is {(picture.height, picture.width)}, not {shape[:2]}")
        return np.asarray(picture.convert("RGB"))


def _recognises(path: Path) -> bool:
    return (path / "meta" / "info.json").is_file()


FORMAT = Format("lerobot", _recognises, LeRobotDataset)
