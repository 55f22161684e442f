"""Runs are begun, opened, gone on with: which stages are done, stale or missing, and what is left to do is done."""

import hashlib
import json
import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

import torch

from glocal.config import from_dict, to_dict
from glocal.files import UserError, read_json, sha256, write_json
from glocal.plan import STAGES, Stage, code_version
from glocal.previous import alone, set_aside
from glocal.progress import console
from glocal.training import threads
from glocal.workspace import Run


@dataclass(frozen=True)
class Status:
    """Whether a stage is done, and if not, why."""

    state: Literal["done", "stale", "missing"]
    reasons: tuple[str, ...] = ()


def open_run(folder: Path) -> Run:
    """A run that exists; raises `UserError` where there is none in `folder`."""
    if not (folder / "config.json").is_file():
        raise UserError(f"{folder} is no run: it has no config.json. Start one with `glocal run PRESET --run {folder}`")
    return Run(folder, from_dict(read_json(folder / "config.json"), folder / "config.json"))


def status(run: Run) -> dict[str, Status]:
    """Every stage's state; a stage behind one that is not done is not done either."""
    found: dict[str, Status] = {}
    for stage in STAGES.values():
        found[stage.name] = _status(run, stage, found)
    return found


def run_all(run: Run) -> None:
    """Do what is stale or missing, in order, and nothing else."""
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
            _perform(run, stage)


def perform(run: Run, stage: Stage) -> None:
    """Do one stage, going on from where an earlier attempt at the same thing was cut off."""
    with alone(run.folder):
        _perform(run, stage)


def _perform(run: Run, stage: Stage) -> None:
    missing = [name for name in stage.needs if not _stamp_path(run, name).is_file()]
    idle = [name for name in missing if STAGES[name].idle(run.config)]
    lacking = [name for name in missing if name not in idle]
    if lacking:
        raise UserError(f"{stage.name} needs {', '.join(lacking)} first; `glocal run` does all stages in order")
    for name in idle:
        _perform(run, STAGES[name])
    with threads(run.config.threads):
        wanted = _fingerprint(run, stage)
        _check_asked_for(run, stage)
        _clear_unless_same(run, stage, wanted)
        _verify_inputs(run, stage)
        torch.manual_seed(_seed(run, stage))
        seconds = _attempt(run, stage)
        finished = datetime.now(UTC).isoformat(timespec="seconds")
        stamp = {**wanted, "output": _digest(run, stage), "seconds": seconds, "finished": finished}
        write_json(_stamp_path(run, stage.name), stamp)
        _attempt_path(run, stage.name).unlink()


def _check_asked_for(run: Run, stage: Stage) -> None:
    """Raise `UserError` where another process has given the run other options since they were read."""
    now, own = to_dict(open_run(run.folder).config), to_dict(run.config)
    if any(now[part] != own[part] for part in stage.config):
        raise UserError(f"another glocal has changed the options of {run.folder}; look with `glocal status`")


def _seed(run: Run, stage: Stage) -> int:
    """Of torch's random numbers in a stage."""
    own = f" {run.config.policy_seed}" if "policy_seed" in stage.config and run.config.policy_seed else ""
    return int(hashlib.sha256(f"{stage.name} {run.config.seed}{own}".encode()).hexdigest()[:8], 16)


def _attempt(run: Run, stage: Stage) -> float:
    """Work at a stage; returns the seconds spent on it, earlier interrupted attempts included."""
    path, began = _attempt_path(run, stage.name), time.monotonic()
    attempt = read_json(path)
    try:
        stage.work(Run(run.folder, run.config))
    except BaseException:
        write_json(path, {**attempt, "seconds": attempt["seconds"] + time.monotonic() - began})
        raise
    return attempt["seconds"] + time.monotonic() - began


def _status(run: Run, stage: Stage, before: Mapping[str, Status]) -> Status:
    path = _stamp_path(run, stage.name)
    if not path.is_file():
        begun = _is_begun(run, stage, _fingerprint(run, stage))
        return Status("missing", ("was begun and will be gone on with" if begun else "was not run yet",))
    stamp, wanted = read_json(path), _fingerprint(run, stage)
    reasons = [f"{need} is {before[need].state}" for need in stage.needs if before[need].state != "done"]
    reasons += [f"the output of {need} changed" for need in stage.needs if _differs(stamp, wanted, "inputs", need)]
    reasons += ["the logs changed"] if "logs" in wanted["inputs"] and _differs(stamp, wanted, "inputs", "logs") else []
    reasons += [
        f"the configuration of {part} changed" for part in stage.config if _differs(stamp, wanted, "config", part)
    ]
    if stamp["code"] != wanted["code"]:
        reasons.append("the code of this stage changed")
    if stamp["output"] is not None and not (run.folder / stage.output).exists():
        reasons.append(f"{stage.output} is gone")
    return Status("stale", tuple(reasons)) if reasons else Status("done")


def _differs(stamp: Mapping[str, Any], wanted: Mapping[str, Any], part: str, key: str) -> bool:
    return stamp[part].get(key) != wanted[part].get(key)


def _fingerprint(run: Run, stage: Stage) -> dict[str, Any]:
    """All that decides what a stage's output will be."""
    config = json.loads(json.dumps(to_dict(run.config)))
    inputs = {}
    for need in stage.needs:
        path = _stamp_path(run, need)
        inputs[need] = read_json(path)["output"] if path.is_file() else None
    if stage.source(run.config) is not None:
        inputs["logs"] = stage.source(run.config)
    return {"config": {part: config[part] for part in stage.config}, "inputs": inputs, "code": code_version(stage)}


def _clear_unless_same(run: Run, stage: Stage, wanted: Mapping[str, Any]) -> None:
    """Set aside what an attempt at something else has left; the same attempt is gone on with."""
    if _is_begun(run, stage, wanted):
        return
    if stage.name == "report":  # drawn from the rest in seconds
        write_json(_attempt_path(run, stage.name), {"plan": wanted, "seconds": 0.0})
        return
    left = (stage.output, stage.beside, f"{stage.output}.recording")
    stamps = (f"stages/{stage.name}.json", f"stages/{stage.name}.attempt.json")
    kept = set_aside(run.folder, stage.name, [name for name in (*left, *stamps) if name is not None])
    if kept is not None:
        console.print(f"{stage.name}: what was there before is kept in {kept}", soft_wrap=True)
    write_json(_attempt_path(run, stage.name), {"plan": wanted, "seconds": 0.0})


def begun_otherwise(run: Run, stage: Stage) -> bool:
    """Whether an unfinished attempt at something else than this has left what it would take to go on with it."""
    left = (run.folder / stage.output / "last", run.folder / f"{stage.output}.recording")
    begun = _attempt_path(run, stage.name).is_file() and any(path.exists() for path in left)
    return begun and not _is_begun(run, stage, _fingerprint(run, stage))


def is_finished(run: Run, name: str) -> bool:
    """Whether a stage was finished once, whatever has changed since."""
    return _stamp_path(run, name).is_file()


def _is_begun(run: Run, stage: Stage, wanted: Mapping[str, Any]) -> bool:
    """Whether an attempt at exactly this was begun and has not finished."""
    attempt = _attempt_path(run, stage.name)
    return attempt.is_file() and read_json(attempt)["plan"] == wanted


def _verify_inputs(run: Run, stage: Stage) -> None:
    if "collect" in stage.needs:
        run.store.verify()


def _digest(run: Run, stage: Stage) -> str | None:
    """What later stages recognise this one's output by."""
    path = run.folder / stage.output
    if stage.name == "collect":
        return run.store.hash
    if (path / "last").exists():
        return sha256(path / "last" / "model.safetensors")
    return sha256(path) if path.is_file() else None


def _stamp_path(run: Run, name: str) -> Path:
    return run.folder / "stages" / f"{name}.json"


def _attempt_path(run: Run, name: str) -> Path:
    return run.folder / "stages" / f"{name}.attempt.json"
