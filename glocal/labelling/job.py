"""What all ways of labelling share: what they are told, and how labels are written, compared and shown.

A way says what frames show. What came of a step is what the frame after it shows: `next.reward` of a step is the label
of the following frame, and the last step's that of the last frame.
"""

import csv
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import tyro
from PIL import Image, UnidentifiedImageError

from glocal.core.ranges import Inner, Positive, Processes, Seed
from glocal.data import mapping
from glocal.data.dataset import Array, Dataset, Feature
from glocal.data.formats import open_dataset
from glocal.data.formats.inside import apart
from glocal.data.formats.lerobot import LeRobotDataset
from glocal.data.formats.lerobot_labels import relabel
from glocal.data.formats.lerobot_writer import Layout, write_lerobot
from glocal.data.ingest import beside, mapping_of
from glocal.data.outcomes import over_which
from glocal.evaluate.labels import QUANTILES, compared, write_labels_page
from glocal.files import UserError, appearing, write_json
from glocal.progress import Ticker, console, quoted

FAR, NEAR = 2.0, 16.0
"""Shares of the typical distance over which the reward falls, on the way to success and in its last step."""
WEIGHT = 0.8
"""Of the way there."""
OUTCOMES = {
    "next.reward": Feature((1,), "float32"),
    "next.done": Feature((1,), "bool"),
    "next.success": Feature((1,), "bool"),
}


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

    Where it is known what came of the last step, that is one more entry of reward and success.
    """

    reward: Array
    success: Array
    more: Mapping[str, Array] = field(default_factory=dict)


def open_logs(job: Job) -> Dataset:
    """The logs; raises `UserError` where they, or what is asked for, will not do, before any work is done."""
    dataset = open_dataset(job.path)
    if job.out.exists():
        raise UserError(f"{job.out} exists already; name a new folder, or remove that one first")
    cameras = mapping.cameras_of(dataset.features)
    if len(cameras) > 1 and not beside(job.path).is_file():
        raise UserError(
            f"{job.path} has the cameras {', '.join(cameras)}, and no mapping says which one is used; "
            f"`glocal data inspect {quoted(job.path)} --write` writes one to mend"
        )
    for written in filter(None, (job.out, job.work)):
        apart(written, job.path)
    if not 0 < job.held_out < 1 or not _held_out(job, dataset):
        raise UserError(f"of {len(dataset)} episodes --held-out {job.held_out} leaves none on one side")
    return dataset


def _held_out(job: Job, dataset: Dataset) -> range:
    return range(round(len(dataset) * (1 - job.held_out)), len(dataset))


def shaped(distance: Array, typical: float, likely: Array | None = None) -> Array:
    """The reward in (0, 1] for being so far from success: most of it for the way there, the rest for its last step, of
    which half for how `likely` it is that this is success, where that is known: the steep half goes on to lead where
    all is as likely."""
    near = np.exp(-NEAR * distance / typical)
    last = near if likely is None else (near + likely) / 2
    return (WEIGHT * np.exp(-FAR * distance / typical) + (1 - WEIGHT) * last).astype(np.float32)


def finish(
    job: Job, dataset: Dataset, shown: Sequence[Shown], how: Mapping[str, Any], quality: Mapping[str, Any] | None = None
) -> None:
    """Write the labelled logs, their mapping and the report: `meta/labels.json` and `meta/labels.html`."""
    known = mapping_of(job.path, dataset)
    calibration = {**(quality or {}), **_calibration(job, dataset, shown)}
    about = {"how": {**how, "logs": str(job.path), "seed": job.seed}, "calibration": calibration}
    features = {**OUTCOMES, **{name: Feature(x.shape[1:], str(x.dtype)) for name, x in shown[0].more.items()}}
    columns = [_outcomes(one, length) for one, length in zip(shown, dataset.lengths, strict=True)]
    shown = [
        replace(one, reward=one.reward[:length], success=one.success[:length])
        for one, length in zip(shown, dataset.lengths, strict=True)
    ]
    with appearing(job.out) as draft:
        _write(job, dataset, draft, features, columns)
        over = over_which([column["next.reward"] for column in columns])
        outcomes = {"reward": "next.reward", "done": "next.done", "success": "next.success"}
        pose = "observation.pose" if "observation.pose" in features else known.pose
        labelled = replace(known, **outcomes, reward_over=over, outcomes_at="action", pose=pose)
        mapping.save(draft / mapping.NAME, labelled)
        write_json(draft / "meta" / "labels.json", about)
        write_labels_page(draft / "meta" / "labels.html", about, list(_examples(dataset, known, shown)))
    for line in told(about):
        console.print(line)
    console.print(f"the labelled logs are in {job.out}, how good labels are in {job.out / 'meta' / 'labels.html'}")


def told(about: Mapping[str, Any]) -> Iterator[str]:
    """How good labels are, in lines."""
    for name, part in about["calibration"].items():
        numbers = ", ".join(f"{key} {value:.4g}" for key, value in part.items() if isinstance(value, int | float))
        yield f"{name}: {numbers}"
        if "reliability" in part:
            rows = (f"{row['claimed']:.2f} is {row['true']:.2f} ({row['n']})" for row in part["reliability"])
            yield f"  claimed probability and how often it was so: {', '.join(rows)}"


def _outcomes(shown: Shown, count: int) -> dict[str, Array]:
    """The columns of an episode: what came of each of its steps, and what its frames show besides."""
    after = np.minimum(np.arange(count) + 1, len(shown.reward) - 1)
    success = shown.success[after] > 0.5
    done = success | (np.arange(count) == count - 1)
    named = {"next.reward": shown.reward[after].astype(np.float32), "next.done": done, "next.success": success}
    return {name: values[:, None] for name, values in named.items()} | dict(shown.more)


def _write(
    job: Job, dataset: Dataset, out: Path, features: Mapping[str, Feature], columns: Sequence[Mapping[str, Array]]
) -> None:
    if isinstance(dataset, LeRobotDataset) and dataset.version == "v3.0":
        relabel(dataset, out, features, columns)
        return
    rate = job.fps or dataset.fps
    if rate is None:
        raise UserError(f"{dataset.folder} does not tell its rate; say it with --fps")
    kept = {name: feature for name, feature in dataset.features.items() if name not in features}

    def episodes() -> Iterator[dict[str, Array]]:
        for number in ticking(dataset, "write"):
            yield dataset.episode(number, list(kept)) | dict(columns[number])

    tasks = [dataset.task(number) for number in range(len(dataset))]
    write_lerobot(out, episodes(), Layout(rate, kept | dict(features), codec=job.codec), tasks)


def _calibration(job: Job, dataset: Dataset, shown: Sequence[Shown]) -> dict[str, Any]:
    """What labels look like on held-out episodes, and how they agree there with the truth, where one is given."""
    held_out = _held_out(job, dataset)
    label = {
        "reward": np.concatenate([shown[number].reward for number in held_out]),
        "success": np.concatenate([shown[number].success for number in held_out]),
    }
    reward, where = label["reward"], f"held-out episodes ({held_out.start} to {held_out.stop - 1})"
    shares = {f"reward at {q:.0%}": float(np.quantile(reward, q)) for q in (0.1, 0.5, 0.9)}
    ended = [bool((shown[number].success > 0.5).any()) for number in held_out]
    shares |= {"frames of success": float(label["success"].mean()), "episodes with success": float(np.mean(ended))}
    found = {where: shares}
    if job.truth is not None:
        real = {name: np.concatenate(parts[held_out.start :]) for name, parts in _truth(job, dataset).items()}
        found[f"{where}, against {job.truth.name}"] = compared(label, real)
    return found


def _truth(job: Job, dataset: Dataset) -> dict[str, list[Array]]:
    assert job.truth is not None
    found = read_table(job.truth, dataset.lengths)
    return {name: found[name] for name in ("reward", "success") if name in found}


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
                for name in names:
                    found[name][int(row["episode"])][int(row["frame"])] = float(row[name])
    except (OSError, ValueError, KeyError, TypeError, IndexError, csv.Error) as error:
        raise UserError(
            f"{path} does not read as labels ({error!r}); expected a csv with the columns episode, frame, and numbers "
            f"for {len(lengths)} episodes"
        ) from error
    for name, parts in found.items():
        lacking = [(number, int(np.isnan(part).sum())) for number, part in enumerate(parts) if np.isnan(part).any()]
        if lacking:
            number, count = lacking[0]
            raise UserError(f"{path} does not tell {name} of {count} frames of episode {number}; expected every frame")
    return found


def read_picture(told: str, dataset: Dataset, known: mapping.Mapping) -> Array:
    """A picture of the camera's size: a file, or EPISODE:FRAME of the logs."""
    episode, _, frame = told.partition(":")
    if episode.isdigit() and frame.isdigit():
        if int(episode) >= len(dataset) or int(frame) >= dataset.lengths[int(episode)]:
            raise UserError(f"there is no frame {told} in {dataset.folder}")
        return dataset.episode(int(episode), [known.camera])[known.camera][int(frame)]
    try:
        with Image.open(told) as file:
            picture = np.asarray(file.convert("RGB"))
    except (OSError, SyntaxError, UnidentifiedImageError, Image.DecompressionBombError) as error:
        raise UserError(f"{told!r} is neither a picture ({error}) nor EPISODE:FRAME") from error
    if picture.shape[:2] != known.picture:
        raise UserError(f"{told} is {picture.shape[:2]}, the camera's pictures are {known.picture}")
    return picture


def ticking(dataset: Dataset, name: str = "label") -> Iterator[int]:
    """The numbers of all episodes, with progress."""
    with Ticker(name, len(dataset), unit="frames", per_iteration=round(float(np.mean(dataset.lengths)))) as tick:
        for number in range(len(dataset)):
            yield number
            tick(number + 1)


def _examples(dataset: Dataset, known: mapping.Mapping, shown: Sequence[Shown]) -> Iterable[tuple[float, Array]]:
    """Frames at quantiles of the reward, from the worst to the best."""
    places = [(float(r), number, t) for number, one in enumerate(shown) for t, r in enumerate(one.reward)]
    places.sort()
    for share in QUANTILES:
        reward, number, t = places[round(share * (len(places) - 1))]
        yield reward, dataset.episode(number, [known.camera])[known.camera][t]
