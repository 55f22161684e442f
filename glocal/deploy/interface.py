"""What a robot shows a policy and is told by it, in the units and by the names of its logs."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from glocal.data.mapping import Mapping as PlanarMapping
from glocal.data.streams import RobotMapping
from glocal.deploy.controllers import Array
from glocal.tasks.pusht import HOLD, IMAGE_SIZE, KEYPOINTS, STEPS_A_SECOND, TABLE, PushTConfig

FPS = STEPS_A_SECOND / HOLD
"""Control steps per second of Push-T's own robot."""
NAMES = {"image": "observation.image", "keypoints": "observation.environment_state", "agent": "observation.state"}
"""What Push-T's own environment shows, as LeRobot calls it."""
POSE = "observation.pose"
"""How it calls where its block is, which policies never see."""
PUSHT = PlanarMapping(
    NAMES["image"], (IMAGE_SIZE, IMAGE_SIZE), NAMES["agent"], "action", FPS, FPS, reward="next.reward",
    reward_over="last", done="next.done",
)  # fmt: skip
"""How a dataset is read that Push-T's own episodes are written to, a step for every control step."""


@dataclass(frozen=True)
class Sensed:
    """Numbers of a feature, times `scale` and plus `offset`, that a model sees."""

    name: str
    feature: str
    columns: tuple[int, ...]
    scale: tuple[float, ...]
    offset: tuple[float, ...]


@dataclass(frozen=True)
class Shown:
    """The part (top, left, height, width) of a picture that is used, at the size that a model sees."""

    name: str
    feature: str
    crop: tuple[int, int, int, int] | None
    size: int
    filmed: bool
    """Whether it is seen as a video would have kept it."""


@dataclass(frozen=True)
class About:
    """Numbers of a feature that an action is added to."""

    feature: str
    columns: tuple[int, ...]


@dataclass(frozen=True)
class Told:
    """Numbers of what a robot is told: -1 of an action is `low` and 1 is `high`, over `steps` steps together."""

    feature: str
    columns: tuple[int, ...]
    width: int
    low: tuple[float, ...]
    high: tuple[float, ...]
    kind: str
    steps: int = 1
    about: About | None = None
    within: tuple[tuple[float, ...], tuple[float, ...]] | None = None
    """Limits that hold whatever it is added to."""


@dataclass(frozen=True)
class Interface:
    """What passes between a robot and a policy."""

    rate: float
    """Control steps per second."""
    hold: int
    """Steps of the logs in a control step, in each of which the robot is told the same."""
    needs: Mapping[str, tuple[int, ...]]
    """The shape of each feature that is read."""
    streams: tuple[Sensed, ...]
    cameras: tuple[Shown, ...]
    action: tuple[Told, ...]


def of_robot(mapping: RobotMapping, shapes: Mapping[str, Sequence[int]], reads: Sequence[str]) -> Interface:
    """Of any robot, whose logs' features have these `shapes`; `reads` names the streams and cameras that are read."""
    streams = tuple(
        Sensed(one.name, one.feature, one.columns, (1.0,) * len(one.columns), (0.0,) * len(one.columns))
        for one in mapping.streams
        if one.name in reads
    )
    cameras = tuple(
        Shown(one.name, one.feature, one.crop, one.size, one.filmed) for one in mapping.cameras if one.name in reads
    )
    action = tuple(
        Told(
            part.feature,
            part.columns,
            int(np.prod(shapes[part.feature])),
            part.low,
            part.high,
            part.kind,
            mapping.stride if part.kind == "delta" else 1,
        )
        for part in mapping.action
    )
    needs = {one.feature: tuple(shapes[one.feature]) for one in (*streams, *cameras)}
    return Interface(mapping.rate, mapping.stride, needs, streams, cameras, action)


def of_pusht(
    task: PushTConfig,
    logs: PlanarMapping | None,
    picture: tuple[int, int],
    reads: Sequence[str],
    shapes: Mapping[str, Sequence[int]],
) -> Interface:
    """Of a planar robot: Push-T's own environment, or where there are `logs`, the robot of these, whose camera makes
    pictures of this height and width. Its actions are deltas of the agent. Features of numbers have the `shapes` that
    are known, or else are as wide as what is read of them."""
    mapping = replace(PUSHT, reach=task.reach) if logs is None else logs
    state, columns = mapping.state or NAMES["agent"], mapping.state_columns
    scale = tuple(TABLE / (high - low) for low, high in zip(mapping.low, mapping.high, strict=True))
    offset = tuple(-low * s for low, s in zip(mapping.low, scale, strict=True))
    tracked = tuple(range(2 * KEYPOINTS))
    known = {
        "agent": Sensed("agent", state, columns, scale, offset),
        "keypoints": Sensed("keypoints", NAMES["keypoints"], tracked, (1.0,) * len(tracked), (0.0,) * len(tracked)),
    }
    streams = tuple(one for name, one in known.items() if name in reads)
    cameras = (Shown("image", mapping.camera, mapping.crop, mapping.size, False),) if "image" in reads else ()

    def shape(feature: str, read: Sequence[int]) -> tuple[int, ...]:
        return tuple(shapes.get(feature, (max(read) + 1,)))

    told = _planar(mapping, About(state, columns))
    told = replace(told, width=int(np.prod(shape(told.feature, told.columns))))
    needs: dict[str, tuple[int, ...]] = {one.feature: shape(one.feature, one.columns) for one in streams}
    needs |= {one.feature: (*picture, 3) for one in cameras}
    if told.about is not None:
        needs.setdefault(told.about.feature, shape(told.about.feature, told.about.columns))
    hold = HOLD if logs is None else logs.stride
    return Interface(mapping.rate, hold, needs, streams, cameras, (told,))


def _planar(mapping: PlanarMapping, state: About) -> Told:
    """What a planar robot is told of a delta of its agent."""
    columns, kind = mapping.action_columns, mapping.representation
    far = mapping.reach * (mapping.rate if kind == "velocity" else 1.0)
    told = Told(mapping.action, columns, max(columns) + 1, (-far,) * 2, (far,) * 2, kind)
    if kind == "absolute":
        return replace(told, about=state, within=(mapping.low, mapping.high))
    return replace(told, steps=mapping.stride) if kind == "delta" else told


def largest_change(action: Array, starts: Array) -> tuple[float, ...]:
    """By how much each number of recorded actions (rows, a) changed most from one control step of an episode to the
    next; episodes begin at `starts`, with a row of rest, and the last of these is where all end."""
    change = np.abs(np.diff(action, axis=0))
    rests = np.asarray(starts[:-1])
    within = np.ones(len(change), bool)
    within[rests[rests < len(change)]] = False
    within[rests[1:] - 1] = False
    most = change[within].max(0) if within.any() else np.full(action.shape[1], 2.0)
    return tuple(float(x) for x in most)
