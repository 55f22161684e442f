"""What happened in a rollout as logs hold it."""

from dataclasses import replace
from typing import Any

import numpy as np

from glocal.data.mapping import Mapping
from glocal.data.streams import RobotMapping
from glocal.deploy.control import Episode
from glocal.deploy.controllers import Array

AnyMapping = Mapping | RobotMapping


def logged_rows(episode: Episode, policy: Any) -> dict[str, Array]:
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


def logged_mapping(logs: AnyMapping, written: set[str]) -> AnyMapping | None:
    """How what was written is to be read: a step for every control step; None where what it is of is not in it."""
    known = replace(
        logs, fps=logs.rate, outcomes_at="action", leave_out=(), reward=None, done="next.done", ends=False,
        success="next.success",
    )  # fmt: skip
    if isinstance(known, RobotMapping):
        streams_of = tuple(one for one in known.streams if one.feature in written)
        return replace(known, streams=streams_of, cameras=tuple(one for one in known.cameras if one.feature in written))
    if known.camera not in written or known.state not in written:
        return None
    return known if known.pose in written else replace(known, pose=None)
