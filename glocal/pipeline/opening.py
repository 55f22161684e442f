"""Runs are begun, and given other options: what that would set aside is said before anything is written."""

from collections.abc import Sequence
from dataclasses import replace as replace_part
from pathlib import Path

from glocal.data.formats import check_format, open_dataset
from glocal.data.ingest import check_source, data_files, robot_mapping_of
from glocal.data.inside import apart
from glocal.data.streams import RobotMapping
from glocal.pipeline.changes import SHOWN, Change, changes_in_words, differences, part_of
from glocal.pipeline.check import check
from glocal.pipeline.config import Config, RobotConfig, rooted, to_dict, typed
from glocal.pipeline.continuing import check_before, check_unchanged
from glocal.pipeline.plan import FREE, KEPT, STAGES, Stage
from glocal.pipeline.previous import alone
from glocal.pipeline.real import check_environment
from glocal.pipeline.run import begun_otherwise, is_finished, open_run
from glocal.pipeline.run_dir import Run
from glocal.pipeline.status import Status, status
from glocal.runtime.files import UnreadableError, UserError, cannot_write, write_json
from glocal.runtime.progress import quoted

LOOSE = tuple(part for part in FREE if part not in ("logs", "after"))
"""Parts of a configuration that are part of no result's identity: every verb takes them."""
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
            "mapping (glocal.json), as `glocal data inspect` proposes them. Pictures are bytes, or numbers, (height, "
            "width, 3): grey ones, or ones with an opacity, are not seen as such"
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
    with cannot_write(run.folder):
        stored = _stored(run.folder)
    if run.config.after and "collect" in stages and (len(stages) == 1 or not is_finished(run, "collect")):
        check_before(run)
    elif run.config.after and stored is not None:
        check_unchanged(stored, run)
    _check_allowed(run, stored, stages, replace, advice)
    config = run.config
    if isinstance(config.task, RobotConfig) and config.env.id and {"policy", "evaluate"} & set(stages):
        check_environment(config.task, config.env)
    return stored


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
    wrong = [one for one in differences(stored, run.config) if part_of(one[0]) not in parts]
    if wrong:
        raise UserError(
            f"`glocal {spoken(verb)}` does not take {', '.join(typed(name) for name, _, _ in wrong[:SHOWN])} for a run "
            f"that has another. {changes_in_words(wrong)}. Nothing was changed. "
            f"`glocal {spoken(verb)} {quoted(run.folder)}` takes the run as it is; {_works(run, verb, wrong)}"
        )


def _works(run: Run, verb: str, changes: Sequence[Change]) -> str:
    """What would give a run other options, in words."""
    reading = {stage.name for stage in STAGES.values() for name, _, _ in changes if part_of(name) in stage.config}
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
    return changes_in_words(differences(stored, config))
