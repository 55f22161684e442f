"""An exported policy on a robot, on the environment that stands for it, or on recorded logs (`glocal rollout`)."""

import signal
import sys
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
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
from glocal.deploy.control import Control, ControlConfig, ControlError, Episode, Guarded
from glocal.deploy.controllers import Array
from glocal.deploy.replay import Replay, compared
from glocal.deploy.robots import EnvRobot, Judged, PushTRobot, RecordedRobot, Robot
from glocal.evaluate.intervals import wilson
from glocal.pipeline.config import EnvConfig, EvaluateConfig
from glocal.pipeline.usage import read_verb
from glocal.runtime.files import UserError, write_json
from glocal.runtime.progress import Ticker, console
from glocal.tasks.pusht import PushT, PushTConfig
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

    Enter, Ctrl-C or a SIGTERM ends it after the control step; the robot is stopped whatever ends it.

    Args:
        bundle: A folder that `glocal export` wrote.
    """
    policy = _policy(bundle, cfg.careful)
    if cfg.log is not None and cfg.log.exists():
        raise UserError(f"{cfg.log} exists; name another folder with --log, or remove it")
    logs = _logs(policy.spec["origin"]["logs"], bundle)
    replays = cfg.robot.startswith("logs:")
    own = cfg.robot == "env" or replays
    if replays and (cfg.control.hz or cfg.control.shadow):
        raise UserError("recorded logs go on at their own rate whatever is told; leave --control.hz and .shadow out")
    control = replace(cfg.control, realtime=cfg.control.realtime and (cfg.realtime or not own))
    steps = cfg.control_steps or int(policy.spec["origin"]["control_steps"])
    try:
        robot = Guarded(_maker(cfg, policy, logs), control.patience if control.realtime else None)
        with _stopping() as stopped:
            runner = Control(policy, robot, control, stopped)
            first = (0 if replays else EvaluateConfig.first_seed) if cfg.seed is None else cfg.seed
            happened = _episodes(runner, cfg.episodes, steps, first, stopped)
            episodes = list(_kept(happened, cfg.log, policy, logs))
    except (ControlError, _errors()) as error:
        raise UserError(f"{error}") from error
    found = _summary(runner, policy, episodes, robot.robot, logs)
    if cfg.log is not None:
        write_json(cfg.log / "rollout.json", found)
    for name, value in found.items():
        console.print(f"{name}: {value}", soft_wrap=True, highlight=False)


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


def _episodes(
    control: Control, count: int, control_steps: int, first_seed: int, stopped: Callable[[], bool]
) -> Iterator[Episode]:
    """One after the other, until somebody stops it."""
    with Ticker("rollout", count, unit="control steps", per_iteration=control_steps) as tick:
        for number in range(count):
            found = control.episode(control_steps, first_seed + number)
            if found.told:
                yield found
            tick(number + 1)
            if stopped():
                return


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
        names = {"agent": logs.state, "image": logs.camera, "action": logs.action}
        read = {one["name"]: one["feature"] for one in spec["streams"]}
        features = {name: feature for name, feature in {**names, **read}.items() if feature is not None}
        env = PushT(PushTConfig(**real["pusht"]), tuple(real["picture"]))
        scale = 512 / (np.array(logs.high) - np.array(logs.low))
        return PushTRobot(env, features, scale, -np.array(logs.low) * scale)
    cfg = EnvConfig(real["id"], tuple(real["options"]), real["success"], tuple(real["senses"]))
    entries = dict(one.split("=", 1) for one in cfg.senses)

    def entry_of(feature: str) -> str:
        return entries.get(feature, feature.removeprefix("observation."))

    drawn = any(entry_of(name) == RENDERED for name in spec["needs"])
    env = (make_filmed if drawn else make)(cfg.id, **cfg.arguments)
    return EnvRobot(env, {name: tuple(shape) for name, shape in spec["needs"].items()}, entry_of, cfg.success)


def _recorded(folder: Path, policy: Any, logs: AnyMapping) -> Robot:
    """Recorded logs of the same robot."""
    dataset = open_dataset(folder)
    told = [part["feature"] for part in policy.spec["action"]]
    state = [logs.state] if isinstance(logs, mapping.Mapping) and logs.state is not None else []
    names = list(dict.fromkeys([*policy.needs, *told, *state]))
    missing = [name for name in names if name not in dataset.features]
    if missing:
        raise UserError(
            f"{folder} has no {', '.join(missing)}, which the policy reads or tells; it has "
            f"{', '.join(dataset.features)}"
        )
    if dataset.fps is not None and abs(dataset.fps - logs.fps) > 1e-3:
        raise UserError(f"{folder} has {dataset.fps:g} steps a second, the policy's logs had {logs.fps:g}")
    return RecordedRobot(lambda number: dataset.episode(number, names), len(dataset), list(policy.needs))


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
    return made


@contextmanager
def _stopping() -> Iterator[Callable[[], bool]]:
    """Says whether somebody asked for an end, by a signal or by the key Enter."""
    asked = threading.Event()
    before = {one: signal.signal(one, lambda *_: asked.set()) for one in (signal.SIGINT, signal.SIGTERM)}
    if sys.stdin is not None and sys.stdin.isatty():
        threading.Thread(target=lambda: (sys.stdin.readline(), asked.set()), daemon=True).start()
    try:
        yield asked.is_set
    finally:
        for one, handler in before.items():
            signal.signal(one, handler)


def _kept(episodes: Iterator[Episode], log: Path | None, policy: Any, logs: AnyMapping) -> Iterator[Episode]:
    """The same episodes, written as logs where that is asked for, once all are over."""
    if log is None:
        yield from episodes
        return
    found: list[Episode] = []

    def rows() -> Iterator[dict[str, Array]]:
        for episode in episodes:
            found.append(episode)
            yield _rows(episode, policy)

    written = rows()
    first = next(written, None)
    if first is not None:
        features = {name: Feature(x.shape[1:], str(x.dtype), picture=x.ndim == 4) for name, x in first.items()}
        write_lerobot(log, chain([first], written), Layout(policy.rate, features))
        mappings.save(log / mapping.NAME, _read_again(logs))
    yield from found


def _rows(episode: Episode, policy: Any) -> dict[str, Array]:
    """An episode as logs hold it: a row for each control step, over which deltas are added up."""
    seen = {name: np.stack([np.asarray(one[name]) for one in episode.seen]) for name in policy.needs}
    told = {
        name: np.stack([np.where(deltas, policy.hold, 1) * one[name] for one in episode.told])
        for name, deltas in policy.deltas.items()
    }
    rows = {name: x if x.dtype == np.uint8 else x.astype(np.float32) for name, x in {**seen, **told}.items()}
    return {**rows, "next.success": np.array(episode.success)[:, None], "next.done": _last(len(episode.told))}


def _last(count: int) -> Array:
    done = np.zeros((count, 1), bool)
    done[-1] = True
    return done


def _read_again(logs: AnyMapping) -> AnyMapping:
    """How what was written is to be read: a step for every control step."""
    return replace(
        logs, fps=logs.rate, outcomes_at="action", leave_out=(), reward=None, done="next.done", ends=False,
        success="next.success",
    )  # fmt: skip


def _summary(
    control: Control, policy: Any, episodes: Sequence[Episode], robot: Robot, logs: AnyMapping
) -> dict[str, Any]:
    """What happened, in numbers."""
    found: dict[str, Any] = {"episodes": len(episodes), "control_steps": sum(len(one.told) for one in episodes)}
    if isinstance(robot, RecordedRobot):
        pairs = zip(episodes, robot.replayed, strict=False)
        found |= compared([_replay(one, rows, logs) for one, rows in pairs]) if episodes else {}
    elif control.judged and episodes:
        found["success"] = wilson(sum(any(one.success) for one in episodes), len(episodes))
    found |= control.timing.summary()
    alarmed = [one.alarm.index(True) for one in episodes if any(one.alarm)]
    found["alarms"] = f"in {len(alarmed)} of {len(episodes)} episodes" + (
        f", first in control step {min(alarmed)}" if alarmed else ""
    )
    if policy.held_back:
        found["held_back"] = policy.held_back
    ended = [one.ended for one in episodes if one.ended and one.ended != "over"]
    return found | ({"ended": ended[-1]} if ended else {})


def _replay(episode: Episode, rows: Mapping[str, Array], logs: AnyMapping) -> Replay:
    """What a policy would have done in a recorded episode, beside what was done."""
    steps = mapping.moments(logs, len(next(iter(rows.values()))))
    if isinstance(logs, RobotMapping):
        recorded = streams.normalised(logs, streams.asked(logs, rows, steps))
    else:
        told, state = mapping.motion(logs, rows)
        recorded = mapping.ways(logs, told, state, steps) / logs.reach
    count = min(len(recorded), len(episode.action))
    return Replay(np.stack(episode.action[:count]), np.clip(recorded[:count], -1, 1))


def main(arguments: list[str]) -> None:
    """`glocal rollout BUNDLE ...`."""
    read_verb({"rollout": rollout}, ["rollout", *arguments], "glocal")
