"""Formats: what is written is read back, what is there is recognised, and what is broken is named."""

import json
import random
import shutil
from pathlib import Path

import gymnasium
import h5py
import minari
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import zarr
from hypothesis import given
from hypothesis import strategies as st
from minari.data_collector import EpisodeBuffer
from minari.dataset.minari_storage import MinariStorage

from glocal.data.combined import Chosen
from glocal.data.dataset import Feature
from glocal.data.formats import aside, open_dataset
from glocal.data.formats.lerobot_writer import Layout, write_lerobot
from glocal.data.video import read_frames, write_frames
from glocal.runtime.files import UserError

STRUCTURE = 6000
"""Bytes at a file's beginning, where damage does most."""
LENGTHS = (5, 9, 4)
AFTER = [[10.0, 1.0], [20.0, 2.0], [30.0, 3.0]]
"""Where each episode's last step led to, in a format that keeps it."""
CAMERA, STATE = "observation.image", "observation.state"
FEATURES = {
    CAMERA: Feature((48, 64, 3), "uint8", picture=True, names=("height", "width", "channels")),
    STATE: Feature((2,), "float32", names=("x", "y")),
    "action": Feature((2,), "float32"),
    "next.reward": Feature((1,), "float32"),
    "next.done": Feature((1,), "bool"),
}


def pictures(length: int, start: int = 0) -> np.ndarray:
    """A box that moves, and says by its colour which frame it is."""
    frames = np.full((length, 48, 64, 3), 220, np.uint8)
    for t in range(length):
        frames[t, 12:36, 2 * t + start : 2 * t + start + 20] = (60, 20 * t, 120)
    return frames


def episode(length: int, seed: int) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    return {
        CAMERA: pictures(length, 3 * seed),
        STATE: rng.normal(size=(length, 2)).astype(np.float32),
        "action": rng.normal(size=(length, 2)).astype(np.float32),
        "next.reward": rng.random((length, 1), np.float32),
        "next.done": np.arange(length)[:, None] == length - 1,
    }


EPISODES = [episode(length, seed) for seed, length in enumerate(LENGTHS)]


def lerobot_v3(folder: Path) -> Path:
    write_lerobot(folder, EPISODES, Layout(10, FEATURES, "push the T"))
    return folder


def lerobot_v21(folder: Path) -> Path:
    """Written as LeRobot did before 3.0: a table and a video for each episode."""
    (folder / "meta").mkdir(parents=True)
    told = {name: {"dtype": one.dtype, "shape": list(one.shape), "names": None} for name, one in FEATURES.items()}
    told[CAMERA] = {"dtype": "video", "shape": [3, 48, 64], "names": ["channels", "height", "width"]}
    info = {
        "codebase_version": "v2.1", "fps": 10, "chunks_size": 1000, "features": told,
        "data_path": "data/chunk-{episode_chunk:03d}/episode_{episode_index:06d}.parquet",
        "video_path": "videos/chunk-{episode_chunk:03d}/{video_key}/episode_{episode_index:06d}.mp4",
    }  # fmt: skip
    (folder / "meta" / "info.json").write_text(json.dumps(info))
    rows, first = [], 0
    for number, one in enumerate(EPISODES):
        length = len(one["action"])
        rows.append(json.dumps({"episode_index": number, "tasks": ["push the T"], "length": length}))
        table = pa.table({
            STATE: pa.array(one[STATE].tolist(), pa.list_(pa.float32())),
            "action": pa.array(one["action"].tolist(), pa.list_(pa.float32())),
            "next.reward": one["next.reward"][:, 0], "next.done": one["next.done"][:, 0],
            "index": np.arange(first, first + length),
        })  # fmt: skip
        path = folder / f"data/chunk-000/episode_{number:06d}.parquet"
        path.parent.mkdir(parents=True, exist_ok=True)
        pq.write_table(table, path)
        write_frames(folder / f"videos/chunk-000/{CAMERA}/episode_{number:06d}.mp4", one[CAMERA], 10)
        first += length
    (folder / "meta" / "episodes.jsonl").write_text("\n".join(rows) + "\n")
    return folder


def zarr_folder(folder: Path) -> Path:
    root = zarr.open_group(str(folder), mode="w", zarr_format=2)
    data, meta = root.create_group("data"), root.create_group("meta")
    for name, key in (("img", CAMERA), ("state", STATE), ("action", "action")):
        values = np.concatenate([one[key] for one in EPISODES])
        data.create_array(name, data=values.astype(np.float32))
    meta.create_array("episode_ends", data=np.cumsum(LENGTHS))
    return folder


def hdf5_file(path: Path) -> Path:
    path = path.with_suffix(".h5")
    with h5py.File(path, "w") as file:
        for name, key in (("pixels", CAMERA), ("state", STATE), ("action", "action")):
            file[name] = np.concatenate([one[key] for one in EPISODES])
        file["ep_len"] = np.array(LENGTHS)
        file["ep_offset"] = np.concatenate([[0], np.cumsum(LENGTHS)[:-1]])
    return path


def hdf5_shards(folder: Path) -> Path:
    """Two files, the episodes of each padded to the longest one there."""
    folder.mkdir()
    for number, chosen in enumerate((EPISODES[:2], EPISODES[2:])):
        lengths = [len(one["action"]) for one in chosen]
        with h5py.File(folder / f"{number:02d}.hdf5", "w") as file:
            for name, key in (("images", CAMERA), ("actions", "action")):
                shape = chosen[0][key].shape[1:]
                file[name] = np.zeros((len(chosen), max(lengths), *shape), chosen[0][key].dtype)
                for row, one in enumerate(chosen):
                    file[name][row, : lengths[row]] = one[key]
            file["lengths"] = np.array(lengths)
    return folder


def minari_folder(folder: Path) -> Path:
    def space(key):
        low, high = (0, 255) if key == CAMERA else (-np.inf, np.inf)
        return gymnasium.spaces.Box(low, high, EPISODES[0][key].shape[1:], EPISODES[0][key].dtype)

    observations = gymnasium.spaces.Dict({"image": space(CAMERA), "state": space(STATE)})
    folder.mkdir()
    storage = MinariStorage.new(folder / "data", observations, space("action"))
    episodes = []
    for number, one in enumerate(EPISODES):
        last = {"image": one[CAMERA][-1:], "state": np.array(AFTER[number : number + 1], np.float32)}
        parts = {"image": one[CAMERA], "state": one[STATE]}
        episodes.append(EpisodeBuffer(
            id=number, observations={k: list(np.concatenate([v, last[k]])) for k, v in parts.items()},
            actions=list(one["action"]), rewards=list(one["next.reward"][:, 0]),
            terminations=list(one["next.done"][:, 0]), truncations=[False] * len(one["action"]), infos={},
        ))  # fmt: skip
    storage.update_episodes(episodes)
    storage.update_metadata({"dataset_id": "push/t-v0", "minari_version": minari.__version__})
    return folder


def npz_folder(folder: Path) -> Path:
    folder.mkdir()
    for number, one in enumerate(EPISODES):
        np.savez(folder / f"{number:03d}.npz", image=one[CAMERA], action=one["action"])
    return folder


def mp4_folder(folder: Path) -> Path:
    folder.mkdir()
    for number, one in enumerate(EPISODES):
        write_frames(folder / f"{number:03d}.mp4", one[CAMERA], 10)
        np.save(folder / f"{number:03d}.npy", one["action"])
    return folder


MAKERS = {
    "lerobot v3": (lerobot_v3, CAMERA),
    "lerobot v2.1": (lerobot_v21, CAMERA),
    "zarr": (zarr_folder, "img"),
    "hdf5": (hdf5_file, "pixels"),
    "hdf5 shards": (hdf5_shards, "images"),
    "minari": (minari_folder, "observation.image"),
    "npz": (npz_folder, "image"),
    "mp4": (mp4_folder, "image"),
}


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    folder = tmp_path_factory.mktemp("formats")
    return {name: make(folder / name.replace(" ", "_")) for name, (make, _) in MAKERS.items()}


@pytest.fixture(scope="module")
def impatient():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(aside, "PATIENCE", 10.0)
        yield


def psnr(a: np.ndarray, b: np.ndarray) -> float:
    return float(10 * np.log10(255**2 / max(1e-9, np.mean((a.astype(float) - b) ** 2))))


@pytest.mark.parametrize("name", MAKERS)
def test_every_format_is_recognised_and_read_back(made, name):
    dataset, camera = open_dataset(made[name]), MAKERS[name][1]
    assert tuple(dataset.lengths) == LENGTHS
    for number in (2, 0, 1):
        action = "actions" if name == "hdf5 shards" else "action"
        found = dataset.episode(number, [camera, action])
        assert np.array_equal(found[action], EPISODES[number]["action"])
        least = 25 if name == "minari" else 35  # Minari keeps pictures as JPEG
        assert found[camera].dtype == np.uint8 and psnr(found[camera], EPISODES[number][CAMERA]) > least


def test_what_minaris_last_steps_led_to_is_kept(made):
    dataset = open_dataset(made["minari"])
    assert list(dataset.observed) == [length + 1 for length in LENGTHS]
    names = ["observation.image", "observation.state", "action"]
    for number in (2, 0):
        final, whole = dataset.final(number, names), dataset.episode(number, names)
        assert set(final) == {"observation.image", "observation.state"}
        assert np.array_equal(final["observation.state"], [AFTER[number]])
        assert final["observation.image"].shape == (1, 48, 64, 3)
        assert all(len(values) == LENGTHS[number] for values in whole.values())
    chosen = Chosen(dataset, [2])
    assert list(chosen.observed) == [5] and np.array_equal(chosen.final(0, names)["observation.state"], [AFTER[2]])


def test_other_formats_have_an_observation_for_each_step_and_no_more(made):
    for name in set(MAKERS) - {"minari"}:
        dataset = open_dataset(made[name])
        assert tuple(dataset.observed) == LENGTHS and dataset.final(0, list(dataset.features)) == {}


def as_numbers(folder: Path, name: str, frames: list[np.ndarray]) -> tuple[Path, str]:
    """Episodes whose pictures are numbers of whatever type, in a format that keeps arrays."""
    action, ends = np.zeros((sum(map(len, frames)), 2), np.float32), np.cumsum([len(film) for film in frames])
    if name == "npz":
        folder.mkdir()
        for number, film in enumerate(frames):
            np.savez(folder / f"{number}.npz", image=film, action=np.zeros((len(film), 2)))
    elif name == "zarr":
        root = zarr.open_group(str(folder), mode="w", zarr_format=2)
        root.create_group("data").create_array("image", data=np.concatenate(frames))
        root["data"].create_array("action", data=action)
        root.create_group("meta").create_array("episode_ends", data=ends)
    else:
        folder = folder.with_suffix(".h5")
        with h5py.File(folder, "w") as file:
            file["image"], file["action"], file["ep_len"] = np.concatenate(frames), action, np.diff(ends, prepend=0)
    return folder, "image"


@pytest.mark.parametrize("name", ["npz", "zarr", "hdf5"])
@pytest.mark.parametrize("white, dtype", [(1.0, np.float32), (1.0, np.float64), (255.0, np.float32), (255, np.int64)])
def test_pictures_that_are_numbers_become_bytes(tmp_path, name, white, dtype):
    """An episode that is dark throughout is dark, whatever white is."""
    films = [one[CAMERA] for one in EPISODES]
    films = [films[0], films[1], films[2] // 255]
    path, camera = as_numbers(tmp_path / "set", name, [(film / 255 * white).astype(dtype) for film in films])
    dataset = open_dataset(path)
    assert dataset.features[camera] == Feature((48, 64, 3), "uint8", picture=True)
    for number, film in enumerate(films):
        assert np.array_equal(dataset.episode(number, [camera])[camera], film)


@pytest.mark.parametrize("name", ["npz", "zarr", "hdf5"])
@pytest.mark.parametrize(
    "value, said",
    [(np.nan, "hold NaN or infinite numbers"), (-1.0, "hold -1 to 0.862745, expected 0 to 1"),
     (200.0, "hold 0 to 200, expected 0 to 1")],
)  # fmt: skip
def test_pictures_that_are_neither_fractions_nor_bytes_are_refused(tmp_path, name, value, said):
    films = [(one[CAMERA] / 255).astype(np.float32) for one in EPISODES]
    films[1][4, 3, 2, 1] = value
    path, camera = as_numbers(tmp_path / "set", name, films)
    assert open_dataset(path).episode(0, [camera])[camera].max() == 220
    with pytest.raises(UserError, match=rf"image .*(episode 1|1\.npz).* cannot be used: its pictures {said}"):
        open_dataset(path).episode(1, [camera])


@pytest.mark.parametrize("first", [np.uint8, np.float32])
def test_fractions_beside_numbers_up_to_255_are_refused(tmp_path, first):
    films = [one[CAMERA].astype(first) for one in EPISODES]
    films[1] = (films[1] / 255).astype(np.float32)
    path, camera = as_numbers(tmp_path / "set", "npz", films)
    with pytest.raises(UserError, match="pictures hold fractions of 1, the others 0 to 255"):
        open_dataset(path).episode(1, [camera])
    path, camera = as_numbers(tmp_path / "other", "npz", [films[1], EPISODES[0][CAMERA]])
    with pytest.raises(UserError, match="expected 0 to 1 as in the others"):
        open_dataset(path).episode(1, [camera])


@pytest.mark.parametrize("codec", ["h264", "av1"])
@pytest.mark.parametrize("limit", [200.0, 1e-6], ids=["one file", "many files"])
def test_lerobot_round_trips(tmp_path, codec, limit):
    layout = Layout(10, FEATURES, "push the T", codec, table_mb=limit, video_mb=limit)
    assert write_lerobot(tmp_path / "set", EPISODES, layout) == len(EPISODES)
    dataset = open_dataset(tmp_path / "set")
    assert dataset.fps == 10 and {k: (v.shape, v.dtype) for k, v in dataset.features.items()} == {
        k: (v.shape, v.dtype) for k, v in FEATURES.items()
    }
    for number, one in enumerate(EPISODES):
        found = dataset.episode(number, list(FEATURES))
        for name in FEATURES:
            if name == CAMERA:
                assert psnr(found[name], one[name]) > 35
            else:
                assert np.array_equal(found[name], one[name]) and found[name].dtype == one[name].dtype


def test_statistics_are_those_of_all_episodes(made):
    told = json.loads((made["lerobot v3"] / "meta" / "stats.json").read_text())
    values = np.concatenate([one["action"] for one in EPISODES])
    assert np.allclose(told["action"]["mean"], values.mean(0)) and np.allclose(told["action"]["std"], values.std(0))
    assert told["action"]["count"] == [sum(LENGTHS)] and np.shape(told[CAMERA]["mean"]) == (3, 1, 1)


def test_a_video_is_sought_by_time(tmp_path):
    frames = pictures(9)
    write_frames(tmp_path / "film.mp4", frames, 10)
    found = np.stack(list(read_frames(tmp_path / "film.mp4", 0.5, 3, 10)))
    assert psnr(found, frames[5:8]) > 35
    with pytest.raises(UserError, match=r"ends before 0\.900 s: 4 of 6 frames"):
        list(read_frames(tmp_path / "film.mp4", 0.5, 6, 10))


@pytest.mark.parametrize("codec", ["h264", "av1"])
@pytest.mark.parametrize("sides", [(21, 34), (20, 35), (21, 35)])
def test_pictures_whose_sides_are_odd_are_filmed(tmp_path, sides, codec):
    frames = np.full((3, *sides, 3), (200, 30, 90), np.uint8)
    write_frames(tmp_path / "film.mp4", frames, 10, codec)
    found = np.stack(list(read_frames(tmp_path / "film.mp4", 0.0, 3, 10)))
    assert found.shape == frames.shape and abs(found.astype(int) - frames).max() < 8


def test_nothing_half_written_is_left(tmp_path):
    def broken():
        yield EPISODES[0]
        yield {**EPISODES[1], "action": EPISODES[1]["action"][:3]}

    with pytest.raises(UserError, match="episode 1 have lengths"):
        write_lerobot(tmp_path / "set", broken(), Layout(10, FEATURES))
    assert list(tmp_path.iterdir()) == []


def test_what_is_there_is_not_overwritten(made):
    with pytest.raises(UserError, match="exists already"):
        write_lerobot(made["lerobot v3"], EPISODES, Layout(10, FEATURES))


def test_a_dataset_without_episodes_is_refused(made, tmp_path):
    shutil.copytree(made["lerobot v2.1"], tmp_path / "set")
    (tmp_path / "set" / "meta" / "episodes.jsonl").write_text("")
    with pytest.raises(UserError, match="holds no episodes"):
        open_dataset(tmp_path / "set")


def test_a_path_of_no_known_format_is_refused(tmp_path):
    (tmp_path / "notes.txt").write_text("nothing")
    with pytest.raises(UserError, match="no format that is known"):
        open_dataset(tmp_path)


@pytest.mark.parametrize("name", MAKERS)
@given(seed=st.integers(0, 2**20), cut=st.booleans())
def test_damage_gives_a_clear_error_or_none(made, impatient, tmp_path_factory, name, seed, cut):
    """Truncated and bit-flipped copies: whatever is raised is a `UserError` that names a path."""
    folder, rng = tmp_path_factory.mktemp("damaged"), random.Random(seed)
    copy = folder / made[name].name
    (shutil.copytree if made[name].is_dir() else shutil.copy)(made[name], copy)
    victim = rng.choice(sorted(path for path in ([copy] if copy.is_file() else copy.rglob("*")) if path.is_file()))
    content = bytearray(victim.read_bytes())
    if cut:
        content = content[: rng.randrange(len(content))]
    else:
        end = len(content) if rng.random() < 0.3 else min(len(content), STRUCTURE)
        for _ in range(rng.randint(1, 20)):
            content[rng.randrange(end)] ^= 1 << rng.randrange(8)
    victim.write_bytes(content)
    try:
        dataset = open_dataset(copy)
        for number in range(len(dataset)):
            dataset.episode(number, list(dataset.features))
    except UserError as error:
        assert str(folder) in str(error)
    finally:
        shutil.rmtree(folder)
