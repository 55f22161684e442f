"""What happened in a rollout as logs hold it."""

from dataclasses import replace
from typing import Any

import numpy as np

from glocal.data.mapping import Mapping
from glocal.data.outcomes import of_parts
from glocal.data.streams import RobotMapping
from glocal.deploy.control import Episode
from glocal.deploy.controllers import Array
from glocal.deploy.interface import POSE

AnyMapping = Mapping | RobotMapping
REWARD = "next.reward"


def logged_rows(episode: Episode, policy: Any, logs: AnyMapping, rewarded: bool) -> dict[str, Array]:
    """An episode as logs hold it: a row for each control step, over which deltas are added up.

    Where the robot is `rewarded`, what control steps were worth is told of its commands as `logs` tell it of steps.
    """
    labels = [name for name in (pose_of(logs),) if name is not None and name in episode.seen[0]]
    names = dict.fromkeys([*policy.needs, *labels])
    seen = {name: np.stack([np.asarray(one[name]) for one in episode.seen]) for name in names}
    told = {
        name: np.stack([np.where(deltas, policy.hold, 1) * one[name] for one in episode.told])
        for name, deltas in policy.deltas.items()
    }
    worth = {REWARD: of_parts(episode.rewards, logs.reward_over)[:, None]} if rewarded else {}
    rows = {name: x if x.dtype == np.uint8 else x.astype(np.float32) for name, x in {**seen, **told, **worth}.items()}
    done = _last(len(episode.told), episode.terminal or not logs.ends)
    return {**rows, "next.success": np.array(episode.success)[:, None], "next.done": done}


def _last(count: int, over: bool) -> Array:
    done = np.zeros((count, 1), bool)
    done[-1] = over
    return done


def pose_of(logs: AnyMapping) -> str | None:
    """What a planar robot's logs call the pose of what it moves."""
    return None if isinstance(logs, RobotMapping) else logs.pose or POSE


def logged_mapping(logs: AnyMapping, written: set[str]) -> AnyMapping | None:
    """How what was written is to be read: a step for every control step; None where what it is of is not in it."""
    known = replace(
        logs, fps=logs.rate, outcomes_at="action", leave_out=(), reward=REWARD if REWARD in written else None,
        reward_over="last", done="next.done", success="next.success",
    )  # fmt: skip
    if isinstance(known, RobotMapping):
        streams_of = tuple(one for one in known.streams if one.feature in written)
        return replace(known, streams=streams_of, cameras=tuple(one for one in known.cameras if one.feature in written))
    if known.camera not in written or known.state not in written:
        return None
    pose = pose_of(logs)
    return replace(known, pose=pose if pose in written else None)
