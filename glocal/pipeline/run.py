"""Runs are opened and gone on with: what is left to do is done, and what was done otherwise before is kept."""

import time
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import torch

from glocal.evaluate.gates import HORIZONS
from glocal.pipeline.config import Config, from_dict, to_dict
from glocal.pipeline.plan import STAGES, Stage, run_class, seed_of
from glocal.pipeline.previous import alone, set_aside
from glocal.pipeline.recovery import read_config
from glocal.pipeline.run_dir import Run, split_recorded
from glocal.pipeline.stamps import Attempt, Plan, attempt_path, read_attempt, read_stamp, stamp_path, write
from glocal.pipeline.status import damages, digests_of, is_begun, plan_of, stamped, status
from glocal.runtime.declarations import chosen, declared
from glocal.runtime.digests import Digests
from glocal.runtime.files import UserError
from glocal.runtime.progress import console, quoted
from glocal.runtime.team import leave, started, together
from glocal.runtime.trainer import logged_seconds, threads


def open_run(folder: Path) -> Run:
    """A run that exists; raises `UserError` where there is none in `folder`."""
    if not (folder / "config.json").is_file():
        raise UserError(
            f"{folder} is no run: it has no config.json. Start one with `glocal run PRESET --run {quoted(folder)}`"
        )
    return Run(folder, read_config(folder))


def run_all(run: Run) -> None:
    """Do what is stale, damaged or missing, in order, and nothing else."""
    if all(found.state == "done" for found in status(run).values()):  # nothing is written, not even a lock
        for name in STAGES:
            console.print(f"{name}: done before, skipped")
        return
    with alone(run.folder):
        for stage in STAGES.values():
            now = status(run)[stage.name]
            if now.state == "done":
                console.print(f"{stage.name}: done before, skipped")
                continue
            for reason in now.reasons:
                console.print(f"{stage.name}: {now.state}, {reason}")
            if "collect" in stage.needs:
                _check_long_enough(run)
            _perform(run, stage)


def _check_long_enough(run: Run) -> None:
    """Raise `UserError` where gates will look farther ahead than any held-out episode goes, before hours are spent."""
    _, _, held_out = split_recorded(run.config, len(run.store))
    longest = int(np.diff(run.store.starts)[held_out.start :].max()) - 1
    if longest < max(HORIZONS):
        raise UserError(
            f"the longest of {len(held_out)} held-out episodes has {longest} control steps, and the gates look "
            f"{max(HORIZONS)} ahead; record longer episodes, or hold out more of them (--held-out)"
        )


def perform(run: Run, stage: Stage) -> None:
    """Do one stage, going on from where an earlier attempt at the same thing was cut off."""
    with alone(run.folder):
        _perform(run, stage)


def _perform(run: Run, stage: Stage) -> None:
    with digests_of(run.folder) as digests:
        _needed(run, stage, digests)
        with threads(run.config.threads):
            wanted = plan_of(run, stage, digests)
            _check_asked_for(run, stage)
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
                f"{name}: {'; '.join(broken)}. Restore it from a copy, or do the stage again: "
                f"`glocal run {quoted(run.folder)}`"
            )
    for name in missing:
        _perform(run, STAGES[name])


def _check_asked_for(run: Run, stage: Stage) -> None:
    """Raise `UserError` where another process has given the run other options since they were read."""
    now, own = to_dict(open_run(run.folder).config), to_dict(run.config)
    if any(chosen(now, part) != chosen(own, part) for part in stage.config):
        raise UserError(f"another glocal has changed the options of {run.folder}; look with `glocal status`")


def _attempt(run: Run, stage: Stage) -> float:
    """Work at a stage; returns the seconds spent on it, earlier attempts included.

    Of attempts that ended without a word, as with a machine, counts what a training's log holds.
    """
    began = time.monotonic()
    attempt = read_attempt(run.folder, stage.name)
    assert attempt is not None
    try:
        _work(stage, run)
    except BaseException:
        spent = attempt.seconds + time.monotonic() - began
        write(attempt_path(run.folder, stage.name), replace(attempt, seconds=spent))
        raise
    return max(attempt.seconds + time.monotonic() - began, logged_seconds(run.folder / stage.output))


def _work(stage: Stage, run: Run) -> None:
    """Work at a stage, together with all processes that were started where it is shared."""
    if not stage.shared:
        stage.work(_limited(stage, run.folder, run.config))
        return
    started().tell((stage.name, run.folder, to_dict(run.config)))
    with together():
        stage.work(_limited(stage, run.folder, run.config))


def _limited(stage: Stage, folder: Path, config: Config) -> Any:
    """A run of which a stage sees what it has declared."""
    return run_class(stage)(folder, declared(config, stage.readable, f"the stage {stage.name}"))


def follow() -> None:
    """Work at every shared stage that the leading process comes to, until it has done what it was asked for."""
    console.quiet = True
    while (told := started().tell()) is not None:
        name, folder, values = told
        config, stage = from_dict(values, "what the leading process says"), STAGES[name]
        with threads(config.threads), together():
            torch.manual_seed(seed_of(stage, config))
            stage.work(_limited(stage, folder, config))
    leave()


def dismiss() -> None:
    """Let the processes that follow end."""
    started().tell()
    leave()


def _clear_unless_same(run: Run, stage: Stage, wanted: Plan) -> None:
    """Set aside what an attempt at something else has left; the same attempt is gone on with."""
    if is_begun(run, stage, wanted):
        return
    if stage.name != "report":  # drawn from the rest in seconds
        left = (stage.output, stage.beside, f"{stage.output}.recording")
        records = (f"stages/{stage.name}.json", f"stages/{stage.name}.attempt.json")
        kept = set_aside(run.folder, stage.name, [name for name in (*left, *records) if name is not None])
        if kept is not None:
            console.print(f"{stage.name}: what was there before is kept in {kept}", soft_wrap=True)
    write(attempt_path(run.folder, stage.name), Attempt(wanted, 0.0))


def begun_otherwise(run: Run, stage: Stage) -> bool:
    """Whether an unfinished attempt at something else than this has left what it would take to go on with it."""
    left = (run.folder / stage.output / "last", run.folder / f"{stage.output}.recording")
    if not attempt_path(run.folder, stage.name).is_file() or not any(path.exists() for path in left):
        return False
    with digests_of(run.folder) as digests:
        return not is_begun(run, stage, plan_of(run, stage, digests))


def is_finished(run: Run, name: str) -> bool:
    """Whether a stage was finished once, whatever has changed since."""
    return stamp_path(run.folder, name).is_file()


def _verify_inputs(run: Run, stage: Stage) -> None:
    if "collect" in stage.needs:
        run.store.verify()
