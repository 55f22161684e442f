"""A run's episodes as LeRobotDataset v3.0: those it was trained on, or imagined ones (`glocal data export`)."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from itertools import chain
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import torch
import tyro
from torch import Tensor

from glocal.core.ranges import Many, Range
from glocal.data import mapping, mappings
from glocal.data.dataset import Array, Feature
from glocal.data.formats.lerobot_writer import Layout, write_lerobot
from glocal.data.streams import RobotMapping, over_control_step, to_features
from glocal.deploy.controllers import acting
from glocal.deploy.interface import FPS, NAMES, PUSHT
from glocal.evaluate.gradients import acted
from glocal.pipeline import build
from glocal.pipeline.config import RobotConfig
from glocal.pipeline.run import is_finished, open_run
from glocal.pipeline.run_dir import Run
from glocal.pipeline.usage import read_verb
from glocal.runtime.files import UserError
from glocal.runtime.progress import Ticker, console
from glocal.tasks.pusht import TABLE, PushTConfig

XY = ("x", "y")
AT_ONCE = 16
"""Imagined episodes that are drawn again side by side."""


def export(
    run: tyro.conf.Positional[Path],
    out: tyro.conf.Positional[Path],
    imagined: Many = 0,
    control_steps: Annotated[int, Range(0, 10_000)] = 0,
    codec: Literal["h264", "av1"] = "h264",
) -> None:
    """Write a run's episodes, a step for every control step: recorded ones, or imagined ones of its policy.

    Actions are in the robot's own units, of a planar robot the targets in pixels that they send the agent to; rewards
    of imagined episodes are the global model's.

    Args:
        run: The folder of a run.
        out: The folder to write; it must not exist.
        imagined: Episodes to imagine, from moments spread over the held-out recordings; 0 for what was recorded.
        control_steps: In an imagined episode; 0 for as many as a real one has.
        codec: Of the videos: h264 or av1.
    """
    known = open_run(run)
    task = known.config.task
    if isinstance(task, PushTConfig) and "agent" not in known.codec.reads and imagined == 0:
        raise UserError(f"{run} observes images alone, and was not told where the agent is; export --imagined episodes")
    if imagined:
        check_imagined(known, "leave --imagined out to export what was recorded")
        _say_unfinished(known)
    count = imagined or len(known.store)
    steps = (control_steps or known.config.task.control_steps) if imagined else round(len(known.observations) / count)
    episodes = _imagined(known, imagined, steps) if imagined else _recorded(known)
    first = next(episodes)
    with Ticker("export", count, unit="steps", per_iteration=steps) as tick:
        written = write_lerobot(
            out, _counted(chain([first], episodes), tick), Layout(rate_of(known), features_of(first), codec=codec)
        )
    save_mapping(known, first, out)
    console.print(f"{written} {'imagined' if imagined else 'recorded'} episodes are in {out}")


def check_imagined(run: Run, instead: str) -> None:
    """Raise `UserError` where imagined episodes of a run cannot be written as logs, and say what to do instead."""
    if not run.codec.draws:
        raise UserError(f"{run.folder} tells where things are and draws no pictures, which its logs have; {instead}")
    if isinstance(run.config.task, PushTConfig) and "agent" not in build.build_spec(run.config).names:
        raise UserError(
            f"{run.folder} does not say where the agent is, so that its actions cannot be told in pixels; {instead}"
        )


def save_mapping(run: Run, episode: Mapping[str, Array], out: Path) -> None:
    """Write beside a dataset of such episodes how it is to be read."""
    task = run.config.task
    if isinstance(task, RobotConfig):
        mappings.save(out / mapping.NAME, _exported(task.mapping))
    elif NAMES["image"] in episode:
        mapping.save(out / mapping.NAME, replace(PUSHT, reach=task.reach))


def _exported(known: RobotMapping) -> RobotMapping:
    """How what is exported is to be read: as the run's own logs are, a step for every control step."""
    return replace(
        known, fps=known.rate, outcomes_at="action", leave_out=(), reward="next.reward", reward_over="last",
        done="next.done", ends=False, success=None,
    )  # fmt: skip


def rate_of(run: Run) -> float:
    """Control steps per second."""
    return run.config.task.mapping.rate if isinstance(run.config.task, RobotConfig) else FPS


def _say_unfinished(run: Run) -> None:
    """Say so where the policy, or the model that imagines, is one that is still being trained, or was cut off."""
    unfinished = [name for name in ("global", "policy") if not is_finished(run, name)]
    if unfinished:
        console.print(
            f"note: the training of {', '.join(unfinished)} in {run.folder} is not finished; what is imagined is by "
            "what was learned so far",
            soft_wrap=True,
        )


def _counted(episodes: Iterable[dict[str, Array]], tick: Ticker) -> Iterator[dict[str, Array]]:
    for number, episode in enumerate(episodes):
        yield episode
        tick(number + 1)


def features_of(episode: Mapping[str, Array]) -> dict[str, Feature]:
    """The features of a dataset of such episodes."""
    return {
        name: Feature(x.shape[1:], str(x.dtype), picture=x.ndim == 4, names=XY if x.shape[1:] == (2,) else None)
        for name, x in episode.items()
    }


def _recorded(run: Run) -> Iterator[dict[str, Array]]:
    for number in range(len(run.store)):
        rows = run.store.episode(number)
        names = run.codec.reads if isinstance(run.config.task, RobotConfig) else NAMES
        seen = {name: np.asarray(rows[name][:-1]) for name in names if name in rows}
        labels = (np.asarray(rows[name][1:]) for name in ("action", "reward", "cont"))
        yield episode_rows(run, seen, *labels)


def _imagined(run: Run, count: int, control_steps: int) -> Iterator[dict[str, Array]]:
    policy, world = run.policy("policy"), run.world()
    moments = run.for_world(run.experience[1]).spread(count, run.config.world.context)
    if len(moments.reward) < count:
        raise UserError(
            f"only {len(moments.reward)} held-out moments are there to begin {count} imagined episodes from"
        )
    for begin in range(0, count, AT_ONCE):
        window = moments[begin : begin + AT_ONCE]
        act = acting(policy, run.config.cloning.forget)
        happened = acted(act, world, policy.surrogate, window, control_steps, run.config.seed + begin)
        for i in range(len(window.reward)):
            before = _before(window.obs[i, -1:], happened.seen.obs[i])
            seen = {name: field.cpu().numpy() for name, field in run.codec.decode(before).items()}
            labels = (happened.action[i], happened.seen.reward[i], happened.seen.cont[i])
            yield episode_rows(run, seen, *(x.detach().cpu().numpy() for x in labels))


def _before(first: Tensor, after: Tensor) -> Tensor:
    """What was seen when each action was chosen, (T, d)."""
    return torch.cat([first, after[:-1]])


def episode_rows(run: Run, seen: Mapping[str, Array], action: Array, reward: Array, cont: Array) -> dict[str, Any]:
    """Rows of what was seen, what was told on it, and what came of that."""
    task = run.config.task
    if isinstance(task, RobotConfig):
        sensed, told = to_features(task.mapping, seen), over_control_step(task.mapping, action)
        reward = reward * task.mapping.reward_scale
    else:
        sensed = {NAMES.get(name, f"observation.{name}"): x for name, x in seen.items()}
        told = {"action": np.clip(seen["agent"] + task.reach * np.clip(action, -1, 1), 0, TABLE)}
    fields = {name: x if x.dtype == np.uint8 else x.astype(np.float32) for name, x in sensed.items()}
    done = cont < 0.5
    done[-1] = True
    return (
        fields
        | {name: x.astype(np.float32) for name, x in told.items()}
        | {
            "next.reward": reward.astype(np.float32)[:, None],
            "next.done": done[:, None],
        }
    )


def main(arguments: list[str]) -> None:
    """`glocal data export ...`."""
    read_verb({"export": export}, ["export", *arguments], "glocal data")
