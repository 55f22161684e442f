"""An exported policy on a robot, on the environment that stands for it, or on recorded logs (`glocal rollout`)."""

import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from importlib import import_module
from itertools import chain
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import tyro

from glocal.core.ranges import Count, Many, Range
from glocal.data import mapping, mappings, streams
from glocal.data.dataset import Feature
from glocal.data.formats import open_dataset
from glocal.data.formats.lerobot_writer import Layout, write_lerobot
from glocal.data.streams import RobotMapping
from glocal.deploy.control import Control, ControlConfig, Episode
from glocal.deploy.controllers import Array
from glocal.deploy.ends import Ends, stopping
from glocal.deploy.guard import ControlError, Guarded
from glocal.deploy.logged import logged_mapping, logged_rows, pose_of
from glocal.deploy.replay import Replay, compared
from glocal.deploy.robots import EnvRobot, Judged, PushTRobot, RecordedRobot, Robot, check_judged, check_rewarded
from glocal.evaluate.intervals import wilson
from glocal.pipeline.config import EnvConfig, EvaluateConfig
from glocal.pipeline.usage import read_verb
from glocal.runtime.files import UserError, atomic_write, write_json
from glocal.runtime.progress import Ticker, console
from glocal.tasks.pusht import HOLD, TABLE, PushT, PushTConfig
from glocal.tasks.robot import RENDERED, make, make_filmed

AnyMapping = mapping.Mapping | RobotMapping


@dataclass(frozen=True)
class RolloutConfig:
    """Choices for running an exported policy."""

    robot: str = "env"
    """env, the environment that the run was judged in; logs:FOLDER, recorded logs, which go on whatever is told; or
    MODULE:NAME, which is called with the options and gives a robot (`glocal.deploy.robots.Robot`)."""
    options: tuple[str, ...] = ()
    """KEY=VALUE of these."""
    episodes: Count = 1
    control_steps: Many = 0
    """In an episode at most; 0 for as many as an episode of the run's task has."""
    seed: Annotated[int, Range(0, 2**31 - 1)] | None = None
    """Of the first episode's initial state, that of `glocal evaluate` by default; of logs the number of the episode."""
    careful: bool = True
    """Let no action change faster from one control step to the next than recorded ones did."""
    realtime: bool = False
    """Keep to the clock with env and logs, too; other robots always do."""
    log: Path | None = None
    """Write what happened as a LeRobot dataset, and `rollout.json` beside it; the folder must not exist."""
    control: ControlConfig = field(default_factory=ControlConfig)


def rollout(bundle: tyro.conf.Positional[Path], cfg: Annotated[RolloutConfig, tyro.conf.arg(name="")]) -> None:
    """Run an exported policy: on a robot, on the environment that stands for it, or on recorded logs.

    Enter, Ctrl-C or a SIGTERM ends it after the control step; the robot is stopped whatever ends it but a SIGKILL.

    Args:
        bundle: A folder that `glocal export` wrote.
    """
    policy = _policy(bundle, cfg.careful)
    own = _check(cfg)
    logs = _logs(policy.spec["origin"]["logs"], bundle)
    control = replace(cfg.control, realtime=cfg.control.realtime and (cfg.realtime or not own))
    steps = cfg.control_steps or int(policy.spec["origin"]["control_steps"])
    with stopping() as ends:
        try:
            robot = Guarded(_maker(cfg, policy, logs), control.patience if control.realtime else None)
            runner = Control(policy, robot, control, ends.asked, _said)
            happened = _episodes(runner, cfg, steps, ends)
            episodes = _kept(happened, cfg.log, policy, logs, runner)
        except (ControlError, _errors()) as error:
            raise UserError(f"{error}") from error
    found = _summary(runner, policy, episodes)
    if cfg.log is not None and cfg.log.is_dir():
        write_json(cfg.log / "rollout.json", found)
    for name, value in found.items():
        console.print(f"{name}: {value}", soft_wrap=True, highlight=False)


def _check(cfg: RolloutConfig) -> bool:
    """Whether what is driven goes by steps and not by time; raises `UserError` for what does not go together."""
    own = cfg.robot == "env" or cfg.robot.startswith("logs:")
    if own and (cfg.control.hz or cfg.control.shadow):
        raise UserError("environments and logs go on step by step as they are told; leave --control.hz and .shadow out")
    if cfg.control.shadow and cfg.log is not None:
        raise UserError("a log holds what was done, and a shadow does nothing; leave --log out")
    if cfg.log is not None:
        if cfg.log.exists():
            raise UserError(f"{cfg.log} exists; name another folder with --log, or remove it")
        with atomic_write(cfg.log) as draft:  # what cannot be written is known before the robot moves
            draft.mkdir()
        cfg.log.rmdir()
    return own


def _said(alarm: str) -> None:
    console.print(alarm, soft_wrap=True)


def _policy(bundle: Path, careful: bool) -> Any:
    """The bundle's policy; raises `UserError` where it cannot be run."""
    try:
        from glocal.deploy.runner import BundleError, Policy
    except ImportError as error:
        raise UserError(
            "exported policies are run with onnxruntime, which is not installed; `pip install 'glocal[deploy]'`"
        ) from error
    try:
        return Policy(bundle, careful)
    except BundleError as error:
        raise UserError(str(error)) from error


def _errors() -> type[Exception]:
    from glocal.deploy.runner import PolicyError

    return PolicyError


def _logs(values: Mapping[str, Any], bundle: Path) -> AnyMapping:
    known = streams if mappings.tells_streams(values) else mapping
    return known.from_dict(values, bundle)


def _episodes(control: Control, cfg: RolloutConfig, control_steps: int, ends: Ends) -> Iterator[Episode]:
    """One after the other, until somebody stops it."""
    replays = isinstance(control.robot.robot, RecordedRobot)
    first = (0 if replays else EvaluateConfig.first_seed) if cfg.seed is None else cfg.seed
    if isinstance(robot := control.robot.robot, RecordedRobot) and first + cfg.episodes > robot.count:
        raise UserError(
            f"there are {robot.count} recorded episodes, numbered from 0; --episodes {cfg.episodes} from "
            f"--seed {first} on are more"
        )
    if cfg.episodes > 1 and not control.robot.judged and not ends.listens:
        raise UserError(
            "this robot begins no episode by itself, and nobody is there to press Enter in between; leave --episodes "
            "out"
        )
    with Ticker("rollout", cfg.episodes, unit="control steps", per_iteration=control_steps) as tick:
        for number in range(cfg.episodes):
            if number and not control.robot.judged:
                ends.wait("put everything back, and press Enter for the next episode")
            if ends.asked():
                return
            found = control.episode(control_steps, first + number)
            if found.told:
                yield found
            tick(number + 1)


def _maker(cfg: RolloutConfig, policy: Any, logs: AnyMapping) -> Callable[[], Robot]:
    """What makes the robot, in the thread that it is called from."""
    if cfg.robot == "env":
        return partial(environment_of, policy.spec, policy.folder)
    kind, colon, place = cfg.robot.partition(":")
    if not colon or not place:
        raise UserError(f"--robot is {cfg.robot}, expected env, logs:FOLDER or MODULE:NAME")
    if kind == "logs":
        return partial(_recorded, Path(place), policy, logs)
    return partial(_foreign, kind, place, EnvConfig(options=cfg.options).arguments)


def environment_of(spec: Mapping[str, Any], bundle: Path) -> Judged:
    """The environment that a bundle's run was judged in; raises `UserError` where there was none."""
    logs = _logs(spec["origin"]["logs"], bundle)
    real = spec["origin"]["real"]
    if not real:
        raise UserError("the run of this policy had no environment; name a robot: --robot logs:FOLDER or MODULE:NAME")
    if isinstance(logs, mapping.Mapping):
        if logs.representation != "absolute":
            raise UserError(
                f"Push-T's environment is told targets, and the robot of these logs a {logs.representation}; "
                "`glocal evaluate` judges the run's policy in it, and --robot MODULE:NAME takes a robot of one's own"
            )
        names = {"agent": logs.state, "image": logs.camera, "action": logs.action, "pose": pose_of(logs)}
        read = {one["name"]: one["feature"] for one in spec["streams"]}
        features = {name: feature for name, feature in {**names, **read}.items() if feature is not None}
        env = PushT(PushTConfig(**real["pusht"]), tuple(real["picture"]))
        scale = TABLE / (np.array(logs.high) - np.array(logs.low))
        return PushTRobot(env, features, scale, -np.array(logs.low) * scale, HOLD / spec["hold"])
    cfg = EnvConfig(real["id"], tuple(real["options"]), real["success"], tuple(real["senses"]))
    entries = dict(one.split("=", 1) for one in cfg.senses)

    def entry_of(feature: str) -> str:
        return entries.get(feature, feature.removeprefix("observation."))

    drawn = any(entry_of(name) == RENDERED for name in spec["needs"])
    env = (make_filmed if drawn else make)(cfg.id, **cfg.arguments)
    shown = {one["feature"] for one in spec["cameras"]}
    shapes = {name: None if name in shown else tuple(shape) for name, shape in spec["needs"].items()}
    return EnvRobot(env, shapes, entry_of, cfg.success)


def _recorded(folder: Path, policy: Any, logs: AnyMapping) -> Robot:
    """Recorded logs of the same robot, read by their own mapping where they have one of its kind."""
    dataset = open_dataset(folder)
    if (folder / mapping.NAME).is_file() and isinstance(own := mappings.load(folder / mapping.NAME), type(logs)):
        logs = own
    told = [part["feature"] for part in policy.spec["action"]]
    told += [part.feature for part in logs.action] if isinstance(logs, RobotMapping) else [logs.action]
    state = [logs.state] if isinstance(logs, mapping.Mapping) and logs.state is not None else []
    names = list(dict.fromkeys([*policy.needs, *told, *state]))
    missing = [name for name in names if name not in dataset.features]
    if missing:
        raise UserError(
            f"{folder} has no {', '.join(missing)}, which the policy reads or tells; it has "
            f"{', '.join(dataset.features)}"
        )
    if (dataset.fps is not None and abs(dataset.fps - logs.fps) > 1e-3) or abs(logs.rate - policy.rate) > 1e-3:
        raise UserError(
            f"{folder} has {dataset.fps or logs.fps:g} steps a second and {logs.rate:g} control steps, expected "
            f"{logs.fps:g} and {policy.rate:g}; say so in {folder / mapping.NAME}"
        )
    asked = sum(len(part["columns"]) for part in policy.spec["action"])
    acted = logs.action_dim if isinstance(logs, RobotMapping) else len(logs.action_columns)
    if asked != acted:
        raise UserError(f"the actions of {folder} are {acted} numbers, the policy's {asked}; mend its mapping")
    return RecordedRobot(
        lambda number: dataset.episode(number, names),
        len(dataset),
        list(policy.needs),
        partial(_done, logs),
        (logs.stride, policy.hold),
    )


def _done(logs: AnyMapping, rows: Mapping[str, Array]) -> Array:
    """The actions (T, a), from -1 to 1, that were done in a recorded episode."""
    steps = mapping.moments(logs, len(next(iter(rows.values()))))
    if isinstance(logs, RobotMapping):
        done = streams.normalised(logs, streams.asked(logs, rows, steps))
    else:
        told, state = mapping.motion(logs, rows)
        done = mapping.ways(logs, told, state, steps) / logs.reach
    return np.clip(done, -1, 1)


def _foreign(module: str, name: str, options: Mapping[str, Any]) -> Robot:
    """Somebody's robot."""
    sys.path.insert(0, str(Path.cwd()))
    try:
        made = getattr(import_module(module), name)(**options)
    except (ImportError, AttributeError, TypeError) as error:
        raise UserError(f"--robot {module}:{name} cannot be made: {error}") from error
    finally:
        sys.path.pop(0)
    if not isinstance(made, Robot):
        raise UserError(f"{module}:{name} is no robot: it needs observe(), command(told) and stop()")
    check_judged(made)
    check_rewarded(made)
    return made


def _kept(
    episodes: Iterator[Episode], log: Path | None, policy: Any, logs: AnyMapping, control: Control
) -> list[Episode]:
    """All episodes, less what was sensed in them, which is written as logs where that is asked for.

    What ends it by an error is raised when what happened until then is written.
    """
    found: list[Episode] = []
    failed: list[Exception] = []

    def row_of(episode: Episode) -> dict[str, Array]:
        return {} if log is None else logged_rows(episode, policy, logs, control.robot.rewarded)

    def rows() -> Iterator[dict[str, Array]]:
        try:
            for episode in episodes:
                found.append(episode)
                yield row_of(episode)
                episode.seen.clear()
        except (UserError, ControlError, _errors()) as error:
            failed.append(error)
            if (last := control.episode_now).told and last not in found:
                found.append(last)
                yield row_of(last)

    written = rows()
    if (first := next(written, None)) is not None:
        if log is None:
            for _ in written:
                pass
        else:
            features = {name: Feature(x.shape[1:], str(x.dtype), picture=x.ndim == 4) for name, x in first.items()}
            write_lerobot(log, chain([first], written), Layout(policy.rate, features))
            if (known := logged_mapping(logs, set(first))) is not None:
                mappings.save(log / mapping.NAME, known)
    if failed:
        kept = f"; the {len(found)} episodes until then are in {log}" if log is not None and found else ""
        raise UserError(f"{failed[0]}{kept}") from failed[0]
    return found


def _summary(control: Control, policy: Any, episodes: Sequence[Episode]) -> dict[str, Any]:
    """What happened, in numbers."""
    found: dict[str, Any] = {"episodes": len(episodes), "control_steps": sum(len(one.told) for one in episodes)}
    robot = control.robot.robot
    if isinstance(robot, RecordedRobot):
        replays = [replay for one in episodes if len((replay := _replay(robot, one)).policy)]
        found |= compared(replays) if replays else {}
    elif control.robot.judged and episodes:
        found["seeds"] = [episodes[0].seed, episodes[-1].seed]
        found["success"] = wilson(sum(any(one.success) for one in episodes), len(episodes))
    found |= control.timing.summary()
    alarmed = [one.alarm.index(True) for one in episodes if any(one.alarm)]
    if not control.cfg.shadow:
        when = f", first in control step {min(alarmed)}" if alarmed else ""
        found["alarms"] = f"in {len(alarmed)} of {len(episodes)} episodes{when}"
    if policy.held_back:
        found["held_back"] = policy.held_back
    ended = [one.ended for one in episodes if one.ended and one.ended != "over"]
    return found | ({"ended": ended[-1]} if ended else {})


def _replay(robot: RecordedRobot, episode: Episode) -> Replay:
    """What a policy would have done in a recorded episode, beside what was done."""
    done = robot.asked(robot.load(episode.seed % robot.count))
    count = min(len(done), len(episode.action))
    return Replay(np.array(episode.action[:count]), done[:count])


def main(arguments: list[str]) -> None:
    """`glocal rollout BUNDLE ...`."""
    read_verb({"rollout": rollout}, ["rollout", *arguments], "glocal")
