"""The command line: verbs, and the presets that they work on."""

import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import tyro
from rich.text import Text

from glocal.files import UserError
from glocal.progress import console, printable

if TYPE_CHECKING:
    from glocal.workspace import Run

USAGE = """usage: glocal VERB TARGET [--run FOLDER] [options]

TARGET is a preset ({presets}) or the folder of a run.

  run        everything below in order; what is done and unchanged is skipped
  collect    record play in the real environment
  train      train codec | global | judge | local | cloning | policy
  gates      measure the models on held-out episodes
  evaluate   ask the real environment
  report     write report.html
  status     say which stage is done, stale or missing, and why
  diagnose   whether a run's gradients and global model deserve trust
  compare    several methods between the same models, over seeds: --methods decouple ppo --seeds 0 1 --steps 3e6
  data       robot logs: inspect, preview, doctor, label, convert, merge or split a dataset of any known format, and
             export a run's episodes, imagined ones too

`glocal VERB TARGET --help` lists the options, for example: glocal train policy pusht --learn.horizon 16
"""
TRAINED = ("codec", "global", "judge", "local", "cloning", "policy")
VERBS = ("run", "collect", "train", "gates", "evaluate", "report", "status", "diagnose", "compare", "data")


def main(arguments: Sequence[str] | None = None) -> None:
    """Entry point; exits with 2 for what a person can mend, and 130 when interrupted."""
    try:
        _main(list(sys.argv[1:] if arguments is None else arguments))
    except UserError as error:
        console.print(Text("glocal: ", "bold red").append(printable(str(error)), "default"), soft_wrap=True)
        sys.exit(2)
    except BrokenPipeError:  # the reader of a help text has gone
        sys.stderr.close()
    except KeyboardInterrupt:
        console.print("interrupted; the same command goes on from the last checkpoint")
        sys.exit(130)


def _main(arguments: list[str]) -> None:
    if not arguments or arguments[0] in ("-h", "--help"):
        print(_usage())
        return
    verb, rest = arguments[0], arguments[1:]
    if verb not in VERBS:
        raise UserError(f"unknown verb {verb!r}; expected one of {', '.join(VERBS)}")
    stage = verb
    if verb == "train":
        if not rest or rest[0] not in TRAINED:
            found = f"found {rest[0]!r}" if rest else "found nothing"
            if rest[:1] in (["-h"], ["--help"]):
                print(_usage())
                return
            raise UserError(f"`glocal train` needs one of {', '.join(TRAINED)}; {found}")
        stage, rest = rest[0], rest[1:]
    if verb == "data":
        _data(rest)
        return
    if not rest:
        raise UserError(f"`glocal {verb}` needs a preset or the folder of a run")
    if rest[0] in ("-h", "--help"):
        rest = ["pusht-keypoints", "--help"]
    if verb == "compare":
        _compare(rest[0], rest[1:])
        return
    _perform(verb, stage, rest[0], rest[1:])


def _data(arguments: list[str]) -> None:
    if arguments[:1] == ["label"]:
        from glocal.labelling.ways import main as label

        label(arguments[1:])
        return
    if arguments[:1] == ["export"]:
        from glocal.export import main as export

        export(arguments[1:])
        return
    from glocal.logs import main as data

    data(arguments)


def _compare(target: str, options: list[str]) -> None:
    from glocal.agents.ppo import PPOConfig
    from glocal.compare import METHODS, Study, compare
    from glocal.config import PRESETS, Config

    if target not in PRESETS:
        raise UserError(f"{target!r} is not a preset; expected one of {', '.join(PRESETS)}")

    @dataclass(frozen=True)
    class Options:
        config: Annotated[tyro.conf.AvoidSubcommands[Config], tyro.conf.arg(name="")]
        run: Path
        """The study's folder."""
        methods: tuple[str, ...] = ("decouple", "imagine", "freeze", "ppo", "cloning")
        seeds: tuple[int, ...] = (0, 1, 2)
        """Of policies; data and models are the preset's, made once from --seed."""
        steps: float = 3e6
        """Imagined steps for each method and seed."""
        runs: tuple[Path, ...] = ()
        """Finished runs on the same data that stand in the same table."""
        ppo: PPOConfig = field(default_factory=PPOConfig)
        """Iterations, environments, episode and discount are those of the other methods."""

    chosen = tyro.cli(
        Options,
        args=options,
        prog=f"glocal compare {target}",
        default=Options(PRESETS[target], Path("out") / f"compare-{target}"),
        config=(tyro.conf.FlagConversionOff,),
        description=f"Methods: {', '.join(METHODS)}.",
    )
    study = Study(chosen.config, chosen.steps, chosen.ppo)
    compare(chosen.run, study, chosen.methods, chosen.seeds, chosen.runs)
    console.print(f"see {chosen.run / 'comparison.html'}")


def _usage() -> str:
    from glocal.config import PRESETS

    return USAGE.format(presets=", ".join(PRESETS))


def _perform(verb: str, stage: str, target: str, options: list[str]) -> None:
    from glocal.plan import STAGES
    from glocal.run import perform, run_all, status

    run = _open(verb, target, options)
    if verb == "status":
        for name, found in status(run).items():
            console.print(f"{name:9} {found.state:8} {'; '.join(found.reasons)}", soft_wrap=True)
        return
    if verb == "diagnose":
        from glocal.diagnose import diagnose, show

        show(diagnose(run))
        console.print(f"see {run.folder / 'diagnosis.html'}")
        return
    if verb == "run":
        run_all(run)
    else:
        for need in STAGES[stage].needs:
            found = status(run)[need]
            if found.state == "stale":
                console.print(f"note: {need} is stale ({'; '.join(found.reasons)}); it is used as it is")
        perform(run, STAGES[stage])
    if verb in ("run", "report"):
        from glocal.evaluate.report import verdict

        console.print(verdict(run.folder), soft_wrap=True)


def _open(verb: str, target: str, options: list[str]) -> "Run":
    """The run that a target names, with the options applied to its configuration."""
    from glocal.config import PRESETS, Config
    from glocal.run import create_run, open_run
    from glocal.workspace import Run

    is_preset = target in PRESETS
    if not is_preset and not Path(target).is_dir():
        raise UserError(f"{target!r} is neither a preset ({', '.join(PRESETS)}) nor the folder of a run")
    folder = Path("out") / target if is_preset else Path(target)
    known = PRESETS[target] if is_preset else open_run(folder).config

    @dataclass(frozen=True)
    class Options:
        config: Annotated[tyro.conf.AvoidSubcommands[Config], tyro.conf.arg(name="")]
        run: Path
        """The run's folder."""

    chosen = tyro.cli(
        Options,
        args=options,
        prog=f"glocal {verb} {target}",
        default=Options(known, folder),
        config=(tyro.conf.FlagConversionOff,),
    )
    if verb == "status":
        return Run(open_run(chosen.run).folder, chosen.config)
    return create_run(chosen.run, chosen.config)


if __name__ == "__main__":
    main()
