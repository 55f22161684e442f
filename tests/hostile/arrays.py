"""Hostile data sets of arrays: npz, npy and mp4 files, zarr, HDF5 and Minari."""

import io
import json
import os
import shutil
import struct
import zipfile
import zlib
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

import h5py
import numpy as np
import zarr

from tests.data.test_formats import hdf5_file, minari_folder, mp4_folder, npz_folder, zarr_folder
from tests.hostile.case import Case

Change = Callable[[Path], object]
Make = Callable[[Path], Path]
LINK, PIPE = "is a symbolic link", r"a pipe \(FIFO\)"


@lru_cache
def _sound(make: Make) -> Path:
    return make(Path(mkdtemp(prefix="glocal-sound-")) / "set")


def changed(make: Make, change: Change) -> Make:
    """A sound data set with something changed, and beside it a neighbour, `victim`."""

    def made(folder: Path) -> Path:
        sound = _sound(make)
        path = folder / sound.name
        (shutil.copytree if sound.is_dir() else shutil.copy)(sound, path)
        (folder / "victim").mkdir()
        np.save(folder / "victim" / "v.npy", np.zeros((5, 2), np.float32))
        with h5py.File(folder / "victim" / "v.h5", "w") as file:
            file["secret"] = np.arange(36, dtype=np.float32).reshape(18, 2)
        change(path)
        return path

    return made


# --- files of numpy ---


def _archive(name: str, **arrays: bytes) -> Change:
    def change(folder: Path) -> None:
        with zipfile.ZipFile(folder / name, "w", zipfile.ZIP_DEFLATED) as archive:
            for key, content in arrays.items():
                archive.writestr(f"{key}.npy", content)

    return change


def _npy(shape: str, content: bytes = b"", dtype: str = "'<f4'") -> bytes:
    """An array whose header says what it likes."""
    header = f"{{'descr': {dtype}, 'fortran_order': False, 'shape': {shape}, }}".encode()
    header += b" " * (-(len(header) + 11) % 64) + b"\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header + content


def _bomb(folder: Path) -> None:
    """Twenty-two gibibytes of zeros that are packed once, and meant by many names."""
    with zipfile.ZipFile(folder / "000.npz", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a0.npy", _npy("(16777216,)", bytes(2**26)))
        for number in range(1, 352):
            twin = zipfile.ZipInfo(f"a{number}.npy")
            for part in ("CRC", "compress_size", "file_size", "header_offset", "compress_type"):
                setattr(twin, part, getattr(archive.filelist[0], part))
            archive.filelist.append(twin)


def _understated(folder: Path) -> None:
    """A directory that tells of less than is packed."""
    with zipfile.ZipFile(folder / "000.npz", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("action.npy", _npy("(5, 2)", bytes(2**28)))
        archive.filelist[0].file_size = len(_npy("(5, 2)", bytes(40)))


def _linked(name: str, target: str) -> Change:
    def change(folder: Path) -> None:
        (folder / name).unlink(missing_ok=True)
        (folder / name).symlink_to(target)

    return change


def _pipe(name: str) -> Change:
    def change(folder: Path) -> None:
        (folder / name).unlink(missing_ok=True)
        os.mkfifo(folder / name)

    return change


def _text(name: str, content: str) -> Change:
    return lambda folder: (folder / name).write_text(content)


def _objects() -> bytes:
    made = io.BytesIO()
    np.save(made, np.array([{}, {}], object), allow_pickle=True)
    return made.getvalue()


def _npz(name: str, change: Change, words: str | None) -> Case:
    return Case(f"npz: {name}", changed(npz_folder, change), words)


def _action(name: str, content: bytes, words: str | None) -> Case:
    return _npz(name, _archive("000.npz", action=content), words)


FLAT = [
    _npz("sound", lambda folder: None, None),
    _npz("22 GiB", _bomb, "are read at most"),
    _npz("more than is told", _understated, "does not read as numpy arrays|have lengths|expected"),
    _npz("1001 arrays", _archive("000.npz", **{f"a{n}": _npy("(1,)", bytes(4)) for n in range(1001)}), "1000 are read"),
    _npz("named by a path", _archive("000.npz", **{"../../evil": _npy("(5,)", bytes(20))}), "cannot be the name"),
    _npz("named by a terminal", _archive("000.npz", **{"\x1b[2J": _npy("(5,)", bytes(20))}), "feature named"),
    _npz("a link", _linked("001.npz", "../victim/v.npy"), LINK),
    _npz("a pipe", _pipe("001.npz"), PIPE),
    _npz("no zip", _text("000.npz", "PK\x03\x04 nothing"), "does not read as numpy arrays"),
    _action("shape without end", _npy("(1000000000000, 1000000)"), "which is not the 0 bytes"),
    _action("shape negative", _npy("(-1, 4)"), "which is not the 0 bytes"),
    _action("shape that overflows", _npy("(4294967296, 4294967296, 0)"), "does not read as numpy arrays"),
    _action("shape of nothing", _npy("(0, 5)"), "have lengths"),
    _action("shape of words", _npy("('a',)"), "does not read as numpy arrays"),
    _action("header nested deeply", _npy("(" * 5000 + ")" * 5000), "does not read as numpy arrays"),
    _action("objects", _objects(), "expected numbers"),
    _action("words", _npy("(2,)", bytes(80), "'<U10'"), "expected numbers"),
    _action("records", _npy("(2,)", bytes(16), "[('a', '<f4'), ('b', '<f4')]"), "expected numbers"),
    _action("steps of a million and one numbers", _npy("(1, 1000001)", bytes(4000004)), "up to 1000000 numbers"),
    _action("a million and one steps", _npy("(1000001,)", bytes(4000004)), "expected 1 to 1000000"),
    Case("mp4: sound", changed(mp4_folder, lambda folder: None), None),
    Case("mp4: actions without end", changed(mp4_folder, lambda f: (f / "000.npy").write_bytes(_npy("(99999999999, 2)"))), "which is not the 0 bytes"),
    Case("mp4: more actions than pictures", changed(mp4_folder, lambda f: np.save(f / "000.npy", np.zeros((900_000, 2), np.float32))), "takes .* bytes of memory"),
    Case("mp4: actions are a pipe", changed(mp4_folder, _pipe("000.npy")), PIPE),
    Case("mp4: film is a list of files", changed(mp4_folder, _text("000.mp4", "ffconcat version 1.0\nfile 001.mp4\n")), "cannot be read as video"),
]  # fmt: skip


# --- zarr ---


def _told(array: str, **told: Any) -> Change:
    def change(folder: Path) -> None:
        path = folder / array / ".zarray"
        path.write_text(json.dumps(json.loads(path.read_text()) | told))

    return change


def _zstd_of_zeros(size: int) -> bytes:
    """A frame that unpacks to zeros: blocks of 128 KiB that say one byte, and how often."""
    blocks = size // 2**17
    block = (1 << 1 | 2**17 << 3).to_bytes(3, "little") + b"\0"
    last = (1 | 1 << 1 | 2**17 << 3).to_bytes(3, "little") + b"\0"
    head = b"\x28\xb5\x2f\xfd" + bytes([0b11000000]) + bytes([0x70]) + size.to_bytes(8, "little")
    return head + block * (blocks - 1) + last


def _chunk_of(size: int) -> Change:
    def change(folder: Path) -> None:
        _told("data/action", compressor={"id": "zstd", "level": 1})(folder)
        (folder / "data" / "action" / "0.0").write_bytes(_zstd_of_zeros(size))

    return change


def _chunk_of_gzip(folder: Path) -> None:
    _told("data/action", compressor={"id": "zlib", "level": 1})(folder)
    packer = zlib.compressobj(1)
    parts = [packer.compress(bytes(2**26)) for _ in range(24)]
    (folder / "data" / "action" / "0.0").write_bytes(b"".join([*parts, packer.flush()]))


def _pickled(folder: Path) -> None:
    """A chunk that is a program: it would write beside the data set."""
    _told("data/action", compressor={"id": "pickle", "protocol": 0})(folder)
    program = f"cos\nsystem\n(S'touch {folder.parent}/victim/reached'\ntR."
    (folder / "data" / "action" / "0.0").write_bytes(program.encode())


def _consolidated(folder: Path) -> None:
    """Metadata of all arrays in one file, which name an array beside the data set."""
    shutil.move(folder / "data" / "state", folder.parent / "victim" / "state")
    told = json.loads((folder.parent / "victim" / "state" / ".zarray").read_text())
    found = {"data/../../victim/state/.zarray": told, ".zgroup": {"zarr_format": 2}, "data/.zgroup": {"zarr_format": 2}}
    for name in ("data/action", "data/img", "meta/episode_ends"):
        found[f"{name}/.zarray"] = json.loads((folder / name / ".zarray").read_text())
    (folder / ".zmetadata").write_text(json.dumps({"zarr_consolidated_format": 1, "metadata": found}))


def _ends(values: Any) -> Change:
    def change(folder: Path) -> None:
        shutil.rmtree(folder / "meta" / "episode_ends")
        zarr.open_group(str(folder), mode="a")["meta"].create_array("episode_ends", data=np.array(values))

    return change


def _zarr(name: str, change: Change, words: str | None) -> Case:
    return Case(f"zarr: {name}", changed(zarr_folder, change), words)


ZARR = [
    _zarr("sound", lambda folder: None, None),
    _zarr("pickle", _pickled, "does not read as zarr"),
    _zarr("pickle as a filter", _told("data/action", filters=[{"id": "pickle"}]), "does not read as zarr"),
    _zarr("another codec", _told("data/action", compressor={"id": "base64"}), "is packed by base64"),
    _zarr("another codec within", _told("data/action", filters=[{"id": "quantize", "digits": 3, "dtype": "<f4"}, {"id": "base64"}]), "is packed by base64"),
    _zarr("objects", _told("data/action", dtype="|O", filters=[{"id": "pickle"}]), "has no|does not read|holds"),
    _zarr("consolidated metadata that lead out", _consolidated, None),
    _zarr("a chunk is a link", _linked("data/action/0.0", "../../../victim/v.npy"), LINK),
    _zarr("an array is a link", _linked("data/more", "../../victim"), LINK),
    _zarr("a chunk is a pipe", _pipe("data/action/0.0"), PIPE),
    _zarr("chunk of 6 GiB", _chunk_of(6 * 2**30), "cannot be read|more memory|crashed"),
    _zarr("chunk of 1.5 GiB by zlib", _chunk_of_gzip, "cannot be read|more memory|crashed"),
    _zarr("chunks without end", _told("data/action", chunks=[10**9, 10**6]), "are read at most"),
    _zarr("chunks that overflow", _told("data/action", chunks=[2**32, 2**32]), "are read at most"),
    _zarr("chunks of 0", _told("data/action", chunks=[0, 2]), "cannot be read"),
    _zarr("pictures of 100000 x 100000", _told("data/img", shape=[18, 100_000, 100_000, 3], chunks=[1, 1, 1, 3]), "up to 4096 pixels"),
    _zarr("steps of 2^40 numbers", _told("data/action", shape=[18, 2**40], chunks=[1, 1]), "up to 1000000 numbers"),
    _zarr("shape negative", _told("data/action", shape=[-18, 2]), "does not read as zarr|steps where"),
    _zarr("separator of a path", _told("data/action", dimension_separator="/../../../victim/"), "does not read as zarr"),
    _zarr("metadata nested deeply", _text("data/action/.zarray", "[" * 100_000), "does not read as zarr"),
    _zarr("episodes end at 2^62", _ends([5, 14, 2**62]), "expected counts of steps"),
    _zarr("episodes end below 0", _ends([-5, 14, 18]), "expected counts of steps"),
    _zarr("episodes end in fractions", _ends([5.5, 14, np.nan]), "expected a count"),
    _zarr("episodes end backwards", _ends([14, 5, 18]), "have to be above 0"),
    _zarr("episodes without end", _told("meta/episode_ends", shape=[10**12], chunks=[3]), "expected a count"),
]  # fmt: skip


# --- HDF5 ---


def _in_file(edit: Callable[[h5py.File], object]) -> Change:
    def change(path: Path) -> None:
        with h5py.File(path, "a") as file:
            edit(file)

    return change


def _instead(name: str, value: Any) -> Change:
    def edit(file: h5py.File) -> None:
        del file[name]
        file[name] = value

    return _in_file(edit)


def _stored_outside(file: h5py.File) -> None:
    outside = Path(file.filename).parent / "victim" / "v.npy"
    file.create_dataset("more", (18, 2), np.float32, external=[(str(outside), 0, h5py.h5f.UNLIMITED)])


def _virtual(file: h5py.File) -> None:
    layout = h5py.VirtualLayout((18, 2), np.float32)
    layout[:] = h5py.VirtualSource("victim/v.h5", "secret", (18, 2))
    file.create_virtual_dataset("more", layout)


def _declared(name: str, shape: tuple[int, ...], dtype: Any = np.uint8) -> Change:
    def edit(file: h5py.File) -> None:
        if name in file:
            del file[name]
        file.create_dataset(name, shape, dtype, chunks=(1,) * len(shape))

    return _in_file(edit)


def _packed_chunk(file: h5py.File) -> None:
    made = file.create_dataset("more", (18, 2), np.float32, chunks=(18, 2), compression="gzip")
    packer = zlib.compressobj(1)
    parts = [packer.compress(bytes(2**26)) for _ in range(24)]
    made.id.write_direct_chunk((0, 0), b"".join([*parts, packer.flush()]))


def _ring(file: h5py.File) -> None:
    file["group"] = h5py.SoftLink("/group")


def _hdf5(name: str, change: Change, words: str | None) -> Case:
    return Case(f"hdf5: {name}", changed(hdf5_file, change), words)


def _alone(name: str, make: Callable[[Path], object]) -> Make:
    def made(folder: Path) -> Path:
        make(folder / name)
        return folder / name

    return made


def _folder_with_pipe(path: Path) -> None:
    path.mkdir()
    os.mkfifo(path / "00.h5")


HDF5 = [
    _hdf5("sound", lambda path: None, None),
    _hdf5("texts aside", _in_file(lambda f: f.create_dataset("note", data=["a", "b"])), None),
    _hdf5("link to another file", _in_file(lambda f: f.__setitem__("more", h5py.ExternalLink("victim/v.h5", "/secret"))), "is a link to elsewhere"),
    _hdf5("link by name", _in_file(lambda f: f.__setitem__("more", h5py.SoftLink("/action"))), "is a link to elsewhere"),
    _hdf5("link to itself", _in_file(_ring), "is a link to elsewhere"),
    _hdf5("values in another file", _in_file(_stored_outside), "keeps its values in other files"),
    _hdf5("virtual values", _in_file(_virtual), "keeps its values in other files"),
    _hdf5("length of 2^62", _instead("ep_len", np.array([5, 9, 2**62])), "expected counts of steps|up to 1000000 steps"),
    _hdf5("length of 2^64 - 1", _instead("ep_len", np.array([5, 9, 2**64 - 1], np.uint64)), "expected counts of steps"),
    _hdf5("lengths that overflow", _instead("ep_len", np.full(3, 2**61)), "expected counts of steps"),
    _hdf5("length negative", _instead("ep_len", np.array([5, -9, 4])), "expected counts of steps"),
    _hdf5("length 0", _instead("ep_len", np.array([5, 0, 13])), "ep_offset does not follow|have to be above 0"),
    _hdf5("length in fractions", _instead("ep_len", np.array([5, np.nan, 4])), "expected a count"),
    _hdf5("lengths without end", _declared("ep_len", (10**12,), np.int64), "expected a count"),
    _hdf5("lengths in words", _instead("ep_len", "many"), "tells no lengths"),
    _hdf5("pictures of 100000 x 100000", _declared("pixels", (18, 100_000, 100_000, 3)), "up to 4096 pixels"),
    _hdf5("steps of 10^9 numbers", _declared("more", (18, 10**9)), "up to 1000000 numbers"),
    _hdf5("chunk of 1.5 GiB", _in_file(_packed_chunk), "cannot be read|more memory|crashed"),
    Case("hdf5: a pipe", _alone("x.h5", os.mkfifo), PIPE),
    Case("hdf5: a pipe in a folder", _alone("set", _folder_with_pipe), PIPE),
    Case("hdf5: no HDF5", _alone("x.h5", lambda path: path.write_bytes(b"\x89HDF\r\n\x1a\n" + b"\xff" * 500)), "does not read as HDF5"),
]  # fmt: skip


# --- Minari ---


def _metadata(**told: Any) -> Change:
    def change(folder: Path) -> None:
        path = folder / "data" / "metadata.json"
        found = json.loads(path.read_text()) | told
        path.write_text(json.dumps({key: value for key, value in found.items() if value is not None}))

    return change


def _program(folder: Path) -> None:
    """An environment that the data name, which is a command: it would write beside the data set."""
    spec = {"id": "Evil-v0", "entry_point": "os:system", "kwargs": {"command": f"touch {folder.parent}/victim/reached"}}
    spec |= {"reward_threshold": None, "nondeterministic": False, "max_episode_steps": None, "order_enforce": False}
    spec |= {"disable_env_checker": True, "additional_wrappers": [], "vector_entry_point": None}
    _metadata(env_spec=json.dumps(spec), observation_space=None)(folder)


def _main(edit: Callable[[h5py.File], object]) -> Change:
    return lambda folder: _in_file(edit)(folder / "data" / "main_data.hdf5")


def _moved(name: str, link: Any) -> Change:
    def edit(file: h5py.File) -> None:
        del file[name]
        file[name] = link

    return _main(edit)


def _minari(name: str, change: Change, words: str | None) -> Case:
    return Case(f"minari: {name}", changed(minari_folder, change), words)


ELSEWHERE = h5py.ExternalLink("../../victim/v.h5", "/secret")
MINARI = [
    _minari("sound", lambda folder: None, None),
    _minari("an environment that is a command", _program, "code that data name is not run"),
    _minari("another way of keeping data", _metadata(data_format="arrow"), "data in hdf5"),
    _minari("episodes without end", _metadata(total_episodes=10**12), "does not read as a Minari dataset"),
    _minari("metadata nested deeply", lambda f: (f / "data" / "metadata.json").write_text("[" * 100_000), "nested too deeply"),
    _minari("metadata a list", lambda f: (f / "data" / "metadata.json").write_text("[]"), "does not tell observation_space"),
    _minari("episode elsewhere", _moved("episode_1", ELSEWHERE), "is a link to elsewhere"),
    _minari("actions elsewhere", _moved("episode_1/actions", ELSEWHERE), "is a link to elsewhere"),
    _minari("state elsewhere", _moved("episode_0/observations/state", ELSEWHERE), "is a link to elsewhere"),
    _minari("data is a link", _linked("data/metadata.json", "../../victim/v.npy"), LINK),
]  # fmt: skip


# --- no data sets ---

ODD = [
    Case("nothing", lambda folder: folder / "set", "there is nothing at"),
    Case("a name without end", lambda folder: folder / ("x" * 5000), "cannot be looked at|there is nothing at"),
    Case("a name with NUL", lambda folder: folder / "a\0b", "there is nothing at"),
    Case("a name with markup", lambda folder: folder / "[/red][bold]", r"\[/red\]\[bold\]"),
    Case("a name that escapes a terminal", lambda folder: folder / "\x1b[2J", "there is nothing at"),
    Case("a device", lambda folder: Path("/dev/zero"), "in no format that is known"),
    Case("a pipe", _alone("pipe", os.mkfifo), "in no format that is known"),
]

CASES = [*FLAT, *ZARR, *HDF5, *MINARI, *ODD]
