"""The command line: verbs, and the presets that they work on."""

import os
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from importlib.metadata import version
from itertools import pairwise
from pathlib import Path
from textwrap import wrap
from typing import TYPE_CHECKING, Annotated, NoReturn

import tyro
from rich.text import Text

from glocal.runtime.files import FULL, UserError
from glocal.runtime.progress import console, printable

if TYPE_CHECKING:
    from glocal.pipeline.config import Config
    from glocal.pipeline.status import Status

USAGE = """usage: glocal VERB TARGET [--run FOLDER] [options]

TARGET is a preset or the folder of a run; `compare` takes a preset. `collect` and `run` of a robot's preset take its
logs: --logs FOLDER. Presets, each with a twin NAME-debug that is through in seconds:
{presets}

{verbs}

`glocal VERB TARGET --help` lists the options that most people want, and `--help-all` all of them; for example:
glocal train policy pusht --learn.horizon 16. `glocal --version` tells the version.
"""
TRAINED = ("codec", "global", "judge", "local", "cloning", "policy")
MAY_BE_EMPTY = ("--logs", "--task", "--success")
LOGS = ("inspect", "preview", "doctor", "label", "convert", "merge", "split", "export", "transitions")
"""What `glocal data` does."""
HELP = ("-h", "--help", "--help-all")


def main(arguments: Sequence[str] | None = None) -> None:
    """Entry point; exits with 2 for what a person can mend, and 130 when interrupted."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    try:
        (_lead_or_follow if os.environ.get("WORLD_SIZE", "1") != "1" else _main)(given)
    except UserError as error:
        _refuse(str(error))
    except BrokenPipeError:  # the reader of a help text has gone
        sys.stderr.close()
    except OSError as error:
        if error.errno in FULL:
            _refuse(f"no room to write ({error.strerror}); free some disk space and run the same command again")
        if error.filename is None:
            raise
        _refuse(f"cannot use {error.filename}: {(error.strerror or str(error)).lower()}; mend that, or name another")
    except KeyboardInterrupt:
        anew = given[:1] in (["bench"], ["data"])
        console.print(f"interrupted; the same command {'begins anew' if anew else 'goes on from the last checkpoint'}")
        sys.exit(130)


def _lead_or_follow(arguments: list[str]) -> None:
    """The part of one of several processes that `torchrun` started: the first does what is asked, the others help."""
    from glocal.pipeline.run import dismiss, follow
    from glocal.runtime.team import started

    if not started().leads:
        follow()
        return
    _main(arguments)
    dismiss()


def _refuse(reason: str) -> NoReturn:
    console.print(
        Text("glocal: ", "bold red").append(printable(reason).replace("\n", "\\n"), "default"), soft_wrap=True
    )
    sys.exit(2)


def _main(arguments: list[str]) -> None:
    if not arguments or arguments[0] in ("-h", "--help"):
        print(_usage())
        return
    if arguments[0] == "--version":
        print(f"glocal {version('glocal')}")
        return
    _check_none_empty(arguments)
    name, *rest = arguments
    if name not in VERBS:
        raise UserError(f"unknown verb {name!r}; expected one of {', '.join(VERBS)}")
    VERBS[name].act(rest)


def _check_none_empty(arguments: list[str]) -> None:
    for option, value in zip(["", *arguments], arguments, strict=False):
        if not value.strip() and option not in MAY_BE_EMPTY:
            raise UserError(f"an argument is empty: {option or 'the verb'} needs a value; leave it out instead")


def run(arguments: list[str]) -> None:
    """`glocal run TARGET ...`: all stages in order."""
    from glocal.pipeline.opening import create_run
    from glocal.pipeline.run import run_all

    given = _after(arguments)
    folder, config, replace = _chosen("run", *_target("run", arguments)) if given is None else _continuing(*given)
    made = create_run(folder, config, replace=replace)
    run_all(made)
    _conclude(made.folder)


def train(arguments: list[str]) -> None:
    """`glocal train STAGE TARGET ...`."""
    if arguments and arguments[0] in HELP:
        print(_usage())
        return
    if not arguments or arguments[0] not in TRAINED:
        found = f"found {arguments[0]!r}" if arguments else "found nothing"
        raise UserError(f"`glocal train` needs one of {', '.join(TRAINED)}; {found}")
    _do_stage(arguments[0], *_target("train", arguments[1:]))


def report(arguments: list[str]) -> None:
    """`glocal report TARGET ...`."""
    from glocal.pipeline.opening import view_run
    from glocal.pipeline.plan import STAGES
    from glocal.pipeline.run import perform
    from glocal.pipeline.status import status as status_of

    folder, config, _ = _chosen("report", *_target("report", arguments))
    viewed = view_run(folder, config, "report")
    _note_stale("report", status_of(viewed))
    perform(viewed, STAGES["report"])
    _conclude(folder)


def evaluate(arguments: list[str]) -> None:
    """`glocal evaluate TARGET ...`: the run's policy, or somebody's actor."""
    if any(one.partition("=")[0] == "--actor" for one in arguments):
        from glocal.pipeline.judge_actor import main as judge_actor

        judge_actor(arguments)
        return
    _do_stage("evaluate", *_target("evaluate", arguments))


def status(arguments: list[str]) -> None:
    """`glocal status TARGET ...`: what is done; with options, what would be if they were given."""
    from glocal.pipeline.check import check
    from glocal.pipeline.run import open_run
    from glocal.pipeline.run_dir import Run
    from glocal.pipeline.status import status as status_of

    folder, config, _ = _chosen("status", *_target("status", arguments))
    if open_run(folder).config != config:
        check(config)
    for name, found in status_of(Run(folder, config)).items():
        print(f"{name:9} {found.state:8} {'; '.join(found.reasons)}".rstrip())


def diagnose(arguments: list[str]) -> None:
    """`glocal diagnose TARGET ...`."""
    from glocal.pipeline.diagnose import diagnose as diagnosed
    from glocal.pipeline.diagnose import show
    from glocal.pipeline.opening import view_run

    folder, config, _ = _chosen("diagnose", *_target("diagnose", arguments))
    show(diagnosed(view_run(folder, config, "diagnose")))
    console.print(f"see {folder / 'diagnosis.html'}")


def compare(arguments: list[str]) -> None:
    """`glocal compare PRESET ...`."""
    from glocal.pipeline.compare import compare as compare_methods
    from glocal.pipeline.config import rooted
    from glocal.pipeline.methods import Study
    from glocal.pipeline.presets import PRESETS
    from glocal.pipeline.study import asked

    target, options = _target("compare", arguments)
    if target not in PRESETS:
        raise UserError(
            f"{target!r} is not a preset; `glocal compare` expects one of {_known(PRESETS)}, the study's folder by "
            "--run, and finished runs by --runs"
        )
    chosen = asked(target, PRESETS[target], options)
    study = Study(rooted(chosen.config), chosen.steps, chosen.ppo)
    compare_methods(chosen.run, study, chosen.methods, chosen.seeds, chosen.runs, chosen.replace)
    console.print(f"see {chosen.run / 'comparison.html'}")


def export(arguments: list[str]) -> None:
    """`glocal export RUN --out FOLDER`."""
    from glocal.pipeline.export_policy import main as export_policy

    export_policy(arguments)


def rollout(arguments: list[str]) -> None:
    """`glocal rollout BUNDLE ...`."""
    from glocal.pipeline.rollout import main as roll_out

    roll_out(arguments)


def play(arguments: list[str]) -> None:
    """`glocal play RUN ...`."""
    from glocal.pipeline.play import main as play_run

    play_run(arguments)


def bench(arguments: list[str]) -> None:
    """`glocal bench VERB ...`."""
    import_module("glocal_bench.cli").main(arguments)


def data(arguments: list[str]) -> None:
    """`glocal data VERB ...`."""
    if not arguments or arguments[0] not in (*LOGS, *HELP):
        found = f"found {arguments[0]!r}" if arguments else "found nothing"
        raise UserError(f"`glocal data` needs one of {', '.join(LOGS)}; {found}")
    if arguments[:1] == ["label"]:
        from glocal.pipeline.label.ways import main as label

        label(arguments[1:])
        return
    if arguments[:1] == ["export"]:
        from glocal.pipeline.export import main as export

        export(arguments[1:])
        return
    if arguments[:1] == ["transitions"]:
        from glocal.pipeline.transitions import main as transitions

        transitions(arguments)
        return
    from glocal.pipeline.logs import main as logs

    logs(arguments)


def _stage(name: str) -> Callable[[list[str]], None]:
    """The verb that does one stage."""
    return lambda arguments: _do_stage(name, *_target(name, arguments))


def _do_stage(name: str, target: str, options: list[str]) -> None:
    """Do one stage, unless it would be done again for nothing."""
    from glocal.pipeline.opening import create_run
    from glocal.pipeline.plan import KEPT, STAGES
    from glocal.pipeline.run import perform
    from glocal.pipeline.status import status as status_of

    folder, config, replace = _chosen(name, target, options)
    made = create_run(folder, config, (name,), replace)
    found = status_of(made)
    if name in KEPT and found[name].state == "done" and not replace:
        console.print(f"{name}: done before, skipped; --replace does it again, and keeps what is there")
        return
    _note_stale(name, found)
    perform(made, STAGES[name])


@dataclass(frozen=True)
class Verb:
    """What `glocal VERB` does with the arguments that follow, and what the usage says of it."""

    act: Callable[[list[str]], None]
    meant: str


VERBS = {
    "run": Verb(
        run,
        "everything below in order; what is done and unchanged is skipped. --after RUN --logs NEW goes on from a run "
        "with new logs",
    ),
    "collect": Verb(_stage("collect"), "record play in the real environment, or take in the logs that --logs names"),
    "train": Verb(train, f"train {' | '.join(TRAINED)}"),
    "gates": Verb(_stage("gates"), "measure the models on held-out episodes"),
    "evaluate": Verb(evaluate, "ask the real environment; with --actor FILE.onnx, of somebody's actor"),
    "report": Verb(report, "write report.html"),
    "status": Verb(status, "say which stage is done, stale or missing, and why"),
    "diagnose": Verb(diagnose, "whether a run's gradients and global model deserve trust"),
    "compare": Verb(
        compare,
        "several methods between the same models, over seeds: --methods decouple ppo --seeds 0 1 --steps 3e6",
    ),
    "export": Verb(export, "write a run's policy as one folder that runs without glocal: --out FOLDER"),
    "rollout": Verb(
        rollout,
        "run an exported policy on a robot, on what stands for it, or on recorded logs: BUNDLE --robot env",
    ),
    "play": Verb(
        play,
        "drive a run's global model from a web page, by mouse, keys or gamepad, beside the real environment",
    ),
    "bench": Verb(bench, "the logs of the bench's tasks: record TASK FOLDER, check TASK FOLDER, list"),
    "data": Verb(
        data,
        "robot logs: inspect, preview, doctor, label, convert, merge or split a dataset of any known format, and "
        "export a run's episodes, imagined ones too, or its logs as transitions",
    ),
}


def _note_stale(name: str, found: "Mapping[str, Status]") -> None:
    """Say which of the stages that one needs are stale."""
    from glocal.pipeline.plan import STAGES

    for need in STAGES[name].needs:
        if found[need].state == "stale":
            console.print(f"note: {need} is stale ({'; '.join(found[need].reasons)}); it is used as it is")


def _conclude(folder: Path) -> None:
    """Print the verdict."""
    from glocal.evaluate.report.run import verdict

    console.print(verdict(folder), soft_wrap=True)


def _target(verb: str, arguments: list[str]) -> tuple[str, list[str]]:
    """The preset or folder that a verb is asked for, and its options; help can do without."""
    if not arguments:
        raise UserError(f"`glocal {verb}` needs a preset or the folder of a run")
    if any(one.partition("=")[0] == "--after" for one in arguments):
        raise UserError(
            f"`glocal {verb}` takes no --after; `glocal run` does, and `glocal {verb} FOLDER` takes its run"
        )
    target, *options = ["pusht-keypoints", *arguments] if arguments[0] in HELP else arguments
    if target.startswith("-"):
        raise UserError(f"{target} stands before the preset or the folder of a run, which `glocal {verb}` takes first")
    return target, options


def _usage() -> str:
    from glocal.pipeline.presets import PRESETS

    presets = wrap(_known(PRESETS), 110, initial_indent="  ", subsequent_indent="  ", break_on_hyphens=False)
    verbs = [
        line
        for name, verb in VERBS.items()
        for line in wrap(verb.meant, 120, initial_indent=f"  {name:11}", subsequent_indent=" " * 13)
    ]
    return USAGE.format(presets="\n".join(presets), verbs="\n".join(verbs))


def _known(presets: Iterable[str]) -> str:
    """The presets by name, less their twins for tests."""
    return ", ".join(name for name in presets if not name.endswith("-debug"))


def _chosen(verb: str, target: str, options: list[str]) -> "tuple[Path, Config, bool]":
    """The folder of a run, the configuration that it is to have, and whether what is trained may be set aside; for a
    verb, or for the stage that it trains."""
    from glocal.pipeline.opening import spoken
    from glocal.pipeline.presets import PRESETS
    from glocal.pipeline.run import open_run

    is_preset = target in PRESETS
    if not is_preset and not Path(target).is_dir():
        raise UserError(
            f"{target!r} is neither a preset ({_known(PRESETS)}, each with a twin NAME-debug) nor the folder of a run"
        )
    folder = Path("out") / target if is_preset else Path(target)
    known = PRESETS[target] if is_preset else open_run(folder).config
    return _read(verb, f"glocal {spoken(verb)} {target}", folder, known, options)


def _after(arguments: list[str]) -> tuple[str, list[str]] | None:
    """The run that another one is to go on from, and the options of that one; None where none is named."""
    for i, one in enumerate(arguments):
        if one.partition("=")[0] == "--after":
            value = [one.partition("=")[2]] if "=" in one else arguments[i + 1 : i + 2]
            left = [*arguments[:i], *arguments[i + 1 + ("=" not in one) :]]
            if not value or value[0].startswith("-"):
                raise UserError("--after needs the folder of a run")
            if _after(left) is not None:
                raise UserError("--after is named twice; a run goes on from one other")
            return value[0], left
    return None


def _continuing(before: str, options: list[str]) -> "tuple[Path, Config, bool]":
    """The same of a run that goes on from another with new logs."""
    from glocal.pipeline.continuing import continued

    if options and not options[0].startswith("-"):
        raise UserError(
            f"{options[0]} stands beside --after: a run that goes on is made as {before} was; leave it out, and name "
            "its folder with --run"
        )
    known = continued(Path(before))
    named = [b for a, b in pairwise(options) if a == "--logs"]
    named += [one.partition("=")[2] for one in options if one.startswith("--logs=")]
    logs = named[-1] if named else "new"
    folder = Path(f"{Path(before)}-{Path(logs).name}")
    chosen = _read("run", f"glocal run --after {before}", folder, known, options)
    if chosen[0].resolve() == Path(before).resolve():
        raise UserError(f"{before} cannot go on from itself; name another folder with --run")
    if not chosen[1].logs:
        raise UserError(f"a run goes on from {before} with new logs; name them with --logs")
    return chosen


def _read(verb: str, prog: str, folder: Path, known: "Config", options: list[str]) -> "tuple[Path, Config, bool]":
    """What options make of a run's folder and configuration, and whether what is trained may be set aside."""
    from glocal.pipeline.config import Config, rooted
    from glocal.pipeline.usage import read, short_help

    replaces = verb in ("run", "collect", *TRAINED)

    @dataclass(frozen=True)
    class Options:
        config: Annotated[tyro.conf.AvoidSubcommands[Config], tyro.conf.arg(name="")]
        run: Path
        """The run's folder."""
        replace: bool = False
        """Train again what was trained with other options; what is there is kept in previous."""

    own = [("--run FOLDER", f"the run's folder ({folder})")]
    own += [("--replace", "train again what is trained; it is kept in previous")] if replaces else []
    chosen = read(Options, options, prog, short_help(verb, prog, known, own), default=Options(known, folder))
    if chosen.replace and not replaces:
        raise UserError(f"`glocal {verb}` trains nothing, and takes no --replace")
    return chosen.run, rooted(chosen.config), chosen.replace


if __name__ == "__main__":
    main()
