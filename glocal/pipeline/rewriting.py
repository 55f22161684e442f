"""Robot logs written anew: converted, merged and split, with the mappings that a person has put beside them."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Literal

import numpy as np
import tyro

from glocal.core.ranges import Inner, Positive, Seed
from glocal.data import mappings
from glocal.data.combined import Chosen, Merged, carried, joined
from glocal.data.dataset import Array, Dataset
from glocal.data.findings import few
from glocal.data.formats import open_dataset
from glocal.data.formats.lerobot_writer import Layout, check_new, write_lerobot
from glocal.data.ingest import beside
from glocal.data.inside import apart
from glocal.data.mappings import AnyMapping
from glocal.runtime.files import UserError
from glocal.runtime.progress import Ticker, console

Coded = Literal["h264", "av1"]


def convert(
    path: tyro.conf.Positional[Path],
    out: tyro.conf.Positional[Path],
    fps: Positive | None = None,
    task: str = "",
    codec: Coded = "h264",
) -> None:
    """Write a dataset of any format as LeRobotDataset v3.0, and its mapping beside it, where there is one.

    Args:
        path: The dataset.
        out: The folder to write; it must not exist.
        fps: Steps per second, where the format does not tell them.
        task: What the episodes are of, in words; without it, what is told of each already.
        codec: Of the videos: h264 or av1.
    """
    _write(open_dataset(path), out, fps, task, codec, _known(path))


def merge(paths: tyro.conf.Positional[tuple[Path, ...]], out: Path, task: str = "", codec: Coded = "h264") -> None:
    """Write several datasets with the same features as one, and the mapping that all of them have beside it.

    Where mappings differ none is written, and the episodes that they leave out are left out of what is written.

    Args:
        paths: The datasets.
        out: The folder to write; it must not exist.
        task: What the episodes are of, in words; without it, what is told of each already.
        codec: Of the videos: h264 or av1.
    """
    if not paths:
        raise UserError("`glocal data merge` was given no dataset; name those that are to be one, before --out")
    for path in paths:
        apart(out, path)
    whole, known = _joined(paths)
    _write(whole, out, None, task, codec, known)


def _joined(paths: Sequence[Path]) -> tuple[Dataset, AnyMapping | None]:
    """Datasets as one, and their mapping; without the episodes that they leave out where they have not the same one."""
    parts, known = [open_dataset(path) for path in paths], [_known(path) for path in paths]
    found = [one for one in known if one is not None]
    if not found:
        return Merged(parts), None
    same = joined(found, [len(part) for part in parts]) if len(found) == len(parts) else None
    if same is not None:
        return Merged(parts), same
    console.print("the mappings differ, and none is written: see `glocal data inspect --write`")
    for path, one in zip(paths, known, strict=True):
        if one is not None and one.leave_out:
            console.print(f"{path}: {len(one.leave_out)} episodes that its mapping leaves out: {few(one.leave_out)}")
    used = [
        range(len(part)) if one is None else one.episodes(len(part)) for part, one in zip(parts, known, strict=True)
    ]
    return Merged([Chosen(part, numbers) for part, numbers in zip(parts, used, strict=True)]), None


def _known(path: Path) -> AnyMapping | None:
    """The mapping beside a dataset, if there is one."""
    return mappings.load(beside(path)) if beside(path).is_file() else None


def split(
    path: tyro.conf.Positional[Path],
    first: Path,
    second: Path,
    share: Inner = 0.9,
    seed: Seed = 0,
    codec: Coded = "h264",
) -> None:
    """Write a dataset as two, by episode and at random, with its mapping beside both, where there is one.

    Args:
        path: The dataset.
        first: The folder for the first part; it must not exist.
        second: The folder for the rest; it must not exist either.
        share: Of the episodes that go into the first part.
        seed: Of the choice.
        codec: Of the videos: h264 or av1.
    """
    if first.resolve() == second.resolve():
        raise UserError(f"--first and --second are both {first}; name two folders")
    for out, other in ((first, second), (second, first)):
        check_new(out)
        apart(out, other)
        apart(out, path)
    dataset, known = open_dataset(path), _known(path)
    order, count = np.random.default_rng(seed).permutation(len(dataset)), round(share * len(dataset))
    if not 0 < count < len(dataset):
        raise UserError(f"a share of {share} of {len(dataset)} episodes leaves one part empty")
    for out, numbers in ((first, order[:count]), (second, order[count:])):
        part = sorted(map(int, numbers))
        own = None if known is None else carried(known, part)
        _write(Chosen(dataset, part), out, None, "", codec, own)


def _write(dataset: Dataset, out: Path, fps: float | None, task: str, codec: str, known: AnyMapping | None) -> None:
    """Write a dataset, and its mapping beside it."""
    if not len(dataset):
        raise UserError("all episodes are left out by their mappings (leave_out): there is nothing to write")
    rate = fps or dataset.fps
    if rate is None:
        raise UserError(f"{dataset.folder} does not tell its rate; say it with --fps")
    apart(out, dataset.folder)
    layout = Layout(rate, dataset.features, task, codec)
    with Ticker("convert", len(dataset), unit="steps", per_iteration=round(float(np.mean(dataset.lengths)))) as tick:
        tasks = None if task else [dataset.task(number) for number in range(len(dataset))]
        count = write_lerobot(out, _episodes(dataset, tick), layout, tasks)
    console.print(f"{count} episodes are in {out}")
    if known is not None:
        mappings.save(beside(out), replace(known, fps=rate))
        console.print(f"their mapping is {beside(out)}")


def _episodes(dataset: Dataset, tick: Ticker) -> Iterator[dict[str, Array]]:
    for number in range(len(dataset)):
        yield dataset.episode(number, list(dataset.features))
        tick(number + 1)
