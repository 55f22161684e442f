"""Runs are begun, opened, gone on with: which stages are done, stale or missing, and what is left to do is done."""

import fcntl
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import torch

from glocal.config import Config, to_dict
from glocal.declarations import declared
from glocal.digests import Digests
from glocal.files import UserError, remove, write_json
from glocal.models import check
from glocal.plan import STAGES, Stage, run_class, seed_of
from glocal.progress import console
from glocal.recovery import read_config
from glocal.stamps import Attempt, Plan, attempt_path, read_attempt, read_stamp, stamp_path, write
from glocal.status import damages, digests_of, is_begun, plan_of, stamped, status
from glocal.training import threads
from glocal.workspace import Run


def open_run(folder: Path) -> Run:
    """A run that exists; raises `UserError` where there is none in `folder`."""
    if not (folder / "config.json").is_file():
        raise UserError(f"{folder} is no run: it has no config.json. Start one with `glocal run PRESET --run {folder}`")
    return Run(folder, read_config(folder))


def create_run(folder: Path, config: Config) -> Run:
    """The run in `folder`, with this configuration from now on."""
    if folder.is_dir() and any(folder.iterdir()) and not (folder / "config.json").is_file():
        raise UserError(f"{folder} holds other things than a run; name a new folder, or an empty one, with --run")
    check(config)
    write_json(folder / "config.json", to_dict(config))
    return Run(folder, config)


def run_all(run: Run) -> None:
    """Do what is stale or missing, in order, and nothing else."""
    for stage in STAGES.values():
        now = status(run)[stage.name]
        if now.state == "done":
            console.print(f"{stage.name}: done before, skipped")
            continue
        for reason in now.reasons:
            console.print(f"{stage.name}: {now.state}, {reason}")
        perform(run, stage)


def perform(run: Run, stage: Stage) -> None:
    """Do one stage, going on from where an earlier attempt at the same thing was cut off."""
    with digests_of(run.folder) as digests:
        _needed(run, stage, digests)
        with alone(run.folder), threads(run.config.threads):
            wanted = plan_of(run, stage, digests)
            _clear_unless_same(run, stage, wanted)
            _verify_inputs(run, stage)
            torch.manual_seed(seed_of(stage, run.config))
            seconds = _attempt(run, stage)
            finished = datetime.now(UTC).isoformat(timespec="seconds")
            stamp = stamped(Run(run.folder, run.config), stage, wanted, seconds, finished, digests)
            write(stamp_path(run.folder, stage.name), stamp)
            attempt_path(run.folder, stage.name).unlink()


def _needed(run: Run, stage: Stage, digests: Digests) -> None:
    """Raise `UserError` where what a stage reads is missing or damaged; what has nothing to do is done by the way."""
    stamps = {name: read_stamp(run.folder, name) for name in stage.needs}
    missing = [name for name, stamp in stamps.items() if stamp is None]
    lacking = [name for name in missing if not STAGES[name].idle(run.config)]
    if lacking:
        raise UserError(f"{stage.name} needs {', '.join(lacking)} first; `glocal run` does all stages in order")
    for name, stamp in stamps.items():
        broken = [] if stamp is None else damages(run.folder, stamp, digests)
        if broken:
            raise UserError(
                f"{name}: {'; '.join(broken)}. Restore it from a copy, or do the stage again: `glocal run {run.folder}`"
            )
    for name in missing:
        perform(run, STAGES[name])


def _attempt(run: Run, stage: Stage) -> float:
    """Work at a stage; returns the seconds spent on it, earlier interrupted attempts included."""
    began = time.monotonic()
    attempt = read_attempt(run.folder, stage.name)
    assert attempt is not None
    config = declared(run.config, stage.readable, f"the stage {stage.name}")
    try:
        stage.work(run_class(stage)(run.folder, config))
    except BaseException:
        spent = attempt.seconds + time.monotonic() - began
        write(attempt_path(run.folder, stage.name), replace(attempt, seconds=spent))
        raise
    return attempt.seconds + time.monotonic() - began


@contextmanager
def alone(folder: Path) -> Iterator[None]:
    """Keep other processes from working in the same run; raises `UserError` where one does."""
    path = folder / "stages" / "lock"
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise UserError(f"another glocal is at work in {folder}; wait for it, or stop it first") from None
        yield


def _clear_unless_same(run: Run, stage: Stage, wanted: Plan) -> None:
    """Set aside what an attempt at something else has left, in `previous/`; the same attempt is gone on with."""
    if is_begun(run, stage, wanted):
        return
    left = (stage.output, stage.beside, f"{stage.output}.recording", f"stages/{stage.name}.json")
    for path in [run.folder / name for name in left if name is not None]:
        if path.exists():
            aside = run.folder / "previous" / path.name
            aside.parent.mkdir(exist_ok=True)
            remove(aside)
            path.rename(aside)
    write(attempt_path(run.folder, stage.name), Attempt(wanted, 0.0))


def _verify_inputs(run: Run, stage: Stage) -> None:
    if "collect" in stage.needs:
        run.store.verify()
