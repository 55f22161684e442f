"""Faults: runs that are killed and starved of disk at random moments, gone on with, and compared with a whole one.

    python benchmarks/faults.py PRESET --out FOLDER [--events N] [--seed N]

An event is a SIGKILL, or a disk that is full from one moment on; then the same command is given again, and after so
many events the run is left to come to its end. Each run begins at another stage, those before it copied from an
undisturbed run, so that all stages are met. What counts as lost is a finished
stage's stamp or output that is gone or changed after an event; as different, a model, a recording or a verdict that is
not bit for bit the undisturbed run's; as unclear, a full disk that ends in anything but one clear error.

Processes are forked from one that has imported everything, so that an event takes about a second. The full disk is a
file system in memory of its own where this process may mount one (Linux, root), else a limit on the size of files.
Interrupted, it goes on from FOLDER/events.jsonl.
"""

import ctypes
import json
import os
import random
import resource
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import tyro

from glocal.cli import main
from glocal.data.store import EpisodeStore
from glocal.pipeline.plan import STAGES
from glocal.runtime.checkpoints import load
from glocal.runtime.files import remove, sha256
from glocal.runtime.progress import Ticker

DISK_MIB = 64
TRAINED = ("codec", "global", "local", "cloning", "policy")
CLEAR = ("no room to write", "cannot write")


@dataclass(frozen=True)
class Options:
    """What is disturbed, and how often."""

    preset: tyro.conf.Positional[str]
    out: Path
    events: int = 1000
    seed: int = 0
    mean_seconds: float = 1.0
    """Between the beginning of a process and its event, on average."""
    each: int = 30
    """Events after which a run is left to come to its end."""
    full_disk: float = 0.3
    """Share of events in which the disk is full."""


def forked(preset: str, folder: Path, errors: Path, largest_file: int | None = None) -> int:
    """A process that does what is left of a run, and says on `errors` what was wrong; its number."""
    child = os.fork()
    if child:
        return child
    with errors.open("w") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    if largest_file is not None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (largest_file, resource.RLIM_INFINITY))
    code = 1
    try:
        main(["run", preset, "--run", str(folder), "--processes", "1", "--clock.checkpoint-seconds", "0.2"])
        code = 0
    except SystemExit as stopped:
        code = stopped.code if isinstance(stopped.code, int) else 1
    finally:
        sys.stderr.flush()
        os._exit(code)


def ended(child: int, within: float) -> int | None:
    """The exit code of a process that ends by itself within so many seconds, or None."""
    until = time.monotonic() + within
    while time.monotonic() < until:
        found, status = os.waitpid(child, os.WNOHANG)
        if found:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.005)
    return None


class Disk:
    """A folder for runs whose disk can be made full."""

    def __init__(self, folder: Path):
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        self.own = subprocess.run(
            ["mount", "-t", "tmpfs", "-o", f"size={DISK_MIB}m", "tmpfs", str(folder)], capture_output=True, check=False
        ).returncode == 0  # fmt: skip

    def fill(self) -> None:
        """Take all the room that is left."""
        with (self.folder / "filler").open("wb") as file:
            while True:
                try:
                    os.write(file.fileno(), bytes(1 << 16))
                except OSError:
                    return

    def free(self) -> None:
        """Give it back."""
        remove(self.folder / "filler")

    def close(self) -> None:
        if self.own:
            subprocess.run(["umount", "-l", str(self.folder)], check=True)


def disturb(options: Options, disk: Disk, folder: Path, rng: random.Random) -> dict[str, Any]:
    """One event in a run; says what it was, in which stage, and what was wrong afterwards."""
    before, errors = stamped(folder), options.out / "errors.txt"
    full, delay = rng.random() < options.full_disk, rng.expovariate(1 / options.mean_seconds)
    limit = round(10 ** rng.uniform(2, 6)) if full and not disk.own else None
    child = forked(options.preset, folder, errors, limit)
    code = ended(child, 120.0 if limit else delay)
    if code is None and full and disk.own:
        disk.fill()
        code = ended(child, 120.0)
        disk.free()
    if code is None:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
    found = {"kind": "full disk" if full else "killed", "stage": stage_at(folder), "ended": code == 0}
    lost = [name for name, stamp in before.items() if stamped(folder).get(name) != stamp]
    said = errors.read_text(errors="replace")
    unclear = "Traceback" in said or (full and code not in (0, None) and not any(words in said for words in CLEAR))
    return found | {"lost": lost, "unclear": said[-2000:] if unclear else ""}


def stamped(folder: Path) -> dict[str, str]:
    """Stages that are finished, with what their stamps say and what their output is recognised by."""
    found = {}
    for name, stage in STAGES.items():
        stamp, weights = folder / "stages" / f"{name}.json", folder / stage.output / "last" / "model.safetensors"
        if stamp.is_file():
            found[name] = sha256(stamp) + (sha256(weights) if weights.is_file() else "")
    return found


def stage_at(folder: Path) -> str:
    """The first stage that is not finished."""
    return next((name for name in STAGES if name not in stamped(folder)), "none")


def contents(folder: Path) -> dict[str, Any]:
    """What a finished run came to, by stage: hashes of data and weights, and verdicts."""
    found: dict[str, Any] = {"collect": EpisodeStore.open(folder / "data").hash}
    for kind in TRAINED:
        checkpoint = load(folder / kind, kind)
        if checkpoint is not None:
            found[kind] = {name: tensor.flatten().tolist() for name, tensor in checkpoint.model.items()}
    results = json.loads((folder / "results.json").read_text())
    return found | {"evaluate": {name: results[name]["pose"]["k"] for name in ("policy", "cloning", "random")}}


def undisturbed(options: Options, folder: Path) -> dict[str, Any]:
    """Let a run come to its end, and say what it came to."""
    code = ended(forked(options.preset, folder, options.out / "errors.txt"), 1800.0)
    assert code == 0, (options.out / "errors.txt").read_text()
    return contents(folder)


def begun(whole: Path, folder: Path, first: str) -> None:
    """A copy of a finished run in which the stages from `first` on were not done yet."""
    remove(folder)
    shutil.copytree(whole, folder, symlinks=True)
    names = list(STAGES)
    for name in names[names.index(first) :]:
        for path in (STAGES[name].output, STAGES[name].beside, f"stages/{name}.json"):
            if path is not None:
                remove(folder / path)


def gone_on(options: Options, disk: Disk, number: int, rng: random.Random) -> tuple[list[dict[str, Any]], list[str]]:
    """A run with its events, and the parts of it that came out different."""
    folder, events = disk.folder / f"run-{number}", []
    begun(disk.folder / "whole", folder, list(STAGES)[number % len(STAGES)])
    while len(events) < options.each:
        event = disturb(options, disk, folder, rng)
        if event["ended"]:
            break
        events.append(event)
    reference = json.loads((options.out / "reference.json").read_text())
    found = undisturbed(options, folder)
    shutil.rmtree(folder)
    return events, [name for name in reference if reference[name] != found.get(name)]


def without_orphans() -> None:
    """Let workers whose parent was killed become this process's children, so that those that stay are seen."""
    ctypes.CDLL(None).prctl(36, 1, 0, 0, 0)  # PR_SET_CHILD_SUBREAPER


def tell(rows: list[dict[str, Any]]) -> None:
    """Print the figures."""
    events = [event for row in rows for event in row["events"]]
    for kind in ("killed", "full disk"):
        chosen = [event for event in events if event["kind"] == kind]
        stages = {name: sum(event["stage"] == name for event in chosen) for name in STAGES}
        print(f"{kind}: {len(chosen)} events; by stage {', '.join(f'{n} {c}' for n, c in stages.items() if c)}")
    lost, unclear = sum(bool(event["lost"]) for event in events), sum(bool(event["unclear"]) for event in events)
    different = sum(bool(row["different"]) for row in rows)
    print(f"{len(events)} events in {len(rows)} runs: {lost} lost, {unclear} unclear; {different} runs different")


def run(options: Options) -> None:
    torch.set_num_threads(1)
    without_orphans()
    options.out.mkdir(parents=True, exist_ok=True)
    disk, log = Disk(options.out / "disk"), options.out / "events.jsonl"
    try:
        found = undisturbed(options, disk.folder / "whole")
        (options.out / "reference.json").write_text(json.dumps(found))
        rows = [json.loads(line) for line in log.read_text().splitlines()] if log.is_file() else []
        done = sum(len(row["events"]) for row in rows)
        with Ticker("faults", options.events, done, "events") as tick:
            while done < options.events:
                rng = random.Random(f"{options.seed} {len(rows)}")
                events, different = gone_on(options, disk, len(rows), rng)
                rows.append({"events": events, "different": different})
                with log.open("a") as file:
                    file.write(json.dumps(rows[-1]) + "\n")
                done += len(events)
                tick(min(done, options.events))
    finally:
        disk.close()
    tell(rows)


if __name__ == "__main__":
    run(tyro.cli(Options, description=__doc__))
