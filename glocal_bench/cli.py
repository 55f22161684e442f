"""`glocal bench record TASK FOLDER`, `glocal bench check TASK FOLDER`, `glocal bench list`."""

from collections.abc import Callable, Sequence
from importlib import import_module
from pathlib import Path

from glocal.pipeline.usage import read_verb
from glocal.runtime.files import UserError
from glocal.runtime.progress import console
from glocal_bench.fingerprints import fingerprint, verdict
from glocal_bench.tasks import TASKS, Task

USAGE = """usage: glocal bench record TASK FOLDER [options]   record the logs of a task
       glocal bench check TASK FOLDER              whether logs are the same as everybody's
       glocal bench list                           the tasks

`glocal bench record TASK --help` lists the options; with none but --processes, logs are the bench's own. Where there is
no screen, pictures need MUJOCO_GL=egl."""
SAME = ("--processes",)
"""Options that change nothing about what is recorded."""


def main(arguments: Sequence[str]) -> None:
    """`glocal bench VERB ...`."""
    verb, rest = (arguments[0] if arguments else ""), list(arguments[1:])
    if verb in ("-h", "--help", "--help-all"):
        print(USAGE)
    elif verb == "list" and not rest:
        for name, task in TASKS.items():
            console.print(f"{name:28}{task.about}", soft_wrap=True, highlight=False)
    elif verb == "record" and rest:
        record(rest[0], rest[1:])
    elif verb == "check" and len(rest) == 2:
        task, folder = rest
        _task(task)
        console.print(verdict(task, fingerprint(Path(folder))), soft_wrap=True, highlight=False)
    else:
        found = f"found {' '.join(arguments)!r}" if arguments else "found nothing"
        raise UserError(f"`glocal bench` takes record TASK FOLDER, check TASK FOLDER or list; {found}")


def record(name: str, arguments: Sequence[str]) -> None:
    """Record the logs of a task; `arguments` are the folder and more options than the task's own."""
    task = _task(name)
    recorder = _recorder(task)
    if any(one in ("-h", "--help", "--help-all") for one in arguments):
        read_verb({name: recorder}, [name, "--help"], "glocal bench record")
    if not arguments or arguments[0].startswith("-"):
        raise UserError(f"`glocal bench record {name}` needs the folder to write first")
    folder, *more = arguments
    read_verb({name: recorder}, [name, folder, *task.options, *more], "glocal bench record")
    others = [one for one in more if one.startswith("--") and one.partition("=")[0] not in SAME]
    if not others:
        console.print(verdict(name, fingerprint(Path(folder))), soft_wrap=True, highlight=False)


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
