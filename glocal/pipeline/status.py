"""Which stages of a run are done, stale, damaged or missing, and why: what is there against what is wanted."""

import hashlib
import json
from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from glocal.data.ingest import source_digest
from glocal.pipeline.config import to_dict
from glocal.pipeline.plan import STAGES, Stage, code_version
from glocal.pipeline.run_dir import RunFolder
from glocal.pipeline.stamps import DamagedError, Plan, Stamp, read_attempt, read_stamp
from glocal.runtime.declarations import chosen
from glocal.runtime.digests import Digests, kept_digests
from glocal.runtime.files import UnreadableError, UserError

PLAYED = "play"
"""Stands for the logs where there are none."""


@dataclass(frozen=True)
class Status:
    """Whether a stage is done, and if not, why."""

    state: Literal["done", "stale", "damaged", "missing"]
    reasons: tuple[str, ...] = ()
    own: tuple[str, ...] = ()
    """Those of the reasons that are not an earlier stage's state."""


def status(run: RunFolder) -> dict[str, Status]:
    """Every stage's state; a stage behind one that is not done is not done either."""
    found: dict[str, Status] = {}
    with digests_of(run.folder) as digests:
        for stage in STAGES.values():
            found[stage.name] = _status(run, stage, found, digests)
    return found


def digests_path(folder: Path) -> Path:
    """Where a run keeps the hashes of files that it has read."""
    return folder / "stages" / "digests.cache.json"


def digests_of(folder: Path) -> AbstractContextManager[Digests]:
    """The hashes of files, as far as a run has read them before."""
    return kept_digests(digests_path(folder))


def plan_of(run: RunFolder, stage: Stage, digests: Digests) -> Plan:
    """All that decides what a stage's output would be now."""
    config = json.loads(json.dumps(to_dict(run.config)))
    inputs = {need: _output(run.folder, need) for need in stage.needs}
    if stage.takes_in:
        inputs["logs"] = source_digest(Path(run.config.logs), digests) if run.config.logs else PLAYED
        if run.config.after:
            inputs["after"] = _made(Path(run.config.after))
    return Plan({part: chosen(config, part) for part in stage.config}, inputs, code_version(stage))


def is_begun(run: RunFolder, stage: Stage, wanted: Plan) -> bool:
    """Whether an attempt at exactly this was begun and has not finished."""
    try:
        attempt = read_attempt(run.folder, stage.name)
    except DamagedError:
        return False
    return attempt is not None and attempt.plan == wanted


def stamped(run: RunFolder, stage: Stage, plan: Plan, seconds: float, finished: str, digests: Digests) -> Stamp:
    """The stamp of a stage that has just been done."""
    paths = {path for pattern in stage.leaves for path in run.folder.glob(pattern)}
    files = {str(path.relative_to(run.folder)): digests(path) for path in sorted(paths)}
    return Stamp(plan, _recognised(run, stage, files), files, to_dict(run.config), seconds, finished)


def damages(folder: Path, stamp: Stamp, digests: Digests) -> list[str]:
    """What has become of a stage's files since they were written."""
    found = []
    for name, digest in stamp.files.items():
        if not (folder / name).is_file():
            found.append(f"{name} is gone")
        elif digests(folder / name) != digest:
            found.append(f"{name} is damaged or incomplete: it is not what was written there")
    return found


def _status(run: RunFolder, stage: Stage, before: Mapping[str, Status], digests: Digests) -> Status:
    try:
        stamp = read_stamp(run.folder, stage.name)
    except DamagedError as error:
        return Status("damaged", (str(error),))
    try:
        wanted = plan_of(run, stage, digests)
    except UnreadableError:
        raise
    except UserError as error:  # logs that are not to be read: what was taken from them before stands
        return Status("missing" if stamp is None else "stale", (str(error),))
    if stamp is None:
        begun = is_begun(run, stage, wanted)
        return Status("missing", ("was begun and will be gone on with" if begun else "was not run yet",))
    earlier = tuple(f"{need} is {before[need].state}" for need in stage.needs if before[need].state != "done")
    own = tuple(_changes(run, stage, stamp, wanted))
    if stamp.output is not None and not (run.folder / stage.output).exists():
        own = (*own, f"{stage.output} is gone")
        return Status("stale", (*earlier, *own), own)
    broken = damages(run.folder, stamp, digests)
    if broken:
        return Status("damaged", (*broken, *earlier, *own), own)
    return Status("stale", (*earlier, *own), own) if earlier or own else Status("done")


def _changes(run: RunFolder, stage: Stage, stamp: Stamp, wanted: Plan) -> list[str]:
    """What a stage was made from that is now otherwise."""
    then = stamp.plan
    outputs = [name for name in stage.needs if then.inputs.get(name) != wanted.inputs[name]]
    parts = [part for part in stage.config if then.config.get(part) != wanted.config[part]]
    return [
        *(f"the output of {name} changed" for name in outputs),
        *(_other_logs(run, stamp, wanted) if stage.takes_in else ()),
        *(f"the configuration of {part} changed" for part in parts),
        *(["the code of this stage changed"] if then.code != wanted.code else ()),
    ]


def _other_logs(run: RunFolder, stamp: Stamp, wanted: Plan) -> list[str]:
    """Whether the logs, or the run before, are others; where they are gone, what was taken from them stands."""
    said = {"logs": "the logs or their mapping changed", "after": "the run before changed"}
    told = {"logs": run.config.logs, "after": run.config.after}
    now = {name: wanted.inputs.get(name) for name in said}
    same = {name for name in said if stamp.config.get(name, "") == told[name]}
    gone = {name for name in same if now[name] is None or name == "after"}  # what that run became since is its own
    return [why for name, why in said.items() if name not in gone and stamp.plan.inputs.get(name) != now[name]]


def _made(folder: Path) -> str | None:
    """What another run's data and models are recognised by; None where it is gone."""
    found = [f"{name} {_output(folder, name)}" for name in STAGES if name not in ("gates", "evaluate", "report")]
    return hashlib.sha256("\n".join(found).encode()).hexdigest()[:16] if (folder / "config.json").is_file() else None


def _output(folder: Path, name: str) -> str | None:
    """What a stage's output is recognised by, or None where it is not done."""
    try:
        stamp = read_stamp(folder, name)
    except DamagedError:
        return None
    return None if stamp is None else stamp.output


def _recognised(run: RunFolder, stage: Stage, files: Mapping[str, str]) -> str | None:
    """What later stages recognise an output by: recorded data by their episodes, models by their weights."""
    weights = {name: digest for name, digest in files.items() if name.endswith("model.safetensors")}
    if stage.name == "collect" and not weights:
        return run.store.hash
    weights |= {"data": run.store.hash} if stage.name == "collect" else {}
    told = [f"{name} {digest}" for name, digest in (weights or files).items()]
    return hashlib.sha256("\n".join(told).encode()).hexdigest() if told else None
