"""The first stage: experience comes in, recorded by play at the task or decoded from somebody's logs."""

from concurrent.futures import as_completed
from pathlib import Path

import numpy as np
import torch

from glocal.codecs.grid import GridCodecConfig
from glocal.config import Config, to_dict
from glocal.data.doctor import as_json, judge, raise_grave
from glocal.data.formats import open_dataset
from glocal.data.ingest import beside, chosen, ingest, looks, mapping_of, megabytes
from glocal.data.mapping import check
from glocal.data.mapping import to_dict as mapping_dict
from glocal.data.store import EpisodeStore, recorded, seal, write_episode
from glocal.data.workers import workers
from glocal.deploy.view import check_robot
from glocal.evaluate.recording import describe, told
from glocal.files import UserError, write_json
from glocal.progress import Ticker, console
from glocal.tasks.collect import record_episode
from glocal.workspace import Run


def collect(run: Run) -> None:
    """Take in logs, or record play, several episodes at once; episodes that stand already are kept."""
    take_in(run) if run.config.logs else record(run)
    found = told(describe(EpisodeStore.open(run.data)))
    console.print("collect: " + "; ".join(f"{what} {much}" for what, much in found))


def take_in(run: Run) -> None:
    """Decode logs once; what is the matter with them is written to `doctor.json`, and ends it where it is grave."""
    path, config = Path(run.config.logs), run.config
    dataset = open_dataset(path)
    known = mapping_of(path, dataset)
    wrong = [*check(known, dataset), *check_robot(known, config.task)]
    if not config.task.images:
        wrong.append("logs hold pictures, and this preset observes tracked keypoints; use --task.images")
    if isinstance(config.codec, GridCodecConfig) and known.pose is None:
        wrong.append(
            "there is no pose, without which a latent grid cannot be judged; `glocal data label tracker` writes it"
        )
    if wrong:
        raise UserError(f"{path} cannot be trained on: {'; '.join(wrong)}. Its mapping is {beside(path)}, or proposed")
    numbers, short = chosen(known, dataset.lengths)
    if not numbers:
        raise UserError(
            f"{path} leaves no episode to train on: {len(short)} of {len(dataset)} are too short, the rest left out"
        )
    if short:
        console.print(f"collect: episodes {short} are shorter than one decision, and left out")
    size = megabytes(known, dataset.lengths, numbers)
    console.print(f"collect: {len(numbers)} of {len(dataset)} episodes, about {size:.0f} MB in {run.data}")
    with Ticker("collect", len(numbers), unit="frames", per_iteration=round(float(np.mean(dataset.lengths)))) as tick:
        ingest(path, known, run.data, numbers, config.processes, tick)
    findings = judge(known, looks(run.data, numbers), config.world.context)
    write_json(run.folder / "doctor.json", as_json(path, findings))
    raise_grave(path, findings)
    seal(run.data, {"logs": str(path), "format": dataset.format, "mapping": mapping_dict(known)})


def record(run: Run) -> None:
    """Record play."""
    config = run.config
    count = max(1, round(config.play.decisions / config.task.decisions))
    missing = sorted(set(range(count)) - recorded(run.data))
    seen_size = 64 * 64 * 3 if config.task.images else 0
    size = count * (config.task.decisions + 1) * (seen_size + 112) / 1e6
    console.print(f"collect: {count} episodes, about {size:.0f} MB in {run.data}")
    pool = workers(config.processes)
    try:
        with Ticker("collect", count, count - len(missing), "decisions", config.task.decisions) as tick:
            for task in as_completed([pool.submit(_record, run.data, config, number) for number in missing]):
                task.result()
                tick(tick.done + 1)
    finally:
        pool.shutdown(cancel_futures=True)
    seal(run.data, {"preset": config.preset, "seed": config.seed, "play": to_dict(config)["play"]})


def _record(folder: Path, config: Config, number: int) -> None:
    torch.set_num_threads(1)
    write_episode(folder, number, record_episode(config.task, config.play, config.seed, number))
