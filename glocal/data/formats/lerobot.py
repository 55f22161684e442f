"""LeRobotDataset, versions 3.0 and 2.1, read directly: parquet tables for numbers, and videos or pictures in tables.

In 3.0 many episodes share a table and a video, and `meta/episodes` says where each begins; in 2.1 each has its own.
"""

import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image, UnidentifiedImageError

from glocal.data.dataset import Array, Dataset, Feature, Format
from glocal.data.video import read_frames, stacked
from glocal.files import UserError

VERSIONS = ("v3.0", "v2.1")
KEPT_BY_THE_FORMAT = ("timestamp", "frame_index", "episode_index", "index", "task_index")
PICTURES = ("video", "image")


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
        self.features = {name: _feature(name, feature, folder) for name, feature in told.items()}
        self.stored = {name: str(feature["dtype"]) for name, feature in told.items()}
        self.places = _places_v3(folder, info) if self.version == "v3.0" else _places_v21(folder, info)
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
                return stacked(read_frames(path, begin, place.length, self.fps), place.length, feature.shape)
            column = rows[name].combine_chunks()
            if self.stored[name] == "image":
                return stacked(map(_picture, column.to_pylist()), place.length, feature.shape)
            return _numbers(column, place.length, feature)
        except UserError as error:
            raise UserError(f"{name} of episode {number}: {error}") from error
        except (pa.ArrowException, ValueError, TypeError, KeyError, OSError, UnidentifiedImageError) as error:
            raise UserError(
                f"{name} of episode {number} in {place.table} does not read as {feature.dtype} {feature.shape} "
                f"({error}); the file is damaged, or meta/info.json is of another dataset"
            ) from error

    def _rows(self, number: int, columns: tuple[str, ...]) -> pa.Table:
        """The episode's rows of its table; the table that was read last is kept."""
        place = self.places[number]
        if self._last is None or self._last[:2] != (place.table, columns):
            self._last = (place.table, columns, _table(place.table, ("index", *columns), number))
        table = self._last[2]
        index = table["index"].to_numpy()
        begin = int(np.searchsorted(index, place.first))
        rows = table.slice(begin, place.length)
        if rows.num_rows != place.length or index[begin] != place.first:
            raise UserError(
                f"{place.table} has not the {place.length} rows from {place.first} on that are episode {number} by "
                "what meta says; the file is cut short, or meta is of another dataset"
            )
        return rows


def _info(folder: Path) -> dict[str, Any]:
    path = folder / "meta" / "info.json"
    try:
        info = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UserError(f"{path} does not read as JSON ({error}); it is damaged") from error
    missing = [key for key in ("codebase_version", "fps", "features") if not isinstance(info, dict) or key not in info]
    if missing:
        raise UserError(f"{path} does not say {', '.join(missing)}; it is no LeRobotDataset, or damaged")
    if info["codebase_version"] not in VERSIONS:
        raise UserError(
            f"{folder} is a LeRobotDataset of version {info['codebase_version']}; {' and '.join(VERSIONS)} are read. "
            "Convert it with LeRobot's own scripts first"
        )
    if not isinstance(info["features"], dict) or not isinstance(info["fps"], int | float) or not info["fps"] > 0:
        raise UserError(
            f"{path}: fps is {info['fps']!r} and features are {type(info['features']).__name__}; it is damaged"
        )
    return info


def _feature(name: str, told: Any, folder: Path) -> Feature:
    try:
        shape, dtype = tuple(int(n) for n in told["shape"]), str(told["dtype"])
        picture = dtype in PICTURES
        return Feature(
            _height_first(shape, told.get("names")) if picture else shape, _dtype(dtype), picture, _flat_names(told)
        )
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise UserError(f"{folder / 'meta' / 'info.json'}: feature {name} is told as {told!r} ({error})") from error


def _dtype(told: str) -> str:
    return "uint8" if told in PICTURES else str(np.dtype("object" if told == "string" else told))


def _height_first(shape: tuple[int, ...], names: Any) -> tuple[int, ...]:
    """Pictures are told as (h, w, c) or (c, h, w)."""
    first = names[0] if isinstance(names, list) and names else ""
    return (shape[1], shape[2], shape[0]) if str(first).startswith("channel") else shape


def _flat_names(told: Mapping[str, Any]) -> tuple[str, ...] | None:
    names = told.get("names")
    if isinstance(names, dict):
        names = [name for part in names.values() for name in (part if isinstance(part, list) else [part])]
    return tuple(map(str, names)) if isinstance(names, list) else None


def _places_v3(folder: Path, info: Mapping[str, Any]) -> list[Place]:
    paths = sorted((folder / "meta" / "episodes").glob("*/*.parquet"))
    if not paths:
        raise UserError(f"{folder / 'meta' / 'episodes'} holds no parquet file, so that no episode can be found")
    cameras = [name for name, told in info["features"].items() if told.get("dtype") == "video"]
    rows = [(path, row) for path in paths for row in _records(path)]
    return [_place_v3(folder, info, cameras, path, row) for path, row in sorted(rows, key=lambda one: _number(*one))]


def _records(path: Path) -> list[dict[str, Any]]:
    try:
        return _table(path, None, None).to_pylist()
    except ValueError as error:  # names and texts that are no UTF-8
        raise UserError(f"{path} does not read as parquet ({error}); it is damaged") from error


def _number(path: Path, row: Mapping[str, Any]) -> int:
    if not isinstance(row.get("episode_index"), int):
        raise UserError(f"{path} has a row without an episode_index; it is damaged")
    return row["episode_index"]


def _place_v3(
    folder: Path, info: Mapping[str, Any], cameras: Sequence[str], path: Path, row: Mapping[str, Any]
) -> Place:
    def named(template: str, prefix: str, **more: str) -> Path:
        return folder / template.format(
            chunk_index=row[f"{prefix}/chunk_index"], file_index=row[f"{prefix}/file_index"], **more
        )

    try:
        first, end = int(row["dataset_from_index"]), int(row["dataset_to_index"])
        videos = {
            name: (
                named(info["video_path"], f"videos/{name}", video_key=name),
                float(row[f"videos/{name}/from_timestamp"]),
            )
            for name in cameras
        }
        return Place(named(info["data_path"], "data"), first, end - first, videos, tuple(row.get("tasks") or ()))
    except (KeyError, TypeError, ValueError, IndexError, AttributeError) as error:
        raise UserError(f"{path}: episode {row.get('episode_index')} is not told whole ({error!r})") from error


def _places_v21(folder: Path, info: Mapping[str, Any]) -> list[Place]:
    path = folder / "meta" / "episodes.jsonl"
    cameras = [name for name, told in info["features"].items() if told.get("dtype") == "video"]
    places, first = [], 0
    try:
        rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
        for row in sorted(rows, key=lambda row: row["episode_index"]):
            number, length = int(row["episode_index"]), int(row["length"])
            where = {"episode_chunk": number // int(info["chunks_size"]), "episode_index": number}
            videos = {name: (folder / info["video_path"].format(video_key=name, **where), 0.0) for name in cameras}
            table = folder / info["data_path"].format(**where)
            places.append(Place(table, first, length, videos, tuple(row.get("tasks", ()))))
            first += length
    except (OSError, ValueError, KeyError, TypeError, IndexError, AttributeError) as error:
        raise UserError(f"{path} does not tell the episodes ({error!r}); it is missing or damaged") from error
    return places


def _table(path: Path, columns: Sequence[str] | None, number: int | None) -> pa.Table:
    of = "" if number is None else f", which holds episode {number},"
    try:
        return pq.read_table(path, columns=None if columns is None else list(columns))
    except (pa.ArrowException, OSError, ValueError, KeyError) as error:
        raise UserError(
            f"{path}{of} does not read as parquet ({error}); it is missing, damaged or cut short"
        ) from error


def _numbers(column: Any, length: int, feature: Feature) -> Array:
    """A column of scalars or (nested) lists as (length, *shape)."""
    if column.null_count:
        raise ValueError(f"{column.null_count} values are missing")
    flat = column
    while pa.types.is_list(flat.type) or pa.types.is_fixed_size_list(flat.type) or pa.types.is_large_list(flat.type):
        flat = flat.flatten()
    return flat.to_numpy(zero_copy_only=False).reshape(length, *feature.shape).astype(feature.dtype)


def _picture(cell: Any) -> Array:
    if not isinstance(cell, dict) or not cell.get("bytes"):
        raise ValueError("a picture's bytes are missing")
    with Image.open(io.BytesIO(cell["bytes"])) as picture:
        return np.asarray(picture.convert("RGB"))


def _recognises(path: Path) -> bool:
    return (path / "meta" / "info.json").is_file()


FORMAT = Format("lerobot", _recognises, LeRobotDataset)
