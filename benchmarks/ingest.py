"""How fast logs are read: frames a second by reader, decoded whole and one by one process, and of taking them in.

    python benchmarks/ingest.py --steps 6000

The same episodes (96x96) are written in every format that is read, then each reader goes through them in turn, several
times; medians are printed. `collect` is the whole of it: decode, crop, resize, look and write, with two processes.
"""

import json
import shutil
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

import gymnasium
import h5py
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import tyro
import zarr
from minari.data_collector import EpisodeBuffer
from minari.dataset.minari_storage import MinariStorage

from glocal.data.dataset import Array, Feature
from glocal.data.formats import open_dataset
from glocal.data.formats.lerobot_writer import Layout, write_lerobot
from glocal.data.ingest import ingest, mapping_of
from glocal.data.mapping import Mapping
from glocal.data.reading import PlanarReading
from glocal.data.video import write_frames
from glocal.tasks.play import PlayConfig, player
from glocal.tasks.pusht import HOLD, REACH, TABLE, PushT, PushTConfig

LENGTH, FPS, SIDE = 300, 10, 96
Episode = dict[str, Array]


def recorded(steps: int) -> list[Episode]:
    """Episodes of play, as runs/record_logs.py records them."""
    env, episodes = PushT(PushTConfig(images=True), (SIDE, SIDE)), []
    for number in range(-(-steps // LENGTH)):
        rng = np.random.default_rng(number)
        hand, rows = player(rng, PlayConfig()), []
        next(hand)
        seen = env.reset(number)
        while len(rows) < LENGTH:
            target = np.clip(seen.agent + REACH * np.clip(hand.send(seen), -1, 1), 0, TABLE)
            for _ in range(HOLD):
                rows.append((seen.image, seen.agent, target))
                seen = env.move(target)
        image, state, action = (np.stack(part) for part in zip(*rows, strict=True))
        episodes.append({"image": image, "state": state.astype(np.float32), "action": action.astype(np.float32)})
    return episodes


def lerobot_v3(folder: Path, episodes: list[Episode], codec: str) -> None:
    features = {name: Feature(x.shape[1:], str(x.dtype), x.ndim == 4) for name, x in episodes[0].items()}
    write_lerobot(folder, episodes, Layout(FPS, features, codec=codec))


def lerobot_v21(folder: Path, episodes: list[Episode]) -> None:
    (folder / "meta").mkdir(parents=True)
    features = {
        "image": {"dtype": "video", "shape": [SIDE, SIDE, 3], "names": ["height", "width", "channels"]},
        "state": {"dtype": "float32", "shape": [2], "names": None},
        "action": {"dtype": "float32", "shape": [2], "names": None},
    }
    info = {
        "codebase_version": "v2.1", "fps": FPS, "chunks_size": 1000, "features": features,
        "data_path": "data/chunk-{episode_chunk:03d}/episode_{episode_index:06d}.parquet",
        "video_path": "videos/chunk-{episode_chunk:03d}/{video_key}/episode_{episode_index:06d}.mp4",
    }  # fmt: skip
    (folder / "meta" / "info.json").write_text(json.dumps(info))
    told = [json.dumps({"episode_index": n, "tasks": [], "length": LENGTH}) for n in range(len(episodes))]
    (folder / "meta" / "episodes.jsonl").write_text("\n".join(told) + "\n")
    for n, one in enumerate(episodes):
        columns = {name: pa.array(one[name].tolist(), pa.list_(pa.float32())) for name in ("state", "action")}
        path = folder / f"data/chunk-000/episode_{n:06d}.parquet"
        path.parent.mkdir(parents=True, exist_ok=True)
        pq.write_table(pa.table(columns | {"index": np.arange(n * LENGTH, (n + 1) * LENGTH)}), path)
        write_frames(folder / f"videos/chunk-000/image/episode_{n:06d}.mp4", one["image"], FPS)


def zarr_group(folder: Path, episodes: list[Episode]) -> None:
    root = zarr.open_group(str(folder), mode="w", zarr_format=2)
    data, meta = root.create_group("data"), root.create_group("meta")
    for name in episodes[0]:
        values = np.concatenate([one[name] for one in episodes])
        data.create_array("img" if name == "image" else name, data=values, chunks=(100, *values.shape[1:]))
    meta.create_array("episode_ends", data=np.arange(1, len(episodes) + 1) * LENGTH)


def hdf5(folder: Path, episodes: list[Episode]) -> None:
    folder.mkdir()
    with h5py.File(folder / "all.h5", "w") as file:
        for name in episodes[0]:
            file["pixels" if name == "image" else name] = np.concatenate([one[name] for one in episodes])
        file["ep_len"] = np.full(len(episodes), LENGTH)


def minari(folder: Path, episodes: list[Episode]) -> None:
    def space(name: str) -> gymnasium.spaces.Box:
        low, high = (0, 255) if name == "image" else (-np.inf, np.inf)
        return gymnasium.spaces.Box(low, high, episodes[0][name].shape[1:], episodes[0][name].dtype.type)

    folder.mkdir()
    seen = ("image", "state")
    observations = gymnasium.spaces.Dict({name: space(name) for name in seen})
    storage = MinariStorage.new(folder / "data", observations, space("action"))
    nothing = [False] * LENGTH
    storage.update_episodes([
        EpisodeBuffer(
            id=n, observations={name: [*one[name], one[name][-1]] for name in seen}, actions=list(one["action"]),
            rewards=[0.0] * LENGTH, terminations=nothing, truncations=nothing, infos={},
        )
        for n, one in enumerate(episodes)
    ])  # fmt: skip
    storage.update_metadata({"dataset_id": "push/t-v0", "minari_version": version("minari")})


def npz(folder: Path, episodes: list[Episode]) -> None:
    folder.mkdir()
    for n, one in enumerate(episodes):
        np.savez(folder / f"{n:06d}.npz", **one)


def mp4(folder: Path, episodes: list[Episode]) -> None:
    folder.mkdir()
    for n, one in enumerate(episodes):
        write_frames(folder / f"{n:06d}.mp4", one["image"], FPS)
        np.savez(folder / f"{n:06d}.npz", state=one["state"], action=one["action"])


WRITERS: dict[str, Callable[[Path, list[Episode]], None]] = {
    "LeRobot v3.0, H.264": lambda folder, episodes: lerobot_v3(folder, episodes, "h264"),
    "LeRobot v3.0, AV1": lambda folder, episodes: lerobot_v3(folder, episodes, "av1"),
    "LeRobot v2.1, H.264": lerobot_v21,
    "zarr": zarr_group,
    "HDF5": hdf5,
    "Minari (JPEG)": minari,
    "npz": npz,
    "mp4 and npz": mp4,
}


def decode(path: Path, mapping: Mapping) -> float:
    """Seconds for reading every frame in this process."""
    dataset, began = open_dataset(path), time.perf_counter()
    for number in range(len(dataset)):
        dataset.episode(number, [mapping.camera, mapping.action])
    return time.perf_counter() - began


def take_in(path: Path, mapping: Mapping, store: Path, processes: int) -> float:
    """Seconds for all that `collect` does with the episodes."""
    began = time.perf_counter()
    ingest(path, PlanarReading(mapping), store, range(len(open_dataset(path))), processes, lambda done: None)
    seconds = time.perf_counter() - began
    shutil.rmtree(store.with_name(store.name + ".recording"))
    return seconds


def main(steps: int = 6000, rounds: int = 3, processes: int = 2) -> None:
    """Write, read and print."""
    with TemporaryDirectory() as folder:
        episodes = recorded(steps)
        paths = {name: Path(folder) / f"set{i}" for i, name in enumerate(WRITERS)}
        for name, write in WRITERS.items():
            write(paths[name], episodes)
        frames = len(episodes) * LENGTH
        mappings = {name: mapping_of(path, open_dataset(path)) for name, path in paths.items()}
        seconds: dict[str, list[tuple[float, float]]] = {name: [] for name in paths}
        for _ in range(rounds):
            for name, path in paths.items():
                taken = take_in(path, mappings[name], Path(folder) / "store", processes)
                seconds[name].append((decode(path, mappings[name]), taken))
        print(f"{frames} frames of {SIDE}x{SIDE}; medians of {rounds} rounds, frames a second")
        print(f"{'':22}{'decode':>10}{'collect':>10}{'MB':>8}")
        for name, path in paths.items():
            decoded, taken = (frames / median(part) for part in zip(*seconds[name], strict=True))
            size = sum(file.stat().st_size for file in path.rglob("*") if file.is_file()) / 1e6
            print(f"{name:22}{decoded:10,.0f}{taken:10,.0f}{size:8.1f}")


if __name__ == "__main__":
    tyro.cli(main)
