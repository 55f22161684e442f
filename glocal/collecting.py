"""The first stage: experience comes in, recorded by play at the task or decoded from somebody's logs."""

from concurrent.futures import as_completed
from dataclasses import asdict
from functools import partial
from pathlib import Path

import numpy as np
import torch

from glocal.config import Config
from glocal.core.types import Grid
from glocal.data.dataset import Dataset
from glocal.data.doctor import as_json, judge, raise_grave
from glocal.data.formats import open_dataset
from glocal.data.ingest import beside, chosen, ingest, looks, mapping_of, megabytes
from glocal.data.mapping import Mapping, check
from glocal.data.mapping import to_dict as mapping_dict
from glocal.data.store import EpisodeStore, recorded, seal, write_episode
from glocal.data.workers import workers
from glocal.deploy.view import check_planar, check_robot
from glocal.evaluate.recording import describe, told
from glocal.files import UserError, write_json
from glocal.progress import Ticker, console, quoted
from glocal.tasks.collect import record_episode
from glocal.tasks.play import PlayConfig
from glocal.tasks.pusht import PushTConfig
from glocal.workspace import RunFolder


def collect(run: RunFolder) -> None:
    """Take in logs, or record play, several episodes at once; episodes that stand already are kept."""
    take_in(run) if run.config.logs else record(run)
    found = told(describe(EpisodeStore.open(run.data)))
    console.print("collect: " + "; ".join(f"{what} {much}" for what, much in found))


def take_in(run: RunFolder) -> None:
    """Decode logs once; what is the matter with them is written to `doctor.json`, and ends it where it is grave."""
    path, config = Path(run.config.logs), run.config
    dataset = open_dataset(path)
    known = _trainable(path, dataset, config)
    numbers, short = chosen(known, dataset.observed)
    if not numbers:
        raise UserError(
            f"{path} leaves no episode to train on: {len(short)} of {len(dataset)} are too short, the rest left out"
        )
    if short:
        console.print(f"collect: episodes {short} are shorter than one decision, and left out")
    size = megabytes(known, dataset.observed, numbers)
    console.print(f"collect: {len(numbers)} of {len(dataset)} episodes, about {size:.0f} MB in {run.data}")
    with Ticker("collect", len(numbers), unit="frames", per_iteration=round(float(np.mean(dataset.lengths)))) as tick:
        ingest(path, known, run.data, numbers, config.processes, tick)
    findings = judge(known, looks(run.data, numbers), config.world.context)
    write_json(run.folder / "doctor.json", as_json(path, findings))
    raise_grave(path, findings)
    seal(run.data, {"logs": str(path), "format": dataset.format, "mapping": mapping_dict(known)}, numbers)


def _trainable(path: Path, dataset: Dataset, config: Config) -> Mapping:
    """The mapping of logs; raises `UserError` where they are of another robot, or do not fit the run."""
    known = mapping_of(path, dataset)
    other = check_planar(known, dataset.features, beside(path).is_file())
    if other:
        raise UserError(
            f"{path} is not of a planar robot of two numbers, the only one that policies from logs can be judged on so "
            f"far: {'; '.join(other)}. `glocal data inspect {quoted(path)} --write` writes a mapping where only "
            "that is missing"
        )
    wrong = [*check(known, dataset), *check_robot(known, config.task)]
    if not config.task.images:
        wrong.append("logs hold pictures, and this preset observes tracked keypoints; use --task.images")
    if isinstance(config.codec.layout, Grid) and known.pose is None:
        wrong.append(
            "there is no pose, without which a latent grid cannot be judged; `glocal data label tracker` writes it"
        )
    if wrong:
        raise UserError(f"{path} cannot be trained on: {'; '.join(wrong)}. Its mapping is {beside(path)}, or proposed")
    return known


def record(run: RunFolder) -> None:
    """Record play."""
    config = run.config
    count = max(1, round(config.play.decisions / config.task.decisions))
    missing = sorted(set(range(count)) - recorded(run.data))
    seen_size = 64 * 64 * 3 if config.task.images else 0
    size = count * (config.task.decisions + 1) * (seen_size + 112) / 1e6
    console.print(f"collect: {count} episodes, about {size:.0f} MB in {run.data}")
    record_one = partial(_record, run.data, config.task, config.play, config.seed)
    pool = workers(config.processes)
    try:
        with Ticker("collect", count, count - len(missing), "decisions", config.task.decisions) as tick:
            for task in as_completed([pool.submit(record_one, number) for number in missing]):
                task.result()
                tick(tick.done + 1)
    finally:
        pool.shutdown(cancel_futures=True)
    seal(run.data, {"preset": config.preset, "seed": config.seed, "play": asdict(config.play)}, range(count))


def _record(folder: Path, task: PushTConfig, play: PlayConfig, seed: int, number: int) -> None:
    torch.set_num_threads(1)
    write_episode(folder, number, record_episode(task, play, seed, number))
