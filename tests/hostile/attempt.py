"""Tries the command line on hostile inputs, in a process of little memory; says as JSON what came of each.

    python -m tests.hostile.attempt MODULE FOLDER

MODULE has a list CASES. Of each case: the exit status and what was said by verb, what changed in the folder that the
case was made in, seconds, and the most memory that this process and its children have taken by then.
"""

import contextlib
import importlib
import io
import json
import resource
import signal
import sys
import time
import traceback
from pathlib import Path
from types import FrameType

from glocal import cli
from glocal.runtime.progress import console
from tests.hostile.case import Case, tree

SECONDS = 20
ROOM = 2 * 2**30
"""Bytes that this process may take beside what it has when it starts; its children may take no more."""


def main(module: str, folder: Path) -> None:
    cases: list[Case] = importlib.import_module(module).CASES
    with contextlib.suppress(SystemExit), contextlib.redirect_stdout(io.StringIO()):
        cli.main(["data", "inspect", "--help"])  # whatever is imported late
    used = int(Path("/proc/self/statm").read_text().split()[5]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_DATA, (used + ROOM, resource.RLIM_INFINITY))
    signal.signal(signal.SIGALRM, _late)
    print(json.dumps({case.name: _tried(case, folder / str(number)) for number, case in enumerate(cases)}))


def _tried(case: Case, folder: Path) -> dict[str, object]:
    folder.mkdir(parents=True)
    path = case.make(folder)
    before, found = tree(folder), {}
    for verb in case.verbs:
        began = time.monotonic()
        status, said = _asked(_command(verb, path, folder / f"out of {verb}"))
        found[verb] = {"status": status, "said": said, "seconds": time.monotonic() - began}
    after = tree(folder)
    changed = sorted(name for name in {*before, *after} if before.get(name) != after.get(name))
    taken = max(resource.getrusage(who).ru_maxrss for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)) * 1024
    return {"verbs": found, "changed": changed, "taken": taken}


def _command(verb: str, path: Path, out: Path) -> list[str]:
    inner = path / "within"
    if verb == "collect":
        return ["collect", "pusht-debug", "--run", str(out), "--logs", str(path)]
    return ["data", *_of_data(verb, path, out, inner)]


def _of_data(verb: str, path: Path, out: Path, inner: Path) -> list[str]:
    return {
        "doctor": ["doctor", str(path)],
        "inspect": ["inspect", str(path)],
        "convert": ["convert", str(path), str(out), "--fps", "10"],
        "convert into itself": ["convert", str(path), str(inner), "--fps", "10"],
        "split": ["split", str(path), "--first", str(out), "--second", str(out.with_name("out too")), "--share", "0.5"],
        "split into itself": ["split", str(path), "--first", str(inner), "--second", str(out), "--share", "0.5"],
        "merge": ["merge", str(path), str(path), "--out", str(out)],
        "merge into itself": ["merge", str(path), str(path), "--out", str(inner)],
        "label": ["label", "column", str(path), str(out), "--name", "next.reward"],
        "label by a goal": [
            "label",
            "goal",
            str(path),
            str(out),
            "--goals",
            "0:0",
            "--held-out",
            "0.4",
            "--preset",
            "pusht-debug",
        ],
        "label into itself": ["label", "column", str(path), str(inner), "--name", "next.reward"],
    }[verb]


def _asked(arguments: list[str]) -> tuple[object, str]:
    """The exit status of a command, or the traceback that came of it, and what was said."""
    said = io.StringIO()
    console.file = said
    signal.alarm(SECONDS)
    try:
        cli.main(arguments)
        return 0, said.getvalue()
    except SystemExit as end:
        return end.code, said.getvalue()
    except BaseException:
        return traceback.format_exc(), said.getvalue()
    finally:
        signal.alarm(0)


def _late(number: int, frame: FrameType | None) -> None:
    raise TimeoutError(f"no answer within {SECONDS} s")


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
