"""Robot logs of any known format: looked at and drawn, and all verbs on them (`glocal data VERB`)."""

import sys
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import tyro
from PIL import Image

from glocal.core.ranges import Count, Processes, Small
from glocal.data import mapping, mappings
from glocal.data.combined import told
from glocal.data.dataset import Dataset
from glocal.data.doctor import Finding, as_json, examine
from glocal.data.formats import is_recording, open_dataset
from glocal.data.ingest import beside, chosen, mapping_of, put_beside
from glocal.data.inside import apart
from glocal.data.looks import Seen, look_at
from glocal.data.mappings import AnyMapping
from glocal.data.parallel import over_episodes
from glocal.data.propose import LOOKED_AT, OUTCOMES, is_planar, propose
from glocal.data.propose_robot import propose_robot
from glocal.data.reading import RobotReading, robot_look
from glocal.data.robot_checks import check_robot_logs, left_unused
from glocal.data.streams import RobotMapping, misfits
from glocal.data.video import VideoWriter
from glocal.pipeline.rewriting import convert, merge, split
from glocal.pipeline.usage import read_verb
from glocal.runtime.files import UserError, atomic_write, write_json
from glocal.runtime.progress import Ticker, console

if TYPE_CHECKING:
    from glocal.pipeline.run_dir import Run

ELSEWHERE = (
    "Robot logs of any known format. Three more verbs have a help of their own: `glocal data label` makes rewards for "
    "logs that have none, `glocal data export` writes the episodes of a run, imagined ones too, and `glocal data "
    "transitions` what a run's models are trained on, as rows for offline reinforcement learning."
)


def inspect(path: tyro.conf.Positional[Path], write: bool = False, replace: bool = False, robot: bool = False) -> None:
    """Say what a dataset holds: episodes, lengths, rate, features and their ranges, what is missing, and a mapping.

    Args:
        path: The dataset.
        write: Write the proposed mapping beside the data, as glocal.json.
        replace: Write it also where there is another one, which is kept as glocal.json.1.
        robot: Propose a mapping of streams, for the preset robot, also where logs are of a planar robot with a camera.
    """
    if replace and not write:
        raise UserError("--replace says what --write may do; add --write")
    dataset = open_dataset(path)
    lengths = np.array(dataset.lengths)
    console.print(f"{path}: {dataset.format}")
    console.print(
        f"{len(lengths)} episodes, {lengths.sum()} steps: {lengths.min()} to {lengths.max()}, median "
        f"{np.median(lengths):g}; "
        + (f"{dataset.fps:g} steps a second" if dataset.fps else "the format does not tell the rate")
    )
    ranges = _ranges(dataset)
    for name, feature in dataset.features.items():
        low, high = ranges.get(name, ("?", "?"))
        console.print(f"  {name:28} {feature.dtype:8} {feature.shape!s:16} {low} to {high}")
    for name, known in OUTCOMES.items():
        if not any(one in dataset.features for one in known):
            console.print(f"missing: {name} ({' or '.join(known)})")
    try:
        proposed, said = (propose_robot if robot or not is_planar(dataset) else propose)(dataset)
    except UserError as error:  # what is not for models can be looked at, too
        if write:
            raise
        console.print(f"no mapping: {error}")
        return
    for line in said:
        console.print(f"mapping: {line}")
    console.print(f"mapping, as {mapping.NAME} holds it:")
    console.print(mappings.text(proposed), markup=False, highlight=False, soft_wrap=True)
    if write:
        kept = put_beside(path, proposed, replace)
        console.print(f"written to {beside(path)}" + (f"; what was there before is kept in {kept}" if kept else ""))


def _ranges(dataset: Dataset) -> dict[str, tuple[str, str]]:
    """Of numbers, over some episodes."""
    names = [name for name, feature in dataset.features.items() if not feature.picture and feature.dtype != "object"]
    chosen = np.unique(np.linspace(0, len(dataset) - 1, LOOKED_AT).astype(int))
    parts = [dataset.episode(int(number), names) for number in chosen]

    def shown(values: Any) -> str:
        return np.array2string(np.asarray(values, float), precision=3, threshold=8, separator=" ")

    return {
        name: (
            shown(np.min([part[name].min(0) for part in parts], 0)),
            shown(np.max([part[name].max(0) for part in parts], 0)),
        )
        for name in names
    }


def preview(path: tyro.conf.Positional[Path], out: Path, episodes: Count = 6, columns: Small = 10) -> None:
    """Draw episodes: a contact sheet (png, jpg), or a film of all of them side by side (mp4).

    Args:
        path: The dataset.
        out: The picture or film to write, outside the dataset; an earlier one is written over.
        episodes: How many, evenly spread over the dataset.
        columns: Moments in a contact sheet.
    """
    dataset = open_dataset(path)
    _check_out(out, path)
    cameras = mapping.cameras_of(dataset.features)
    if not cameras:
        raise UserError(f"{path} holds no pictures; found {told(dataset)}")
    camera = cameras[0]
    chosen = [int(n) for n in np.unique(np.linspace(0, len(dataset) - 1, episodes).astype(int))]
    films = [dataset.episode(number, [camera])[camera] for number in chosen]
    if out.suffix == ".mp4":
        longest = max(map(len, films))
        with atomic_write(out) as draft, VideoWriter(draft, dataset.fps or 10.0) as video:
            for t in range(longest):
                video.add(np.concatenate([film[min(t, len(film) - 1)] for film in films], axis=1))
    elif out.suffix in (".png", ".jpg"):
        rows = [
            np.concatenate(list(film[np.linspace(0, len(film) - 1, columns).astype(int)]), axis=1) for film in films
        ]
        with atomic_write(out) as draft, draft.open("wb") as file:
            Image.fromarray(np.concatenate(rows)).save(file, format="PNG" if out.suffix == ".png" else "JPEG")
    else:
        raise UserError(f"{out} is neither a png or jpg picture nor an mp4 film")
    others = f"; not drawn: {', '.join(cameras[1:])}" if len(cameras) > 1 else ""
    console.print(f"episodes {', '.join(map(str, chosen))} are in {out}, as {camera} shows them{others}")


def _check_out(out: Path, path: Path) -> None:
    """Raise `UserError` where what is said of a dataset would be written into it, or over a file of another one."""
    apart(out, path)
    if out.exists() and (out.name == mapping.NAME or is_recording(out)):
        raise UserError(f"{out} is a file of a data set, which stays as it is; name another one")


def doctor(
    path: tyro.conf.Positional[Path],
    out: Path | None = None,
    context: Small = 4,
    leave_out: bool = False,
    run: Path | None = None,
    updates: Count = 1500,
    processes: Processes = 2,
    robot: bool = False,
) -> None:
    """Look for what would spoil a model: delays, frozen cameras, dropped frames, saturated actions, and more.

    Exits with 1 where something fails.

    Args:
        path: The dataset; its mapping is glocal.json beside it, or the proposed one.
        out: Where to write the findings as JSON, outside the dataset; earlier ones are written over.
        context: Control steps that the global model needs to see before it can answer.
        leave_out: Write into the mapping that episodes are left out where that would mend what is found.
        run: A run on these logs whose codec is trained; with it, it is also asked whether the logs are enough.
        updates: Of each of the four small global models that answer that.
        processes: That read at once.
        robot: Without a mapping, look as the preset robot would, also where logs are of a planar robot with a camera.
    """
    dataset = open_dataset(path)
    if out is not None:
        _check_out(out, path)
    known = mappings.load(beside(path)) if beside(path).is_file() else _proposed(path, dataset, robot)
    trained = None if run is None else _run_on(run, path)
    seen = known if trained is None else _seen_by(trained, known)
    findings = _examined(path, dataset, seen, context, processes)
    if trained is not None:
        findings.append(_enough(trained, updates))
        write_json(trained.folder / "doctor.json", as_json(path, findings))
    for one in findings:
        console.print(f"{one.verdict:4}  {one.name}: {one.found}" + (f"; {one.advice}" if one.advice else ""))
    if out is not None:
        write_json(out, as_json(path, findings))
    if leave_out:
        spoilt = {number for one in findings for number in one.episodes}
        mappings.save(beside(path), replace(known, leave_out=tuple(sorted(spoilt | set(known.leave_out)))))
        console.print(f"{len(spoilt)} episodes are left out from now on ({beside(path)})")
    if any(one.verdict == "fail" for one in findings):
        sys.exit(1)


def _proposed(path: Path, dataset: Dataset, robot: bool) -> AnyMapping:
    return mapping_of(path, dataset) if is_planar(dataset) and not robot else propose_robot(dataset)[0]


def _examined(path: Path, dataset: Dataset, known: AnyMapping, context: int, processes: int) -> list[Finding]:
    """What is the matter with logs, by the kind of their mapping."""
    if not isinstance(known, RobotMapping):
        return examine(dataset, known, context, _looks(path, dataset, known, processes))
    wrong = misfits(known, dataset)
    if wrong:
        return [Finding("mapping", "fail", "; ".join(wrong), "mend the mapping (glocal.json)")]
    numbers, short = chosen(RobotReading(known), dataset.observed)
    if not numbers:
        found = f"none of {len(dataset)} is left; {len(short)} are too short for a control step"
        return [Finding("episodes", "fail", found, "mend leave_out in the mapping")]
    with Ticker("doctor", len(numbers), unit="episodes") as tick:
        looks = {}
        for number, look in over_episodes(path, partial(robot_look, known), numbers, processes):
            looks[number] = look
            tick(len(looks))
    return [*check_robot_logs(known, dict(sorted(looks.items())), context), *left_unused(known, dataset)]


def _looks(path: Path, dataset: Dataset, known: mapping.Mapping, processes: int) -> Iterator[Seen]:
    """What the doctor keeps of each episode that is used, as they are read."""
    numbers = known.episodes(len(dataset))
    with Ticker("doctor", len(numbers), unit="episodes") as tick:
        found = over_episodes(path, partial(look_at, known), numbers, processes)
        for done, (_, seen) in enumerate(found, 1):
            yield seen
            tick(done)


def _run_on(folder: Path, path: Path) -> "Run":
    from glocal.pipeline.run import open_run

    run = open_run(folder)
    if not run.config.logs or Path(run.config.logs).resolve() != path.resolve():
        raise UserError(f"{folder} is a run on {run.config.logs or 'recorded play'}, not on {path}")
    return run


def _seen_by(run: "Run", known: AnyMapping) -> AnyMapping:
    """What a run sees of logs: of a robot's cameras, none where it observes numbers alone."""
    from glocal.pipeline.config import RobotConfig

    return run.config.task.mapping if isinstance(run.config.task, RobotConfig) else known


def _enough(run: "Run", updates: int) -> Finding:
    from glocal.pipeline.run import alone
    from glocal.pipeline.sufficiency import enough

    with alone(run.folder):
        return enough(run, updates)


def main(arguments: Sequence[str]) -> None:
    """`glocal data VERB ...`."""
    verbs = {verb.__name__: verb for verb in (inspect, preview, doctor, convert, merge, split)}
    read_verb(verbs, arguments, "glocal data", description=ELSEWHERE)
