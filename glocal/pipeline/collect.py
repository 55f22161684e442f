"""The first stage: experience comes in, recorded by play at the task or decoded from somebody's logs."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import as_completed
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from glocal.data.dataset import Dataset
from glocal.data.doctor import as_json, judge, raise_grave
from glocal.data.findings import Finding
from glocal.data.formats import open_dataset
from glocal.data.ingest import beside, chosen, ingest, kept, looks, mapping_of, megabytes
from glocal.data.mapping import Mapping as PlanarMapping
from glocal.data.mapping import check
from glocal.data.mapping import to_dict as mapping_dict
from glocal.data.reading import PlanarReading, Reading, RobotReading
from glocal.data.robot_checks import check_robot_logs, left_unused
from glocal.data.store import EpisodeStore, recorded, seal, write_episode
from glocal.data.streams import features_of, misfits, unused
from glocal.data.streams import to_dict as streams_dict
from glocal.data.workers import workers
from glocal.deploy.preprocess import check_planar, check_robot
from glocal.evaluate.recording import describe, told
from glocal.models.codecs.cameras import PictureCodecConfig
from glocal.pipeline.config import Config, RobotConfig
from glocal.pipeline.run_dir import RunFolder
from glocal.runtime.files import UserError, write_json
from glocal.runtime.progress import Ticker, console, quoted
from glocal.tasks.collect import record_episode
from glocal.tasks.play import PlayConfig
from glocal.tasks.pusht import PushTConfig


def collect(run: RunFolder) -> None:
    """Take in logs, or record play, several episodes at once; episodes that stand already are kept."""
    if isinstance(task := run.config.task, RobotConfig) and not run.config.logs:
        raise UserError("a robot that no logs are named of has nothing to train on; name some with --logs")
    take_in(run) if isinstance(task, RobotConfig) or run.config.logs else record(run, task)
    found = told(describe(EpisodeStore.open(run.data)))
    console.print("collect: " + "; ".join(f"{what} {much}" for what, much in found))


def take_in(run: RunFolder) -> None:
    """Decode logs once; what is the matter with them is written to `doctor.json`, and ends it where it is grave."""
    path, config = Path(run.config.logs), run.config
    dataset = open_dataset(path)
    task = config.task
    robot = isinstance(task, RobotConfig)
    source = _robot(path, dataset, run, task) if robot else _planar(path, dataset, run, task)
    numbers = _ingested(run, path, dataset, source.reading)
    findings = source.examine(numbers)
    write_json(run.folder / "doctor.json", as_json(path, findings))
    raise_grave(path, findings)
    seal(run.data, {"logs": str(path), "format": dataset.format, **source.about}, numbers)


@dataclass(frozen=True)
class _Source:
    """Logs as they are taken in."""

    reading: Reading
    about: Mapping[str, Any]
    """What the store says of how it was made."""
    examine: Callable[[Sequence[int]], list[Finding]]
    """What is the matter with some of its episodes."""


def _ingested(run: RunFolder, path: Path, dataset: Dataset, reading: Reading) -> list[int]:
    """Decode the episodes that are used; returns their numbers."""
    numbers, short = chosen(reading, dataset.observed)
    if not numbers:
        raise UserError(
            f"{path} leaves no episode to train on: {len(short)} of {len(dataset)} are too short, the rest left out"
        )
    if short:
        console.print(f"collect: episodes {short} are shorter than one control step, and left out")
    size = megabytes(reading, dataset.observed, numbers)
    console.print(f"collect: {len(numbers)} of {len(dataset)} episodes, about {size:.0f} MB in {run.data}")
    with Ticker("collect", len(numbers), unit="frames", per_iteration=round(float(np.mean(dataset.lengths)))) as tick:
        ingest(path, reading, run.data, numbers, run.config.processes, tick)
    return numbers


def _robot(path: Path, dataset: Dataset, run: RunFolder, task: RobotConfig) -> _Source:
    """Any robot's logs; raises `UserError` where they do not fit the run's mapping, and says what is not used."""
    mapping = task.mapping
    wrong = misfits(mapping, dataset)
    if wrong:
        raise UserError(f"{path} cannot be trained on: {'; '.join(wrong)}. Its mapping is {beside(path)}, or proposed")
    for line in unused(mapping, dataset):
        console.print(f"collect: {line}")

    def examine(numbers: Sequence[int]) -> list[Finding]:
        looks = {number: kept(run.data, number) for number in numbers}
        return [*check_robot_logs(mapping, looks, run.config.world.context), *left_unused(mapping, dataset)]

    shapes = {name: list(dataset.features[name].shape) for name in features_of(mapping)}
    return _Source(RobotReading(mapping), {"streams": streams_dict(mapping), "shapes": shapes}, examine)


def _planar(path: Path, dataset: Dataset, run: RunFolder, task: PushTConfig) -> _Source:
    """A planar robot's logs."""
    known = _trainable(path, dataset, run.config, task)
    about = {"mapping": mapping_dict(known)}
    return _Source(
        PlanarReading(known), about, lambda numbers: judge(known, looks(run.data, numbers), run.config.world.context)
    )


def _trainable(path: Path, dataset: Dataset, config: Config, task: PushTConfig) -> PlanarMapping:
    """The mapping of logs; raises `UserError` where they are of another robot, or do not fit the run."""
    known = mapping_of(path, dataset)
    other = check_planar(known, dataset.features, beside(path).is_file())
    if other:
        raise UserError(
            f"{path} is not of a planar robot of two numbers, which presets of Push-T are for: {'; '.join(other)}. The "
            f"preset robot takes logs of any robot. `glocal data inspect {quoted(path)} --write` writes a mapping "
            "where only that is missing"
        )
    wrong = [*check(known, dataset), *check_robot(known, task)]
    if not config.task.images:
        wrong.append("logs hold pictures, and this preset observes tracked keypoints; use --task.images")
    if isinstance(config.codec, PictureCodecConfig) and known.pose is None:
        wrong.append(
            "there is no pose, without which what a codec of pictures keeps cannot be judged; `glocal data label "
            "tracker` writes it"
        )
    if wrong:
        raise UserError(f"{path} cannot be trained on: {'; '.join(wrong)}. Its mapping is {beside(path)}, or proposed")
    return known


def record(run: RunFolder, task: PushTConfig) -> None:
    """Record play."""
    config = run.config
    count = max(1, round(config.play.control_steps / task.control_steps))
    missing = sorted(set(range(count)) - recorded(run.data))
    seen_size = 64 * 64 * 3 if task.images else 0
    size = count * (task.control_steps + 1) * (seen_size + 112) / 1e6
    console.print(f"collect: {count} episodes, about {size:.0f} MB in {run.data}")
    record_one = partial(_record, run.data, task, config.play, config.seed)
    with Ticker("collect", count, count - len(missing), "steps", task.control_steps) as tick:
        for _ in _all_done(record_one, missing, config.processes):
            tick(tick.done + 1)
    seal(run.data, {"preset": config.preset, "seed": config.seed, "play": asdict(config.play)}, range(count))


def _all_done(work: Callable[[int], None], numbers: Sequence[int], processes: int) -> Iterator[None]:
    """Work at all numbers, in so many processes, of which one is this."""
    if processes == 1:
        yield from map(work, numbers)
        return
    pool = workers(processes)
    try:
        for ready in as_completed([pool.submit(work, number) for number in numbers]):
            yield ready.result()
    finally:
        pool.shutdown(cancel_futures=True)


def _record(folder: Path, task: PushTConfig, play: PlayConfig, seed: int, number: int) -> None:
    torch.set_num_threads(1)
    write_episode(folder, number, record_episode(task, play, seed, number))
