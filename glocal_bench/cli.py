"""`glocal bench record TASK FOLDER`, `glocal bench check TASK FOLDER`, `glocal bench list`."""

import sys
from collections.abc import Callable, Sequence
from importlib import import_module
from pathlib import Path

from glocal.pipeline.usage import read_verb
from glocal.runtime.files import UserError
from glocal_bench.fingerprints import fingerprint, verdict
from glocal_bench.tasks import TASKS, Task

USAGE = """usage: glocal bench record TASK FOLDER [options]   record the logs of a task
       glocal bench check TASK FOLDER              whether logs are the same as everybody's; exits with 1 if not
       glocal bench list                           the tasks

`glocal bench record TASK --help` lists the options; with none but --processes, where there is
that, logs are the bench's own. Where there is no screen, pictures need MUJOCO_GL=egl."""
HELP = ("-h", "--help", "--help-all")
SAME = ("--processes",)
"""Options that change nothing about what is recorded."""


def main(arguments: Sequence[str]) -> None:
    """`glocal bench VERB ...`."""
    verb, rest = (arguments[0] if arguments else ""), list(arguments[1:])
    if verb in HELP or (verb == "record" and rest and rest[0] in HELP):
        print(USAGE)
    elif verb == "list" and not rest:
        for name, task in TASKS.items():
            print(f"{name:28}{task.about}")
    elif verb == "record" and rest:
        record(rest[0], rest[1:])
    elif verb == "check" and len(rest) == 2:
        task, folder = rest
        _task(task)
        found = verdict(task, fingerprint(Path(folder)))
        print(found.said)
        if not found.same:
            sys.exit(1)
    else:
        found = f"found {' '.join(arguments)!r}" if arguments else "found nothing"
        raise UserError(f"`glocal bench` takes record TASK FOLDER, check TASK FOLDER or list; {found}")


def record(name: str, arguments: Sequence[str]) -> None:
    """Record the logs of a task; `arguments` are the folder and more options than the task's own."""
    task = _task(name)
    recorder = _recorder(task)
    if any(one in HELP for one in arguments):
        read_verb({name: recorder}, [name, "--help"], "glocal bench record")
    if not arguments or arguments[0].startswith("-"):
        raise UserError(f"`glocal bench record {name}` needs the folder to write first")
    folder, *more = arguments
    read_verb({name: recorder}, [name, folder, *task.options, *more], "glocal bench record")
    others = [one for one in more if one.startswith("--") and one.partition("=")[0] not in SAME]
    if not others:
        print(verdict(name, fingerprint(Path(folder))).said)


def _task(name: str) -> Task:
    if name not in TASKS:
        raise UserError(f"there is no task {name!r}; expected one of {', '.join(TASKS)}")
    return TASKS[name]


def _recorder(task: Task) -> Callable[..., None]:
    try:
        return import_module(f"glocal_bench.record.{task.recorder}").main
    except ImportError as error:
        raise UserError(
            f"the environment of that task is not installed ({error}); `pip install 'glocal[tasks]'` installs it"
        ) from error
