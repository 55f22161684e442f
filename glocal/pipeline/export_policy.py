"""A run's policy as a folder that runs without this library (`glocal export`)."""

import json
from collections.abc import Iterator
from dataclasses import asdict, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
import tyro

from glocal.core.types import Segment
from glocal.data import mapping, streams
from glocal.data.streams import RobotMapping
from glocal.deploy.bundle import Fields, Origin, Parity, write_bundle
from glocal.deploy.interface import PUSHT, Interface, largest_change, of_pusht, of_robot
from glocal.deploy.step import PolicyStep
from glocal.deploy.surprise import Surprise, calibrate
from glocal.pipeline.config import RobotConfig, from_dict
from glocal.pipeline.run import is_finished, open_run
from glocal.pipeline.run_dir import Run, split_recorded
from glocal.pipeline.status import status
from glocal.pipeline.usage import read_verb
from glocal.runtime import checkpoints
from glocal.runtime.files import UserError, read_json, remove_left
from glocal.runtime.progress import console

EPISODES, CONTROL_STEPS = 4, 64
"""Recorded episodes, and control steps of each, over which what was exported is compared with PyTorch."""
CALIBRATED = 20
"""Episodes, of those that models were trained on, by which it is told how surprising what is seen usually is."""


def export(run: tyro.conf.Positional[Path], out: Path) -> None:
    """Write a run's policy as one folder: ONNX, what it is shown and what it tells, a runner in one file, a card.

    The runner needs numpy and onnxruntime alone. What was exported is compared with PyTorch over recorded episodes.

    Args:
        run: The folder of a run whose policy is trained.
        out: The folder to write; it must not exist.
    """
    known = open_run(run)
    if not is_finished(known, "policy"):
        raise UserError(f"{run} has no finished policy yet; `glocal run {run}` trains it")
    if out.exists():
        raise UserError(f"{out} exists; name another folder with --out, or remove it")
    _check_same(known)
    remove_left(out)
    known.store.verify()
    parity = export_policy(known, out)
    console.print(
        f"export: actions, from -1 to 1, differ from PyTorch's by at most {parity.exact:.1e} over "
        f"{parity.control_steps} recorded control steps ({parity.evaluated:.1e} from evaluations, which see pictures "
        "in bfloat16)",
        soft_wrap=True,
    )
    console.print(f"see {out / 'README.md'}")


def _check_same(run: Run) -> None:
    """Raise `UserError` where the policy was trained with another choice of data than the run has now: nothing that it
    was not trained on would be known of it. Say so where it is stale otherwise."""
    checkpoint = checkpoints.load(run.kept("policy"), "policy")
    if checkpoint is None:
        raise UserError(f"there is no trained policy in {run.kept('policy')}; run `glocal train policy` first")
    then = from_dict(json.loads(checkpoint.about["config"]), checkpoint.path)
    parts = ("seed", "held_out", "judge", "task", "codec")
    other = [name for name in parts if getattr(then, name) != getattr(run.config, name)]
    if other:
        raise UserError(
            f"the policy in {run.folder} was trained with another {', '.join(other)} than the run has now; train it "
            "again"
        )
    found = status(run)["policy"]
    if found.state != "done":
        console.print(f"note: policy is {found.state} ({'; '.join(found.reasons)}); it is exported as it is")


def export_policy(run: Run, out: Path) -> Parity:
    """Write a bundle of a run's policy."""
    policy = run.policy("policy")
    train, _, held_out = split_recorded(run.config, len(run.store))
    known = _spread(train, CALIBRATED)
    calibration = calibrate(policy.surrogate, _episodes(run, known), _episodes(run, held_out))
    step = PolicyStep(run.codec, policy, Surprise(calibration.usual))
    change = largest_change(run.store.fields["action"], run.store.starts)
    compared = _fields(run, held_out[:EPISODES])
    return write_bundle(out, step, interface_of(run), change, calibration, _origin(run), compared)


def interface_of(run: Run) -> Interface:
    """What a run's robot shows a policy and is told by it."""
    task, reads = run.config.task, run.codec.reads
    shapes = run.store.about.get("shapes")
    if not isinstance(task, RobotConfig):
        known = shapes if isinstance(shapes, dict) else {}
        return of_pusht(task, run.mapping, run.picture, reads, known)
    if not isinstance(shapes, dict) or not all(isinstance(one, list) for one in shapes.values()):
        raise UserError(
            f"{run.folder} was collected by an earlier glocal, which did not note how large its features are; collect "
            "again: `glocal collect --replace`"
        )
    logs = logs_of(run)
    assert isinstance(logs, RobotMapping)
    return of_robot(logs, shapes, reads)


def _spread(episodes: range, most: int) -> range:
    """At most so many of some episodes, spread over them."""
    return episodes[:: max(1, len(episodes) // most)][:most]


def _episodes(run: Run, numbers: range) -> Iterator[Segment]:
    """Recorded episodes as models see them, (T, ...)."""
    for number in numbers:
        steps = run.recorded(range(number, number + 1)).steps
        if len(steps.obs) > 1:
            yield steps


def _fields(run: Run, numbers: range) -> Iterator[list[Fields]]:
    """What was recorded in the first control steps of some episodes."""
    for number in numbers:
        begin, end = (int(row) for row in run.store.starts[number : number + 2])
        rows = range(begin, min(end, begin + CONTROL_STEPS))
        yield [
            {name: torch.tensor(np.array(run.store.fields[name][row : row + 1])) for name in run.codec.reads}
            for row in rows
        ]


def _origin(run: Run) -> Origin:
    found = read_json(run.folder / "results.json") if status(run)["evaluate"].state == "done" else {}
    results = found.get("policy", {}) if isinstance(found, dict) else {}
    logs = logs_of(run)
    return Origin(
        run.config.preset,
        version("glocal"),
        run.store.hash,
        results,
        streams.to_dict(logs) if isinstance(logs, RobotMapping) else mapping.to_dict(logs),
        _real(run),
        run.config.task.control_steps,
    )


def logs_of(run: Run) -> RobotMapping | mapping.Mapping:
    """How the logs that a run was trained on are read; Push-T's own play as if it had been exported."""
    task = run.config.task
    if isinstance(task, RobotConfig):
        return streams.from_dict(run.store.about["streams"], run.data / "index.json")
    return replace(PUSHT, reach=task.reach) if run.mapping is None else run.mapping


def _real(run: Run) -> dict[str, Any]:
    """The environment that policies of a run are judged in, by which it can be made again."""
    task, env = run.config.task, run.config.env
    if not isinstance(task, RobotConfig):
        return {"pusht": asdict(task), "picture": run.picture}
    return asdict(env) if env.id else {}


def main(arguments: list[str]) -> None:
    """`glocal export RUN --out FOLDER`."""
    read_verb({"export": export}, ["export", *arguments], "glocal")
