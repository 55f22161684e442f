"""Runs are begun, and given other options: what that would set aside is said before anything is written."""

from collections.abc import Sequence
from dataclasses import replace as replace_part
from pathlib import Path
from typing import Any

from glocal.data.formats import check_format, open_dataset
from glocal.data.ingest import check_source, data_files, robot_mapping_of
from glocal.data.inside import apart
from glocal.data.streams import RobotMapping
from glocal.pipeline.check import check
from glocal.pipeline.config import Config, RobotConfig, flat, rooted, to_dict, typed
from glocal.pipeline.plan import FREE, STAGES, Stage
from glocal.pipeline.previous import alone
from glocal.pipeline.real import check_environment
from glocal.pipeline.run import begun_otherwise, is_finished, open_run
from glocal.pipeline.run_dir import Run
from glocal.pipeline.status import Status, status
from glocal.runtime.files import UnreadableError, UserError, cannot_write, write_json
from glocal.runtime.progress import quoted

KEPT = ("collect", "codec", "global", "judge", "local", "cloning", "policy")
"""Stages whose output is not made again in seconds: none is set aside unless that is asked for."""
LOOSE = tuple(part for part in FREE if part not in ("logs", "after"))
"""Parts of a configuration that are part of no result's identity: every verb takes them."""
SHARE = 0.3
"""Of updates and iterations, that a run takes which goes on from another."""
UNCHANGED = ("task", "codec", "world", "surrogate", "agent", "held_out", "judge")
"""Parts of the configuration that such a run shares with the other: what weights fit, and which episodes are seen."""
Change = tuple[str, Any, Any]
"""An option's name, what it is in a run, and what it is to be."""
SHOWN = 8
"""Options that differ, of which all are counted."""
ADVICE = "add --replace to train again, or name another folder with --run"


def create_run(
    folder: Path, config: Config, stages: Sequence[str] = tuple(STAGES), replace: bool = False, advice: str = ADVICE
) -> Run:
    """The run in `folder`, with this configuration from now on, in which `stages` are going to be done.

    Raises `UserError`, before anything is written, where that would set aside what was trained and `replace` is not
    said, where a verb is given options that it does not read, and where another process is at work.
    """
    config = resolved(config, stages)
    run = Run(folder, config)
    if check_run(run, stages, replace, advice) != config:
        with alone(folder):
            _check_allowed(run, _stored(folder), stages, replace, advice)
            write_json(folder / "config.json", to_dict(config))
    return run


def resolved(config: Config, stages: Sequence[str]) -> Config:
    """The configuration with the whole path of its logs, and with what they say of the robot, where it is known by its
    logs.

    They are asked where they are going to be collected; what was made of them before keeps the mapping that it has.
    """
    config = rooted(config)
    task, path = config.task, Path(config.logs)
    if not isinstance(task, RobotConfig) or config.after:
        return config
    if config.logs and path.exists() and ("collect" in stages or task.mapping == RobotMapping()):
        check_format(path)
        data_files(path)  # nothing of them leads elsewhere, and there is not too much
        mapping = _observed(path, robot_mapping_of(path, open_dataset(path)), task.images)
        return replace_part(config, task=replace_part(task, mapping=mapping))
    if task.mapping == RobotMapping():
        if config.logs:
            raise UserError(f"there is nothing at {config.logs}, which --logs names; expected a dataset")
        raise UserError("a robot's preset takes its logs; name them with --logs FOLDER")
    return config


def _observed(path: Path, mapping: RobotMapping, images: bool) -> RobotMapping:
    """The mapping with cameras where pictures are observed, and without where they are not."""
    if images and not mapping.cameras:
        raise UserError(
            f"{path} shows no pictures that its mapping names; use the preset robot, or name its cameras in the "
            "mapping (glocal.json), as `glocal data inspect` proposes them"
        )
    if not images and not mapping.streams:
        raise UserError(f"{path} holds pictures, and no numbers that are observed; use the preset robot-images")
    return mapping if images else replace_part(mapping, cameras=())


def check_run(run: Run, stages: Sequence[str], replace: bool = False, advice: str = ADVICE) -> Config | None:
    """Raise `UserError` where `create_run` would; returns the configuration that the run has so far."""
    check(run.config)
    if run.config.logs and "collect" in stages and not is_finished(run, "collect"):
        check_format(Path(run.config.logs))
        check_source(Path(run.config.logs))
        apart(run.folder, Path(run.config.logs))
        if run.config.after:
            check_before(run)
    with cannot_write(run.folder):
        stored = _stored(run.folder)
    _check_allowed(run, stored, stages, replace, advice)
    config = run.config
    if isinstance(config.task, RobotConfig) and config.env.id and {"policy", "evaluate"} & set(stages):
        check_environment(config.task, config.env)
    return stored


def continued(folder: Path) -> Config:
    """The configuration of a run that goes on from the one in `folder`, which names no logs yet.

    What is trained anew takes `SHARE` of the updates and iterations that it took there, unless that run went on from
    another: then as many.
    """
    config = open_run(folder).config
    own = replace_part(config, after=str(folder.absolute()), logs="")
    if config.after:
        return own

    def less(part: Any, name: str) -> Any:
        return replace_part(part, **{name: max(1, round(SHARE * getattr(part, name)))})

    fits = {name: less(getattr(own, name), "updates") for name in ("world_fit", "surrogate_fit", "cloning_fit")}
    return replace_part(
        own,
        **fits,
        learn=less(own.learn, "iterations"),
        watch=less(own.watch, "every") if own.watch.every else own.watch,
    )


def check_before(run: Run) -> None:
    """Raise `UserError` where a run cannot go on from the one that it names."""
    folder, own = Path(run.config.after), run.config
    old = open_run(folder)
    if not own.logs:
        raise UserError(f"a run goes on from {folder} with new logs; name them with --logs")
    apart(run.folder, folder)
    if old.config.logs and Path(old.config.logs).resolve() == Path(own.logs).resolve():
        raise UserError(f"{own.logs} is what {folder} was trained on already; name new logs with --logs")
    lacking = [name for name in KEPT if not is_finished(old, name) and not STAGES[name].idle(old.config)]
    if lacking:
        raise UserError(f"{folder} is not finished: it lacks {', '.join(lacking)}; `glocal run {quoted(folder)}` first")
    changed = [one for one in differences(old.config, own) if _part(one[0]) in UNCHANGED]
    if changed:
        raise UserError(f"a run that goes on from {folder} keeps what its models are. {_changes(changed)}")


def view_run(folder: Path, config: Config, verb: str) -> Run:
    """The run in `folder` for a verb that keeps no options, and reads no others than how to run."""
    run, stored = Run(folder, config), open_run(folder).config
    if config != stored:
        check(config)
        _check_read(run, stored, verb, LOOSE)
    return run


def _stored(folder: Path) -> Config | None:
    """The configuration that a run has; None where there is no run yet, or none that can be read."""
    if (folder / "config.json").is_file():
        try:
            return open_run(folder).config
        except UnreadableError:
            raise
        except UserError:  # damaged: it is written anew, and stages are recognised by their stamps
            return None
    if folder.is_dir() and any(path.name != "stages" for path in folder.iterdir()):
        raise UserError(f"{folder} holds other things than a run; name a new folder, or an empty one, with --run")
    return None


def _check_allowed(run: Run, stored: Config | None, stages: Sequence[str], replace: bool, advice: str) -> None:
    if stored is not None and len(stages) == 1:
        _check_own(run, stored, STAGES[stages[0]], replace)
    if not replace:
        _check_kept(run, run.config if stored is None else stored, stages, advice)


def _check_own(run: Run, stored: Config, stage: Stage, replace: bool) -> None:
    """Raise `UserError` where a single stage is given options of others that are trained already."""
    trained = [STAGES[name] for name in KEPT if name != stage.name and is_finished(run, name)]
    others = {part for one in trained for part in one.config}
    if stage.name not in KEPT:
        own = {part for part in stage.config if not any(part in STAGES[name].config for name in KEPT)}
        _check_read(run, stored, stage.name, (*own, *LOOSE))
    elif not replace:
        _check_read(run, stored, stage.name, [part for part in to_dict(stored) if part not in others])


def _check_read(run: Run, stored: Config, verb: str, parts: Sequence[str]) -> None:
    """Raise `UserError` where a run is given other options than those in some parts of its configuration."""
    wrong = [one for one in differences(stored, run.config) if _part(one[0]) not in parts]
    if wrong:
        raise UserError(
            f"`glocal {spoken(verb)}` does not take {', '.join(typed(name) for name, _, _ in wrong[:SHOWN])} for a run "
            f"that has another. {_changes(wrong)}. Nothing was changed. `glocal {spoken(verb)} {quoted(run.folder)}` "
            f"takes the run as it is; {_works(run, verb, wrong)}"
        )


def _works(run: Run, verb: str, changes: Sequence[Change]) -> str:
    """What would give a run other options, in words."""
    reading = {stage.name for stage in STAGES.values() for name, _, _ in changes if _part(name) in stage.config}
    finished = [name for name in KEPT if is_finished(run, name) and not STAGES[name].idle(run.config)]
    again = [name for name in finished if name in reading]
    options = " ".join(typed(name, new) for name, _, new in changes) if len(changes) <= SHOWN else "with these options"
    if not again:
        only = next((name for name in STAGES if name in reading), "run")
        return f"`glocal {spoken(only)} {quoted(run.folder)} {options}` takes them"
    alone = (
        f", and `glocal {spoken(verb)} {quoted(run.folder)} {options} --replace` {verb} alone"
        if verb in reading
        else ""
    )
    return (
        f"`glocal run {quoted(run.folder)} {options} --replace` trains again what was trained with them "
        f"({', '.join(again)})"
        f"{alone if verb in KEPT else ''}; what is set aside is kept in {run.folder / 'previous'}"
    )


def _part(name: str) -> str:
    return name.partition(".")[0]


def spoken(verb: str) -> str:
    """A verb, or the stage that it stands for, as it is typed."""
    return f"train {verb}" if verb in KEPT and verb != "collect" else verb


def _check_kept(run: Run, stored: Config, stages: Sequence[str], advice: str) -> None:
    """Raise `UserError` where stages that are trained, or were begun, would be set aside."""
    found = status(run)
    otherwise = any(one.own for one in found.values())  # what is only behind a damaged stage is as it was once that is
    lost = {
        name: found[name].reasons for name in stages if name in KEPT and _is_lost(run, name, found[name], otherwise)
    }
    if not lost:
        return
    changed = stored != run.config
    why = _told(stored, run.config) if changed else "; ".join(f"{k}: {', '.join(v)}" for k, v in lost.items())
    stays = "" if changed else f"; as it is it stays usable (`glocal evaluate {quoted(run.folder)}`)"
    raise UserError(
        f"this would set aside what is trained in {run.folder}: {', '.join(lost)}. {why}. Nothing was changed. "
        f"{advice[0].upper()}{advice[1:]}; "
        f"what is set aside is kept in {run.folder / 'previous'}{stays}"
    )


def _is_lost(run: Run, name: str, found: Status, otherwise: bool) -> bool:
    """Of what was only begun, all but recordings: episodes that were decoded so far are no more than time."""
    stage = STAGES[name]
    made = (run.folder / stage.output).exists()
    begun = found.state == "missing" and name != "collect" and begun_otherwise(run, stage)
    return begun or (found.state == "stale" and made and otherwise)


def _told(stored: Config, config: Config) -> str:
    """What differs between a run's configuration and another, in words."""
    return _changes(differences(stored, config))


def _changes(found: Sequence[Change]) -> str:
    changes = [f"{typed(name)} is {old} there and {new} here" for name, old, new in found]
    more = f", and {len(changes) - SHOWN} more differ" if len(changes) > SHOWN else ""
    return ", ".join(changes[:SHOWN]) + more


def differences(stored: Config, config: Config) -> list[Change]:
    """Options that differ: their names, and what they are in one and in the other."""
    old, new = (dict(flat(to_dict(one))) for one in (stored, config))
    return [(name, old.get(name), new.get(name)) for name in {**old, **new} if old.get(name) != new.get(name)]
