"""Writing LeRobotDataset v3.0: tables and videos that many episodes share, and the metadata that finds them again."""

import json
from collections.abc import Iterable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from glocal.data.dataset import Array, Feature
from glocal.data.inside import check_names
from glocal.data.video import VideoWriter
from glocal.runtime.files import UserError, atomic_write, write_json

FILES_IN_A_CHUNK = 1000
TABLE_MB, VIDEO_MB = 100, 200
TABLE_PATH = "data/chunk-{chunk_index:03d}/file-{file_index:03d}.parquet"
VIDEO_PATH = "videos/{video_key}/chunk-{chunk_index:03d}/file-{file_index:03d}.mp4"
COUNTERS = ("frame_index", "episode_index", "index", "task_index")


@dataclass(frozen=True)
class Layout:
    """How a dataset is written."""

    fps: float
    features: Mapping[str, Feature]
    task: str = ""
    """What the episodes are of, in words."""
    codec: str = "h264"
    """Of videos: h264 or av1."""
    table_mb: float = TABLE_MB
    video_mb: float = VIDEO_MB


@dataclass
class Statistics:
    """Minimum, maximum, mean and standard deviation of a feature, episode by episode."""

    picture: bool
    count: int = 0
    low: Any = np.inf
    high: Any = -np.inf
    total: Any = 0.0
    squares: Any = 0.0

    def add(self, values: Array) -> None:
        """Values (steps, ...) of one episode."""
        axes = (0, 1, 2) if self.picture else (0,)
        x = values.astype(np.float64) / (255.0 if self.picture else 1.0)
        self.low, self.high = np.minimum(self.low, x.min(axes)), np.maximum(self.high, x.max(axes))
        self.total, self.squares = self.total + x.sum(axes), self.squares + (x**2).sum(axes)
        self.count += int(np.prod([values.shape[axis] for axis in axes]))

    def told(self) -> dict[str, Any]:
        """As `meta/stats.json` tells it; pictures by channel, (c, 1, 1)."""
        mean = self.total / self.count
        std = np.sqrt(np.maximum(0.0, self.squares / self.count - mean**2))
        numbers = {"min": self.low, "max": self.high, "mean": mean, "std": std}
        shape = (-1, 1, 1) if self.picture else (-1,)
        return {name: np.reshape(x, shape).tolist() for name, x in numbers.items()} | {"count": [self.count]}


@dataclass
class Files:
    """Which file of a kind is being written."""

    number: int = 0
    open: Any = None

    @property
    def place(self) -> dict[str, int]:
        """Its chunk and its place within that."""
        return {"chunk_index": self.number // FILES_IN_A_CHUNK, "file_index": self.number % FILES_IN_A_CHUNK}


@dataclass
class Tables:
    """The episodes of one table file, until it is written."""

    parts: list[pa.Table] = field(default_factory=list)

    @property
    def megabytes(self) -> float:
        return sum(part.nbytes for part in self.parts) / 1e6


def check_new(folder: Path) -> None:
    """Raise `UserError` where there is something in a dataset's place."""
    if folder.exists():
        raise UserError(f"{folder} exists already; name a new folder, or remove that one first")


def write_lerobot(
    folder: Path, episodes: Iterable[Mapping[str, Array]], layout: Layout, tasks: Sequence[str] | None = None
) -> int:
    """Write episodes, each a mapping from feature to (steps, ...), as one dataset, whole or not at all.

    `tasks` says of each episode what it is of, in place of the layout's one task.

    Returns their number. Raises `UserError` where the folder exists already, a feature's name cannot be a folder's, or
    an episode does not fit the features.
    """
    check_new(folder)
    check_names(layout.features, folder)
    with atomic_write(folder) as draft, ExitStack() as videos:
        draft.mkdir(parents=True)
        writer = _Writer(draft, layout, videos)
        for number, episode in enumerate(episodes):
            writer.add(episode, layout.task if tasks is None else tasks[number])
        writer.finish()
    return len(writer.rows)


class _Writer:
    """The state of a dataset that is being written."""

    def __init__(self, folder: Path, layout: Layout, videos: ExitStack):
        self.folder, self.layout, self.videos = folder, layout, videos
        self.cameras = [name for name, feature in layout.features.items() if feature.picture]
        self.table, self.tables = Files(), Tables()
        self.films = {name: Files() for name in self.cameras}
        numbers = {name: feature for name, feature in layout.features.items() if feature.dtype != "object"}
        self.statistics = {name: Statistics(feature.picture) for name, feature in numbers.items()}
        self.rows: list[dict[str, Any]] = []
        self.tasks: dict[str, int] = {}
        self.index = 0

    def add(self, episode: Mapping[str, Array], task: str) -> None:
        """One more episode of a task."""
        number, length = len(self.rows), _length(episode, self.layout.features, len(self.rows))
        row: dict[str, Any] = {"episode_index": number, "tasks": [task], "length": length}
        row |= {f"data/{key}": value for key, value in self.table.place.items()}
        row |= {"dataset_from_index": self.index, "dataset_to_index": self.index + length}
        for name in self.cameras:
            row |= {f"videos/{name}/{key}": value for key, value in self._film(name, episode[name]).items()}
        row |= {"meta/episodes/chunk_index": 0, "meta/episodes/file_index": 0}
        for name, statistics in self.statistics.items():
            statistics.add(episode[name])
        self.tables.parts.append(self._numbers(episode, number, length, self.tasks.setdefault(task, len(self.tasks))))
        self.rows.append(row)
        self.index += length
        if self.tables.megabytes > self.layout.table_mb:
            self._write_table()

    def finish(self) -> None:
        """Write what is left, and the metadata."""
        if not self.rows:
            raise UserError("there are no episodes to write")
        if self.tables.parts:
            self._write_table()
        self.videos.close()
        meta = self.folder / "meta"
        _write(meta / "episodes" / "chunk-000" / "file-000.parquet", pa.Table.from_pylist(self.rows))
        _write(meta / "tasks.parquet", _tasks(list(self.tasks)))
        write_json(meta / "stats.json", {name: found.told() for name, found in self.statistics.items()})
        write_json(meta / "info.json", self._info())

    def _info(self) -> dict[str, Any]:
        layout = self.layout
        counters = {name: {"dtype": "int64", "shape": [1], "names": None} for name in COUNTERS}
        clock = {"timestamp": {"dtype": "float32", "shape": [1], "names": None}}
        features = {
            name: _film_told(feature, layout) if feature.picture else told_of(feature)
            for name, feature in layout.features.items()
        }
        return {
            "codebase_version": "v3.0",
            "robot_type": None,
            "total_episodes": len(self.rows),
            "total_frames": self.index,
            "total_tasks": len(self.tasks),
            "chunks_size": FILES_IN_A_CHUNK,
            "data_files_size_in_mb": TABLE_MB,
            "video_files_size_in_mb": VIDEO_MB,
            "fps": int(layout.fps) if float(layout.fps).is_integer() else layout.fps,
            "splits": {"train": f"0:{len(self.rows)}"},
            "data_path": TABLE_PATH,
            "video_path": VIDEO_PATH if self.cameras else None,
            "features": features | clock | counters,
        }

    def _film(self, name: str, frames: Array) -> dict[str, Any]:
        """Append an episode's pictures to the camera's video; where they stand there."""
        files = self.films[name]
        if files.open is not None and files.open.megabytes > self.layout.video_mb:
            files.open.__exit__(None)
            files.open, files.number = None, files.number + 1
        if files.open is None:
            path = self.folder / VIDEO_PATH.format(video_key=name, **files.place)
            path.parent.mkdir(parents=True, exist_ok=True)
            files.open = VideoWriter(path, self.layout.fps, self.layout.codec)
            self.videos.callback(
                lambda video=files.open, kept=files: video.__exit__(None) if kept.open is video else None
            )
        begin = files.open.count / self.layout.fps
        for frame in frames:
            files.open.add(frame)
        return {**files.place, "from_timestamp": begin, "to_timestamp": files.open.count / self.layout.fps}

    def _numbers(self, episode: Mapping[str, Array], number: int, length: int, task: int) -> pa.Table:
        columns = {
            name: column_of(episode[name], feature)
            for name, feature in self.layout.features.items()
            if not feature.picture
        }
        steps = np.arange(length)
        columns["timestamp"] = pa.array((steps / self.layout.fps).astype(np.float32))
        columns["frame_index"] = pa.array(steps)
        columns["episode_index"] = pa.array(np.full(length, number))
        columns["index"] = pa.array(self.index + steps)
        columns["task_index"] = pa.array(np.full(length, task))
        return pa.table(columns)

    def _write_table(self) -> None:
        _write(self.folder / TABLE_PATH.format(**self.table.place), pa.concat_tables(self.tables.parts))
        self.tables, self.table.number = Tables(), self.table.number + 1


def _length(episode: Mapping[str, Array], features: Mapping[str, Feature], number: int) -> int:
    lengths = {}
    for name, feature in features.items():
        if name not in episode:
            raise UserError(f"episode {number} has no {name}; expected {', '.join(features)}")
        if episode[name].shape[1:] != feature.shape:
            raise UserError(f"{name} of episode {number} is {episode[name].shape[1:]} a step, expected {feature.shape}")
        lengths[name] = len(episode[name])
    if len(set(lengths.values())) != 1 or not min(lengths.values()):
        raise UserError(f"the features of episode {number} have lengths {lengths}; expected one length, above 0")
    return min(lengths.values())


def column_of(values: Array, feature: Feature) -> pa.Array:
    """Values (steps, ...) of a feature as a table's column."""
    flat = pa.array(np.ascontiguousarray(values).reshape(-1))
    if feature.shape == (1,):
        return flat
    for size in reversed(feature.shape):
        flat = pa.FixedSizeListArray.from_arrays(flat, size)
    return flat


def told_of(feature: Feature) -> dict[str, Any]:
    """Numbers, or texts, as `meta/info.json` tells them."""
    dtype = "string" if feature.dtype == "object" else feature.dtype
    names = None if feature.names is None else list(feature.names)
    return {"dtype": dtype, "shape": list(feature.shape), "names": names}


def _film_told(feature: Feature, layout: Layout) -> dict[str, Any]:
    height, width, channels = feature.shape
    info = {
        "video.fps": layout.fps, "video.height": height, "video.width": width, "video.channels": channels,
        "video.codec": layout.codec, "video.pix_fmt": "yuv420p", "video.is_depth_map": False, "has_audio": False,
    }  # fmt: skip
    names = ["height", "width", "channels"]
    return {"dtype": "video", "shape": list(feature.shape), "names": names, "info": info}


def _tasks(tasks: Sequence[str]) -> pa.Table:
    """Tasks as a table that pandas reads with their words as its index."""
    index = {"name": "task", "field_name": "task", "pandas_type": "unicode", "numpy_type": "object", "metadata": None}
    column = {"name": "task_index", "field_name": "task_index", "pandas_type": "int64", "numpy_type": "int64"}
    about = {"index_columns": ["task"], "column_indexes": [], "columns": [column | {"metadata": None}, index]}
    table = pa.table({"task_index": pa.array(range(len(tasks))), "task": pa.array(tasks)})
    return table.replace_schema_metadata({"pandas": json.dumps(about | {"pandas_version": "2.0.0"})})


def _write(path: Path, table: pa.Table) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(table, path)
