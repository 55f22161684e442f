"""What all ways of labelling share: what they are told, the logs that they label, and what they say of an episode.

A way says what frames show. What came of a step is what the frame after it shows: `next.reward` of a step is the label
of the following frame, and the last step's that of the last frame.
"""

import csv
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
import tyro

from glocal.core.ranges import Inner, Positive, Processes, Seed
from glocal.data import mappings
from glocal.data.dataset import Array, Dataset
from glocal.data.formats import open_dataset
from glocal.data.ingest import beside
from glocal.data.inside import apart
from glocal.data.mapping import cameras_of
from glocal.data.mappings import AnyMapping
from glocal.data.propose import is_planar, propose
from glocal.data.propose_robot import propose_robot
from glocal.data.streams import RobotMapping, misfits
from glocal.runtime.files import UserError
from glocal.runtime.progress import Ticker, quoted

FAR, NEAR = 2.0, 16.0
"""Shares of the typical distance over which the reward falls, on the way to success and in its last step."""
WEIGHT = 0.8
"""Of the way there."""
WITHIN = 1 / 16
"""Share of the typical distance within which a frame counts as success, unless something else is said."""
TOLD = ("reward", "success")


@dataclass(frozen=True)
class Job:
    """What all ways of labelling need to know."""

    path: tyro.conf.Positional[Path]
    """The logs."""
    out: tyro.conf.Positional[Path]
    """The folder to write them to again, with labels, as LeRobotDataset v3.0; it must not exist."""
    truth: Path | None = None
    """A csv with episode, frame, and reward or success or both, to compare labels with; it is not used for them."""
    held_out: Inner = 0.2
    """Share of the episodes, the last ones, on which labels are compared and from which no embedding learns."""
    seed: Seed = 0
    """Of everything that is drawn."""
    fps: Positive | None = None
    """Steps a second, where the format does not tell them."""
    codec: Literal["h264", "av1"] = "h264"
    """Of the videos, where the logs are in another format and have to be encoded."""
    camera: str = ""
    """Whose pictures are looked at, where a robot's logs hold those of several."""
    work: Path | None = None
    """Where embeddings are learned, and kept for the next time; by default beside the logs."""
    preset: str = "pusht"
    """Whose codec is the embedding."""
    threads: Processes = 2
    """Of torch. Use 1 where anything else is running: two busy processes of two threads each collapse."""


Common = Annotated[Job, tyro.conf.arg(name="")]


@dataclass(frozen=True)
class Shown:
    """What the frames of an episode show, (n,) each; `more` are further features, (n, ...).

    Where it is known what came of the last step, that is one more entry of reward and success. Success is None where
    nothing is said of it; then it is for all episodes.
    """

    reward: Array
    success: Array | None
    more: Mapping[str, Array] = field(default_factory=dict)


@dataclass(frozen=True)
class Logs:
    """Logs that are to be labelled."""

    job: Job
    dataset: Dataset
    known: AnyMapping
    """How they map to a task: by the file beside them, or as it is proposed."""
    truth: Mapping[str, Sequence[Array]]
    """The true reward, or success, or both, of the frames of each episode, where it is told."""

    @property
    def held_out(self) -> range:
        """The episodes that labels are compared on."""
        return range(round(len(self.dataset) * (1 - self.job.held_out)), len(self.dataset))

    @property
    def used(self) -> list[int]:
        """The episodes that the mapping does not leave out."""
        return self.known.episodes(len(self.dataset))


def open_logs(job: Job) -> Logs:
    """The logs; raises `UserError` where they, or what is asked for, will not do, before any work is done."""
    dataset = open_dataset(job.path)
    if job.out.exists():
        raise UserError(f"{job.out} exists already; name a new folder, or remove that one first")
    for written in filter(None, (job.out, job.work)):
        apart(written, job.path)
    job = replace(job, camera=_camera(job, cameras_of(dataset.features)))
    known = _mapping(job, dataset)
    if dataset.fps is None:
        raise UserError(f"{dataset.folder} does not tell its rate; say it with --fps")
    logs = Logs(job, dataset, known, {} if job.truth is None else _truth(job.truth, dataset.lengths))
    if not 0 < len(logs.held_out) < len(dataset):
        raise UserError(f"of {len(dataset)} episodes --held-out {job.held_out} leaves none on one side")
    if not logs.used:
        raise UserError(f"all {len(dataset)} episodes of {job.path} are left out by its mapping (leave_out)")
    return logs


def _camera(job: Job, cameras: Sequence[str]) -> str:
    """The feature of the camera that is named, whole or by the last word of its name; empty where none is."""
    if not job.camera or job.camera in cameras:
        return job.camera
    meant = [one for one in cameras if one.rpartition(".")[2] == job.camera]
    if len(meant) != 1:
        has = f"the cameras {', '.join(cameras)}" if cameras else "none"
        raise UserError(f"--camera is {job.camera}, which {job.path} has not; it has {has}")
    return meant[0]


def _mapping(job: Job, dataset: Dataset) -> AnyMapping:
    """The mapping of logs, which also tells the rate where neither the format nor the job does."""
    place = beside(job.path)
    known = mappings.load(place) if place.is_file() else None
    if dataset.fps is None:
        dataset.fps = job.fps or (known and known.fps)
    if known is None and is_planar(dataset) and not (job.camera and len(cameras_of(dataset.features)) > 1):
        return _planar(job, dataset)
    if known is None:
        return propose_robot(dataset)[0]
    return _fitting(known, dataset, place) if isinstance(known, RobotMapping) else known


def _planar(job: Job, dataset: Dataset) -> AnyMapping:
    cameras = cameras_of(dataset.features)
    if len(cameras) > 1:
        raise UserError(
            f"{job.path} has the cameras {', '.join(cameras)}, and no mapping says which one is used; say it with "
            f"--camera, or `glocal data inspect {quoted(job.path)} --write` writes one to mend"
        )
    return propose(dataset)[0]


def _fitting(known: RobotMapping, dataset: Dataset, place: Path) -> RobotMapping:
    """A robot's mapping, less outcomes that the logs have not yet; raises `UserError` where the rest does not fit."""
    lacking = {role: None for role in TOLD if getattr(known, role) not in dataset.features}
    known = replace(known, **lacking)
    if wrong := misfits(known, dataset):
        raise UserError(f"{place} does not fit the logs: {'; '.join(wrong)}; mend it")
    return known


def shaped(distance: Array, typical: float, likely: Array | None = None) -> Array:
    """The reward in (0, 1] for being so far from success: most of it for the way there, the rest for its last step, of
    which half for how `likely` it is that this is success, where that is known: the steep half goes on to lead where
    all is as likely."""
    near = np.exp(-NEAR * distance / typical)
    last = near if likely is None else (near + likely) / 2
    return (WEIGHT * np.exp(-FAR * distance / typical) + (1 - WEIGHT) * last).astype(np.float32)


def typical_of(distances: Sequence[Array]) -> float:
    """The typical distance of frames from success; raises `UserError` where all of them are there."""
    every = np.concatenate(list(distances))
    found = float(np.median(every)) or float(every.mean())  # most of them may be there
    if not found > 0:
        raise UserError("all frames are at the goal: nothing is to be learned from that; name another goal")
    return found


def read_table(path: Path, lengths: Sequence[int]) -> dict[str, list[Array]]:
    """The columns of a csv besides episode and frame, each a list of (steps,) by episode.

    Raises `UserError` where it lacks a frame, holds one twice, or something that is no number.
    """
    try:
        with path.open(newline="", encoding="utf-8") as file:
            reader = csv.DictReader(file, strict=True)
            names = [name for name in reader.fieldnames or () if name not in ("episode", "frame")]
            found = {name: [np.full(length, np.nan, np.float32) for length in lengths] for name in names}
            for row in reader:
                place = int(row["episode"]), int(row["frame"])
                for name in names:
                    _put(found[name], place, float(row[name]))
    except (OSError, ValueError, KeyError, TypeError, IndexError, csv.Error) as error:
        raise UserError(
            f"{path} does not read as labels ({error!r}); expected a csv with the columns episode, frame, and numbers "
            f"for {len(lengths)} episodes"
        ) from error
    for name, parts in found.items():
        lacking = [(number, int((~np.isfinite(part)).sum())) for number, part in enumerate(parts)]
        lacking = [(number, count) for number, count in lacking if count]
        if lacking:
            number, count = lacking[0]
            raise UserError(
                f"{path} does not tell {name} of {count} frames of episode {number}; expected a finite number for "
                "every frame"
            )
    return found


def _put(parts: Sequence[Array], place: tuple[int, int], value: float) -> None:
    episode, frame = place
    if min(place) < 0 or not np.isnan(parts[episode][frame]):
        raise ValueError(f"frame {frame} of episode {episode} is told twice, or is none")
    parts[episode][frame] = value


def _truth(path: Path, lengths: Sequence[int]) -> dict[str, list[Array]]:
    found = read_table(path, lengths)
    if not set(TOLD) & set(found):
        raise UserError(f"{path} has neither a column reward nor success, to compare labels with")
    return {name: found[name] for name in TOLD if name in found}


def ticking(dataset: Dataset, name: str = "label") -> Iterator[int]:
    """The numbers of all episodes, with progress."""
    with Ticker(name, len(dataset), unit="frames", per_iteration=round(float(np.mean(dataset.lengths)))) as tick:
        for number in range(len(dataset)):
            yield number
            tick(number + 1)
