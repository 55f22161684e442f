"""Hostile LeRobotDatasets: sound ones, of which one thing is changed."""

import io
import json
import os
import shutil
import socket
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from glocal.data.video import write_frames
from tests.data.test_formats import CAMERA, lerobot_v3, lerobot_v21
from tests.hostile.case import Case

TABLE, EPISODES = "data/chunk-000/file-000.parquet", "meta/episodes/chunk-000/file-000.parquet"
FILM = f"videos/{CAMERA}/chunk-000/file-000.mp4"
ALL = ("inspect", "convert", "split", "merge", "label")
READ_WHOLE = (*ALL, "collect")
INTO_ITSELF = ("convert into itself", "split into itself", "merge into itself", "label into itself")
Change = Callable[[Path], object]


@lru_cache
def _sound(make: Callable[[Path], Path]) -> Path:
    return make(Path(mkdtemp(prefix="glocal-sound-")) / "set")


def changed(change: Change, make: Callable[[Path], Path] = lerobot_v3) -> Callable[[Path], Path]:
    """A sound data set with something changed, and beside it a neighbour, `victim`."""

    def made(folder: Path) -> Path:
        shutil.copytree(_sound(make), folder / "set")
        (folder / "victim").mkdir()
        shutil.copy(_sound(lerobot_v3) / TABLE, folder / "victim" / "p.parquet")
        shutil.copy(_sound(lerobot_v3) / FILM, folder / "victim" / "v.mp4")
        change(folder / "set")
        return folder / "set"

    return made


def info(**told: Any) -> Change:
    """Other values in info.json."""

    def change(folder: Path) -> None:
        path = folder / "meta" / "info.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | told))

    return change


def feature(name: str, **told: Any) -> Change:
    """A feature told otherwise; None takes it away."""

    def change(folder: Path) -> None:
        path = folder / "meta" / "info.json"
        found = json.loads(path.read_text())
        found["features"][name] = {**found["features"].get(name, {}), **told}
        path.write_text(json.dumps(found))

    return change


def text(file: str, content: str | bytes) -> Change:
    def change(folder: Path) -> None:
        (folder / file).write_bytes(content if isinstance(content, bytes) else content.encode())

    return change


def replaced(file: str, old: str, new: str) -> Change:
    def change(folder: Path) -> None:
        found = (folder / file).read_text()
        assert old in found
        (folder / file).write_text(found.replace(old, new, 1))

    return change


def column(file: str, name: str, values: Callable[[int], Any]) -> Change:
    """A column of a table with other values, made from the number of rows."""

    def change(folder: Path) -> None:
        table = pq.read_table(folder / file)
        kept = table.drop_columns([name]) if name in table.column_names else table
        pq.write_table(kept.append_column(name, pa.array(values(table.num_rows))), folder / file)

    return change


def linked(file: str, target: str) -> Change:
    def change(folder: Path) -> None:
        path = folder / file
        shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
        path.symlink_to(target)

    return change


def pipe(file: str) -> Change:
    def change(folder: Path) -> None:
        (folder / file).unlink(missing_ok=True)
        os.mkfifo(folder / file)

    return change


def _socket(folder: Path) -> None:
    here = os.getcwd()
    os.chdir(folder)  # names of sockets are short
    try:
        with socket.socket(socket.AF_UNIX) as made:
            made.bind("socket")
    finally:
        os.chdir(here)


def _all_links(folder: Path) -> None:
    """As the Hugging Face hub's cache keeps a snapshot: each file a link to a blob beside it."""
    blobs = folder.parent / "blobs"
    blobs.mkdir()
    for number, path in enumerate(sorted(path for path in folder.rglob("*") if path.is_file())):
        path.rename(blobs / str(number))
        path.symlink_to(os.path.relpath(blobs / str(number), path.parent))


def _hidden_links(folder: Path) -> None:
    (folder / ".git").mkdir()
    (folder / ".git" / "link").symlink_to("/etc/passwd")


def _sparse(file: str, size: int) -> Change:
    return lambda folder: os.truncate(folder / file, size)


def _hole(folder: Path) -> None:
    (folder / "more.bin").touch()
    os.truncate(folder / "more.bin", 2**40)


def _repeated_texts(file: str, name: str, lists: bool) -> Change:
    """A megabyte of text, told once and meant in every row."""

    def change(folder: Path) -> None:
        table = pq.read_table(folder / file)
        rows = 20_000
        long = pa.array(["x" * 2**20])
        values = pa.DictionaryArray.from_arrays(pa.array(np.zeros(rows, np.int32)), long)
        if lists:
            values = pa.ListArray.from_arrays(pa.array(np.arange(rows + 1, dtype=np.int32)), values)
        kept = {one: table[one].take(pa.array(np.arange(rows) % table.num_rows)) for one in table.column_names}
        pq.write_table(pa.table({**kept, name: values}), folder / file, store_schema=False)

    return change


def _many_rows(folder: Path) -> None:
    table = pa.table({"index": pa.array(np.zeros(2**20, np.int8))})
    with pq.ParquetWriter(folder / TABLE, table.schema) as writer:
        for _ in range(100):
            writer.write_table(table, row_group_size=2**20)


def _long_row(folder: Path) -> None:
    table = pa.table({"index": [0], "action": pa.array([np.zeros(20_000_000, np.float32)])})
    pq.write_table(table, folder / TABLE)


def pictures(content: bytes | None) -> Change:
    """Pictures in the table in place of a video."""

    def change(folder: Path) -> None:
        feature(CAMERA, dtype="image")(folder)
        column(TABLE, CAMERA, lambda rows: [{"bytes": content, "path": "x"}] * rows)(folder)

    return change


def _png(size: tuple[int, int]) -> bytes:
    """A picture that says it is larger than it is."""
    made = io.BytesIO()
    Image.new("RGB", (64, 48)).save(made, "PNG")
    content = made.getvalue()
    return content[:16] + size[0].to_bytes(4, "big") + size[1].to_bytes(4, "big") + content[24:]


def _film(size: tuple[int, int], count: int = 18) -> Change:
    return lambda folder: write_frames(folder / FILM, [np.zeros((*size, 3), np.uint8)] * count, 10)


def _list_of_films(folder: Path) -> None:
    """A list that leads to the sound film beside it, as any library that guesses the format would follow it."""
    path = folder / FILM
    path.rename(path.with_name("sound.mp4"))
    path.write_text("ffconcat version 1.0\nfile sound.mp4\n")


def _several(*changes: Change) -> Change:
    def change(folder: Path) -> None:
        for one in changes:
            one(folder)

    return change


def _named_by_path(folder: Path) -> None:
    feature("../../evil", dtype="float32", shape=[1])(folder)
    column(TABLE, "../../evil", lambda rows: np.zeros(rows, np.float32))(folder)


def _camera_by_path(folder: Path) -> None:
    found = json.loads((folder / "meta" / "info.json").read_text())
    found["features"]["../../victim"] = found["features"].pop(CAMERA)
    found["video_path"] = "videos/{video_key}/v.mp4"
    (folder / "meta" / "info.json").write_text(json.dumps(found))
    table = pq.read_table(folder / EPISODES)
    pq.write_table(
        table.rename_columns([n.replace(CAMERA, "../../victim") for n in table.column_names]), folder / EPISODES
    )


def _clock(folder: Path) -> None:
    path = folder / "meta" / "info.json"
    found = json.loads(path.read_text())
    found["features"]["timestamp"] = 5
    path.write_text(json.dumps(found))


def _notes(folder: Path) -> None:
    feature("note", dtype="string", shape=[1])(folder)
    column(TABLE, "note", lambda rows: [f"step {t}" for t in range(rows)])(folder)


LEADS_OUT, NO_FIELD, LINK = "does not stay in", "is no field", "is a symbolic link"
DEEP = "[" * 100_000
TOLD = '{"camera": "x", "picture": [%s, 64], "state": null, "action": "action", "fps": %s, "rate": 5}'
MAPPED = ("doctor", "collect", "label")
V21 = "meta/episodes.jsonl"


def _mapped(content: str, size: int = 0) -> Callable[[Path], Path]:
    """A sound data set with a mapping beside it, made longer by a hole where a size is told."""

    def change(folder: Path) -> None:
        (folder / "glocal.json").write_text(content)
        os.truncate(folder / "glocal.json", size or len(content))

    return changed(change)


def _v21(name: str, change: Change, words: str | None, verbs: tuple[str, ...] = ("convert",)) -> Case:
    return Case(f"v2.1: {name}", changed(change, lerobot_v21), words, verbs)


CASES = [
    Case("sound", changed(lambda folder: None), None, ("inspect", "convert")),
    Case("hidden folder with links", changed(_hidden_links), None),
    Case("sound, with texts", changed(_notes), None, ("inspect", "convert", "label")),
    # paths
    Case("data_path beside", changed(info(data_path="../victim/p.parquet")), LEADS_OUT, ALL),
    Case("data_path absolute", changed(lambda f: info(data_path=str(f.parent / "victim" / "p.parquet"))(f)), LEADS_OUT, ALL),
    Case("data_path in and out", changed(info(data_path="data/../../victim/p.parquet")), LEADS_OUT, ALL),
    Case("data_path with NUL", changed(info(data_path="data/\0.parquet")), LEADS_OUT),
    Case("data_path of Windows", changed(info(data_path="..\\victim\\p.parquet")), LEADS_OUT),
    Case("data_path with a drive", changed(info(data_path="C:/victim/p.parquet")), LEADS_OUT),
    Case("data_path empty", changed(info(data_path="")), LEADS_OUT),
    Case("data_path a folder", changed(info(data_path="data")), "is a folder"),
    Case("data_path no text", changed(info(data_path=7)), "no pattern of paths"),
    Case("data_path without end", changed(info(data_path="a" * 100_000)), "no pattern of paths of up to 500"),
    Case("data_path that escapes a terminal", changed(info(data_path="\x1b[2J\x1b]0;x\x07")), LEADS_OUT),
    Case("data_path with markup", changed(info(data_path="../[/red][bold]")), r"\[/red\]"),
    Case("video_path beside", changed(info(video_path="../victim/v.mp4")), LEADS_OUT, ALL),
    Case("video_path null", changed(info(video_path=None)), "no pattern of paths"),
    Case("padding without end", changed(info(data_path="{chunk_index:>999999999}")), "is asked for as", ALL),
    Case("zeros without end", changed(info(data_path="{chunk_index:0999999999d}")), "is asked for as"),
    Case("format by a field", changed(info(data_path="{chunk_index:{file_index}}")), "is asked for as"),
    Case("attributes", changed(info(data_path="{chunk_index.__class__}")), NO_FIELD),
    Case("by number", changed(info(data_path="{0}")), NO_FIELD),
    Case("conversion", changed(info(data_path="{chunk_index!r}")), "is asked for as"),
    Case("brace that stays open", changed(info(data_path="{chunk_index")), "has the pattern"),
    Case("camera padded", changed(info(video_path="{video_key:>9999999}")), "is asked for as"),
    Case("table is a link", changed(linked(TABLE, "../../../victim/p.parquet")), LINK, READ_WHOLE),
    Case("film is a link", changed(linked(FILM, "../../../../victim/v.mp4")), LINK, READ_WHOLE),
    Case("folder is a link", changed(linked("data", "../victim")), LINK, READ_WHOLE),
    Case("info.json is a link", changed(linked("meta/extra.json", "/etc/passwd")), LINK, READ_WHOLE),
    Case("link to itself", changed(linked("meta/extra.json", "extra.json")), LINK),
    Case("link to nothing", changed(linked("notes", "nowhere")), LINK),
    Case("mapping is a link", changed(linked("glocal.json", "../victim/p.parquet")), LINK, READ_WHOLE),
    Case("snapshot of the hub's cache", changed(_all_links), "huggingface-cli download", READ_WHOLE),
    Case("table is a pipe", changed(pipe(TABLE)), r"is a pipe \(FIFO\)", READ_WHOLE),
    Case("film is a pipe", changed(pipe(FILM)), r"is a pipe \(FIFO\)"),
    Case("pipe aside", changed(pipe("meta/extra")), r"is a pipe \(FIFO\)"),
    Case("socket aside", changed(_socket), "is a socket"),
    Case("a terabyte of nothing aside", changed(_hole), "are read at most", ("collect", "label by a goal")),
    Case("feature named by a path", changed(_named_by_path), "cannot be the name of a folder", ("convert", "split", "merge")),
    Case("camera named by a path", changed(_camera_by_path), LEADS_OUT, ALL),
    Case("into itself", changed(lambda folder: None), "is inside the data set", INTO_ITSELF),
    # glocal.json
    Case("mapping of 16 GiB", _mapped("", 2**34), "are read at most.*glocal data inspect", MAPPED),
    Case("mapping nested deeply", _mapped(DEEP), "nested too deeply.*glocal data inspect", MAPPED),
    Case("mapping with an integer of 5000 digits", _mapped('{"fps": ' + "1" * 5000 + "}"), "does not read as JSON.*glocal data inspect", MAPPED),
    Case("mapping with pictures of 400 digits", _mapped(TOLD % ("1" * 400, 10)), "picture is 1111.*glocal data inspect", MAPPED),
    Case("mapping with a rate of 400 digits", _mapped(TOLD % (48, "1" * 400)), "fps.*glocal data inspect", MAPPED),
    Case("mapping that is a list", _mapped("[]"), "is no mapping.*glocal data inspect", MAPPED),
    # info.json
    Case("nested deeply", changed(text("meta/info.json", DEEP)), "nested too deeply", ALL),
    Case("a key twice", changed(replaced("meta/info.json", '"fps"', '"fps": 5, "fps"')), "told twice"),
    Case("integer of 5000 digits", changed(replaced("meta/info.json", '"fps": 10', '"fps": ' + "1" * 5000)), "does not read as JSON"),
    Case("no UTF-8", changed(text("meta/info.json", b"\xff\xfe{}")), "does not read as JSON"),
    Case("a list", changed(text("meta/info.json", "[]")), "does not say codebase_version"),
    Case("null", changed(text("meta/info.json", "null")), "does not say codebase_version"),
    Case("nothing", changed(text("meta/info.json", "")), "does not read as JSON"),
    Case("info.json of a terabyte", changed(_sparse("meta/info.json", 2**40)), "are read at most"),
    Case("codebase_version a list", changed(info(codebase_version=[["v3.0"] * 10_000])), "are read"),
    Case("fps 0", changed(info(fps=0)), "fps is 0"),
    Case("fps negative", changed(info(fps=-10)), "fps is -10"),
    Case("fps NaN", changed(info(fps=float("nan"))), "fps is nan"),
    Case("fps infinite", changed(info(fps=float("inf"))), "fps is inf"),
    Case("fps of 400 digits", changed(info(fps=10**400)), "fps is 1000"),
    Case("fps a text", changed(info(fps="10")), "fps is '10'"),
    Case("features a list", changed(info(features=[])), "features are list"),
    Case("feature null", changed(info(features={"action": None})), "feature 'action' is told as None"),
    Case("no features", changed(info(features={})), "tells of no features"),
    Case("clock is a number", changed(_clock), None),
    Case("pictures of 100000 x 100000", changed(feature(CAMERA, shape=[100_000, 100_000, 3])), "up to 4096 pixels"),
    Case("pictures of no size", changed(feature(CAMERA, shape=[0, 64, 3])), "expected .h, w, 3."),
    Case("pictures of one dimension", changed(feature(CAMERA, shape=[64], names=None)), "expected .h, w, 3."),
    Case("pictures with names alone", changed(feature(CAMERA, shape=[], names=["channels"])), "is told as"),
    Case("shape of 400 digits", changed(feature("action", shape=[10**400])), "up to 1000000 numbers"),
    Case("shape infinite", changed(feature("action", shape=[float("inf")])), "is told as"),
    Case("shape NaN", changed(feature("action", shape=[float("nan")])), "is told as"),
    Case("shape negative", changed(feature("action", shape=[-1])), "up to 1000000 numbers"),
    Case("shape that overflows", changed(feature("action", shape=[2**32, 2**32])), "up to 1000000 numbers"),
    Case("shape a text", changed(feature("action", shape="two")), "is told as"),
    Case("shape of another size", changed(feature("action", shape=[1000, 1000])), "does not read as float32"),
    Case("dtype object", changed(feature("action", dtype="object")), "expected one of bool"),
    Case("dtype an array", changed(feature("action", dtype="(100000,100000)f8")), "expected one of bool"),
    Case("dtype a list", changed(feature("action", dtype=["f8"])), "expected one of bool"),
    Case("feature without a name", changed(feature("", dtype="float32", shape=[1])), "feature named ''"),
    Case("feature that escapes a terminal", changed(feature("\x1b[2J", dtype="float32", shape=[1])), "feature named"),
    # meta/episodes
    Case("episodes by name", changed(column(EPISODES, "episode_index", lambda n: ["x"] * n)), "without an episode_index"),
    Case("length negative", changed(column(EPISODES, "dataset_to_index", lambda n: [-5] * n)), "expected 1 to"),
    Case("length 0", changed(column(EPISODES, "dataset_to_index", lambda n: [0] * n)), "expected 1 to"),
    Case("length of 2^62", changed(column(EPISODES, "dataset_to_index", lambda n: [2**62] * n)), "expected 1 to 1000000"),
    Case("length infinite", changed(column(EPISODES, "dataset_to_index", lambda n: [np.inf] * n)), "is not told whole"),
    Case("length null", changed(column(EPISODES, "dataset_to_index", lambda n: [None] * n)), "is not told whole"),
    Case("length a million", changed(column(EPISODES, "dataset_to_index", lambda n: [1_000_000] * n)), "has not the|bytes of memory"),
    Case("rows elsewhere", changed(column(EPISODES, "dataset_from_index", lambda n: [-3] * n)), "has not the"),
    Case("chunk negative", changed(column(EPISODES, "data/chunk_index", lambda n: [-1] * n)), "chunk_index is -1"),
    Case("chunk of 2^62", changed(column(EPISODES, "data/chunk_index", lambda n: [2**62] * n)), "chunk_index is 46"),
    Case("chunk of text", changed(column(EPISODES, "data/chunk_index", lambda n: ["../.."] * n)), "is not told whole"),
    Case("film begins at NaN", changed(column(EPISODES, f"videos/{CAMERA}/from_timestamp", lambda n: [np.nan] * n)), "is not told whole"),
    Case("film begins at 1e300", changed(column(EPISODES, f"videos/{CAMERA}/from_timestamp", lambda n: [1e300] * n)), "cannot be decoded|ends before"),
    Case("tasks of numbers", changed(column(EPISODES, "tasks", lambda n: [3] * n)), "is not told whole"),
    Case("tasks of 20 GB", changed(_repeated_texts(EPISODES, "tasks", lists=True)), "unpacks to more than"),
    Case("episodes are no parquet", changed(text(EPISODES, b"PAR1" + b"\xff" * 1000 + b"PAR1")), "does not read as parquet"),
    # tables
    Case("rows counted in words", changed(column(TABLE, "index", lambda n: ["x"] * n)), "no column `index`"),
    Case("rows counted by nothing", changed(column(TABLE, "index", lambda n: [None] * n)), "no column `index`"),
    Case("rows all the same", changed(column(TABLE, "index", lambda n: [0] * n)), "has not the"),
    Case("actions in words", changed(column(TABLE, "action", lambda n: ["x"] * n)), "does not read as float32"),
    Case("actions missing", changed(column(TABLE, "action", lambda n: [None] * n)), "values are missing"),
    Case("actions too long", changed(column(TABLE, "action", lambda n: [[1.0] * 5] * n)), "does not read as float32"),
    Case("texts of 20 GB", changed(_several(feature("note", dtype="string", shape=[1]), _repeated_texts(TABLE, "note", False))), "unpacks to more than"),
    Case("rows without end", changed(_many_rows), "up to 100000000 rows"),
    Case("row without end", changed(_long_row), "numbers each"),
    Case("picture of 50000 x 50000", changed(pictures(_png((50_000, 50_000)))), "does not read as uint8"),
    Case("picture of nothing", changed(pictures(None)), "bytes are missing"),
    Case("picture of words", changed(pictures(b"GIF89a no picture")), "does not read as uint8"),
    Case("statistics nested deeply", changed(text("meta/stats.json", DEEP)), "nested too deeply", ("label",)),
    Case("statistics a list", changed(text("meta/stats.json", "[]")), "expected statistics", ("label",)),
    # films
    Case("film is a list of files", changed(_list_of_films), "of episode 0: .*cannot be decoded"),
    Case("film is a playlist", changed(text(FILM, "#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\nfile:///etc/passwd\n#EXT-X-ENDLIST\n")), "cannot be decoded"),
    Case("film too wide", changed(_film((16, 4112))), "up to 4096 pixels"),
    Case("film of another size", changed(_film((96, 96))), r"picture 1 of 5 is \(96, 96, 3\)"),
    Case("film too short", changed(_film((48, 64), 2)), "holds 2 frames"),
    # before 3.0
    _v21("sound", lambda folder: None, None),
    _v21("data_path beside", info(data_path="../victim/p.parquet"), LEADS_OUT, ALL),
    _v21("padding without end", info(data_path="{episode_index:>999999999}"), "is asked for as"),
    _v21("chunks of 0", info(chunks_size=0), "does not tell the episodes"),
    _v21("chunks infinite", info(chunks_size=float("inf")), "does not tell the episodes"),
    _v21("chunks negative", info(chunks_size=-1), "episode_chunk is -1"),
    _v21("length negative", replaced(V21, '"length": 5', '"length": -5'), "expected 1 to"),
    _v21("length of 300 digits", replaced(V21, '"length": 5', '"length": ' + "9" * 300), "expected 1 to 1000000"),
    _v21("length NaN", replaced(V21, '"length": 5', '"length": NaN'), "does not tell the episodes"),
    _v21("length infinite", replaced(V21, '"length": 5', '"length": 1e400'), "does not tell the episodes"),
    _v21("length null", replaced(V21, '"length": 5', '"length": null'), "does not tell the episodes"),
    _v21("length larger than the table", replaced(V21, '"length": 5', '"length": 500'), "has not the 500 rows"),
    _v21("episode negative", replaced(V21, '"episode_index": 0', '"episode_index": -1'), "is -1"),
    _v21("a line nested deeply", text(V21, DEEP), "nested too deeply"),
    _v21("a line that is a number", text(V21, "7\n"), "does not tell the episodes"),
    _v21("episodes are a pipe", pipe(V21), r"is a pipe \(FIFO\)"),
    _v21("episodes of a terabyte", _sparse(V21, 2**40), "are read at most"),
]  # fmt: skip
