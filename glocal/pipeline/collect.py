"""The first stage: experience comes in, recorded by play at the task or decoded from somebody's logs."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import as_completed
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from glocal.data import mappings
from glocal.data.dataset import Dataset
from glocal.data.doctor import as_json, judge, raise_grave
from glocal.data.findings import Finding
from glocal.data.formats import open_dataset
from glocal.data.ingest import beside, chosen, ingest, kept, looks, mapping_of, megabytes, robot_mapping_of
from glocal.data.mapping import Mapping as PlanarMapping
from glocal.data.mapping import check, sight
from glocal.data.mapping import from_dict as mapping_from
from glocal.data.mapping import to_dict as mapping_dict
from glocal.data.reading import PlanarReading, Reading, RobotReading
from glocal.data.robot_checks import check_robot_logs, left_unused
from glocal.data.store import EpisodeStore, episode_of, recorded, recording_folder, seal, write_episode
from glocal.data.streams import RobotMapping, features_of, misfits, unused
from glocal.data.streams import to_dict as streams_dict
from glocal.data.workers import workers
from glocal.deploy.interface import FPS, NAMES, PUSHT
from glocal.deploy.preprocess import check_planar, check_robot
from glocal.evaluate.recording import describe, told
from glocal.models.codecs.cameras import PictureCodecConfig
from glocal.pipeline import before
from glocal.pipeline.config import Config, RobotConfig
from glocal.pipeline.run_dir import RunFolder
from glocal.runtime.files import UserError, remove, write_json
from glocal.runtime.progress import Ticker, console, quoted
from glocal.tasks.collect import record_episode
from glocal.tasks.play import PlayConfig
from glocal.tasks.pusht import GOAL, KEYPOINTS, PushTConfig, place
from glocal.tasks.tracked import TrackedReading, sides_of

CROOKED = 5.0
"""Pixels."""
MOST_CLIPPED = 0.9
"""Share of control steps."""
READ = ("streams", "cameras", "action", "rate", "reward_scale")
"""Parts of a robot's mapping that further logs are read by as the first were."""


def collect(run: RunFolder) -> None:
    """Take in logs, or record play, several episodes at once; episodes that stand already are kept."""
    if isinstance(task := run.config.task, RobotConfig) and not run.config.logs:
        raise UserError("a robot that no logs are named of has nothing to train on; name some with --logs")
    if (run.data / "index.json").is_file():
        console.print("collect: all of it was there already; it was cut off at its very end")
        remove(recording_folder(run.data))
    elif run.config.after:
        go_on(run)
    else:
        take_in(run) if isinstance(task, RobotConfig) or run.config.logs else record(run, task)
    found = told(describe(EpisodeStore.open(run.data)))
    console.print("collect: " + "; ".join(f"{what} {much}" for what, much in found))


def take_in(run: RunFolder) -> None:
    """Decode logs once; what is the matter with them is written to `doctor.json`, and ends it where it is grave."""
    path, config = Path(run.config.logs), run.config
    dataset = open_dataset(path)
    task = config.task
    robot = isinstance(task, RobotConfig)
    source = _robot(path, dataset, run, task.mapping) if robot else _planar(path, dataset, run, task)
    numbers = _examined(run, path, dataset, source)
    seal(run.data, {"logs": str(path), "format": dataset.format, **source.about}, numbers)


def go_on(run: RunFolder) -> None:
    """Take in new logs, all that the run before was trained on, and the weights that models are to begin with.

    Raises `UserError` where the logs show the robot otherwise than that run's did, or lack what its data tell.
    """
    path, old = Path(run.config.logs), before.former(run.config)
    dataset = open_dataset(path)
    old.store.verify()
    source = _further(path, dataset, run, old)
    _check_shapes(path, source.about.get("shapes", {}), old.store.about.get("shapes", {}))
    numbers = _examined(run, path, dataset, source)
    reads = before.seen_by(run.config)
    names = before.shared_fields(old.store, run.data, numbers[0], path, reads)
    before.check_new(old.store, run.data, numbers, path, reads)
    order = before.in_order(len(old.store), numbers, run.config)
    before.copy_episodes(old.store, run.data, names)
    before.take_over(old, run.folder)
    further = {"run": str(old.folder), "episodes": len(old.store), "logs": str(path), "format": dataset.format}
    seal(run.data, {**old.store.about, "after": [*old.store.about.get("after", []), further]}, order)


def _check_shapes(path: Path, new: Mapping[str, Any], old: Mapping[str, Any]) -> None:
    """Raise `UserError` where features of new logs have other shapes than those of the run before: its policies ask
    robots for one."""
    for name, shape in new.items():
        if name in old and list(shape) != list(old[name]):
            raise UserError(
                f"{name} in {path} has the shape {tuple(shape)}, and {tuple(old[name])} in what the run before was "
                "trained on; bring the new logs to that, or begin a run of its own on both"
            )


def _further(path: Path, dataset: Dataset, run: RunFolder, old: RunFolder) -> "_Source":
    """Logs that a run goes on with, as those before them were taken in."""
    task = run.config.task
    if isinstance(task, RobotConfig):
        return _robot(path, dataset, run, further_mapping(task, path, dataset))
    if not task.images:
        return _tracked(path, dataset, run, task)
    source = _planar(path, dataset, run, task)
    told = old.store.about.get("mapping")
    own = replace(PUSHT, reach=task.reach) if told is None else mapping_from(told, old.data / "index.json")
    seen, known = sight(source.reading.mapping), sight(own)
    differ = [name for name in known if seen[name] != known[name]]
    if differ:
        found = ", ".join(f"{name} is {seen[name]}, expected {known[name]}" for name in differ)
        raise UserError(
            f"{path} shows the robot otherwise than what {old.folder} was trained on: {found}. Its mapping is "
            f"{beside(path)}, or proposed"
        )
    return source


def further_mapping(task: RobotConfig, path: Path, dataset: Dataset) -> RobotMapping:
    """How further logs of a known robot are read: as the first were, limits of actions and all, but for their rate,
    what came of their steps, and which episodes are left out, of which a file beside them may tell.

    Raises `UserError` where that file names other streams, cameras or actions.
    """
    known = task.mapping
    if not beside(path).is_file():
        return replace(known, leave_out=(), fps=known.fps if dataset.fps is None else dataset.fps)
    own = robot_mapping_of(path, dataset)
    (then, now) = (_named(known, task.images), _named(own, task.images))
    differ = [f"{name} is {now[name]}, expected {then[name]}" for name in then if now[name] != then[name]]
    if differ:
        raise UserError(
            f"{beside(path)} reads the robot otherwise than the logs of the run before: {'; '.join(differ)}. Move it "
            "away, and the mapping of that run is used"
        )
    return replace(own, **{name: getattr(known, name) for name in READ})


def _named(mapping: RobotMapping, images: bool) -> dict[str, Any]:
    """What of a robot a mapping names, whatever the limits."""
    cameras = [(one.name, one.feature, one.crop, one.size) for one in mapping.cameras if images]
    return {
        "streams": [(one.name, one.feature, one.columns) for one in mapping.streams],
        "cameras": cameras,
        "action": [(part.feature, part.columns, part.kind) for part in mapping.action],
        "rate": mapping.rate,
    }


def _examined(run: RunFolder, path: Path, dataset: Dataset, source: "_Source") -> list[int]:
    """Decode the episodes that are used, unless something grave is the matter with them; returns their numbers."""
    numbers = _ingested(run, path, dataset, source.reading)
    findings = source.examine(numbers)
    write_json(run.folder / "doctor.json", as_json(path, findings))
    raise_grave(path, findings)
    return numbers


@dataclass(frozen=True)
class _Source:
    """Logs as they are taken in."""

    reading: Any
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


def _robot(path: Path, dataset: Dataset, run: RunFolder, mapping: RobotMapping) -> _Source:
    """Any robot's logs; raises `UserError` where they do not fit the run's mapping, and says what is not used."""
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
    read = [name for name in (known.action, known.state) if name is not None]
    about = {"mapping": mapping_dict(known), "shapes": {name: list(dataset.features[name].shape) for name in read}}
    return _Source(
        PlanarReading(known), about, lambda numbers: judge(known, looks(run.data, numbers), run.config.world.context)
    )


def _tracked(path: Path, dataset: Dataset, run: RunFolder, task: PushTConfig) -> _Source:
    """Push-T's keypoints, as `glocal rollout --log` writes them."""
    left_out = mappings.load(beside(path)).leave_out if beside(path).is_file() else ()
    reading = TrackedReading(NAMES["keypoints"], NAMES["agent"], PUSHT.action, task.reach, left_out)
    missing = [name for name in reading.features if name not in dataset.features]
    if missing:
        raise UserError(
            f"{path} has no {', '.join(missing)}, which tracked logs have; it has {', '.join(dataset.features)}"
        )
    if dataset.fps is not None and abs(dataset.fps - FPS) > 1e-3:
        raise UserError(f"{path} has {dataset.fps:g} steps a second, expected {FPS:g}, one for each control step")
    for name, width in zip(reading.features, (2 * KEYPOINTS, 2, 2), strict=True):
        if dataset.features[name].shape != (width,):
            raise UserError(f"{name} of {path} has the shape {dataset.features[name].shape}, expected ({width},)")
    return _Source(reading, {}, lambda numbers: _examined_tracks(run.data, numbers))


def _examined_tracks(folder: Path, numbers: Sequence[int]) -> list[Finding]:
    """Whether tracked logs are of a T on a table, in pixels, and actions are targets near the agent."""
    episodes = [episode_of(folder, number) for number in numbers]
    seen = np.concatenate([episode["keypoints"] for episode in episodes])
    off = float(np.median(np.abs(sides_of(seen) - sides_of(place(GOAL).reshape(-1)))))
    found = [Finding("keypoints", "ok", f"sides of the T are {off:.2g} px off")]
    if off > CROOKED:
        told = f"sides of the T are {off:.3g} px off in the median"
        found = [Finding("keypoints", "fail", told, "expected its corners in pixels of a table of 512, in their order")]
    limit = float(np.mean([(np.abs(episode["action"][1:]) >= 1).any(1).mean() for episode in episodes]))
    if limit > MOST_CLIPPED:
        told = f"{100 * limit:.0f} % ask for more than the reach of the run that is gone on from"
        return [*found, Finding("actions", "fail", told, "expected targets of the agent, in pixels")]
    return [*found, Finding("actions", "ok", f"{100 * limit:.0f} % are at their limits")]


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
