"""What a robot senses and is told, as its logs name it: any numbers of any features, at the rate of control steps.

A `RobotMapping` stands beside the logs as `glocal.json`, like the `Mapping` of a planar robot, from which it is told by
its `streams`. `propose_robot` guesses it, a person may correct it, and it travels with the run.
"""

import typing
from dataclasses import dataclass
from typing import Annotated, Any, Literal

import cattrs
import numpy as np

from glocal.core.ranges import Finite, Positive, Range
from glocal.data.dataset import Array, Dataset, Feature
from glocal.data.findings import few
from glocal.data.mapping import Column, Side, moments, numbers, outcomes, several, shown, structured
from glocal.data.outcomes import At, Over

Kind = Literal["absolute", "delta", "velocity"]
FIELDS = ("action", "reward", "cont", "success")
"""Names that streams cannot have: a store has them already."""
OUTCOMES = ("reward", "done", "success")


@dataclass(frozen=True)
class Stream:
    """One thing that a robot senses."""

    name: str
    """What models and reports call it."""
    feature: str
    columns: tuple[Column, ...]
    """Which of the feature's numbers."""


@dataclass(frozen=True)
class Camera:
    """One camera that sees the robot, or that it carries."""

    name: str
    """What models and reports call it."""
    feature: str
    crop: tuple[Column, Column, Side, Side] | None = None
    """Top, left, height and width of the part of a picture that is used; all of it where nothing is said."""
    size: Annotated[int, Range(16, 512)] = 64
    """Side of the pictures that models see, a power of two."""
    filmed: bool = False
    """Whether the logs keep videos: what a camera shows live is then seen as a video would have kept it."""


@dataclass(frozen=True)
class ActionPart:
    """Numbers that a robot is told, with what they mean and how large they can be."""

    feature: str
    columns: tuple[Column, ...]
    low: tuple[Finite, ...]
    """What an action of -1 stands for, of each number; of a delta, over a whole control step."""
    high: tuple[Finite, ...]
    kind: Kind = "absolute"
    """Where the robot is to be (a gripper's width, too), by how much it is to move in a step, or how fast."""


@dataclass(frozen=True)
class RobotMapping:
    """How a dataset's features become observations, actions and outcomes."""

    streams: tuple[Stream, ...] = ()
    action: tuple[ActionPart, ...] = ()
    fps: Positive = 10.0
    """Of the dataset."""
    rate: Positive = 10.0
    """Control steps per second; the dataset's rate has to be a multiple of it."""
    reward: str | None = None
    reward_over: Over = "largest"
    """How the rewards of the recorded steps in a control step become one, as in `Mapping`."""
    reward_scale: Positive = 1.0
    """What rewards are divided by, so that they are of about one."""
    outcomes_at: At = "action"
    done: str | None = None
    success: str | None = None
    ends: bool = False
    """Whether `done` says that no reward can follow, as after a fall; in most logs it says where recording stopped."""
    leave_out: tuple[Annotated[int, Range(0, 10_000_000)], ...] = ()
    """Episodes that are not used."""
    cameras: tuple[Camera, ...] = ()
    """What presets of pictures see beside the streams; others leave them out, and say so."""

    @property
    def stride(self) -> int:
        """Recorded steps in a control step."""
        return max(1, round(self.fps / self.rate))

    @property
    def action_dim(self) -> int:
        """Numbers in an action."""
        return sum(len(part.columns) for part in self.action)

    def episodes(self, count: int) -> list[int]:
        """Those of so many that are used."""
        return [number for number in range(count) if number not in self.leave_out]


def to_dict(mapping: RobotMapping) -> dict[str, Any]:
    """A mapping as plain values, for JSON."""
    return cattrs.Converter().unstructure(mapping)


def from_dict(values: Any, source: object) -> RobotMapping:
    """The mapping that `to_dict` made; raises `UserError` naming `source` where it does not fit."""
    return structured(values, RobotMapping, impossible, source)


def impossible(mapping: RobotMapping) -> list[str]:
    """What parts of a mapping cannot be together, whatever the dataset."""
    wrong = []
    names = [one.name for one in (*mapping.streams, *mapping.cameras)]
    for name in dict.fromkeys(names):
        if not name.isidentifier() or name in FIELDS:
            wrong.append(f"a stream or camera is called {name!r}, expected a word, and none of {', '.join(FIELDS)}")
        if names.count(name) > 1:
            wrong.append(f"{names.count(name)} streams and cameras are called {name!r}, expected a name for each")
    if not names:
        wrong.append("there are no streams and no cameras: nothing is observed")
    wrong += [
        f"camera {camera.name} has size {camera.size}, expected a power of two"
        for camera in mapping.cameras
        if camera.size & (camera.size - 1)
    ]
    if not mapping.action:
        wrong.append("there is no action: nothing is told")
    for stream in mapping.streams:
        wrong += _columns(f"stream {stream.name}", stream.columns)
    for part in mapping.action:
        wrong += _columns(f"action {part.feature}", part.columns) or _limits(part)
    told = [(part.feature, column) for part in mapping.action for column in part.columns]
    wrong += [
        f"action {name} {column} is named twice" for name, column in sorted(set(told)) if told.count((name, column)) > 1
    ]
    if mapping.rate > mapping.fps:
        wrong.append(f"rate is {mapping.rate:g} control steps a second, expected at most the {mapping.fps:g} of fps")
    return wrong


def _columns(what: str, columns: tuple[int, ...]) -> list[str]:
    if columns and len(set(columns)) == len(columns):
        return []
    return [f"{what} has the columns {columns}, expected at least one, each once"]


def _limits(part: ActionPart) -> list[str]:
    count = len(part.columns)
    if len(part.low) != count or len(part.high) != count:
        found = f"{len(part.low)} low and {len(part.high)} high limits"
        return [f"action {part.feature} has {found}, expected {count} of each, one for each of its columns"]
    pairs = zip(part.columns, part.low, part.high, strict=True)
    return [
        f"action {part.feature} {column} goes from {low:g} to {high:g}, expected the low limit below the high one"
        for column, low, high in pairs
        if not low < high
    ]


def misfits(mapping: RobotMapping, dataset: Dataset) -> list[str]:
    """What of a mapping does not fit a dataset, in words; empty if all does."""
    features, wrong = dataset.features, impossible(mapping)
    for what, name, columns in _named(mapping):
        if name not in features:
            wrong.append(f"{what} is {name!r}, which the dataset has not; it has {', '.join(features)}")
        elif features[name].picture != what.startswith("camera"):
            holds = ("pictures", "numbers") if features[name].picture else ("numbers", "pictures")
            wrong.append(f"{what} is {name!r}, which holds {holds[0]}, expected {holds[1]}")
        elif columns and max(columns) >= numbers(features[name]):
            wrong.append(f"{what} has the columns {columns}, but {name} has {numbers(features[name])} numbers")
        elif what in OUTCOMES:
            wrong += several(what, name, features[name])
    wrong += _given_away(mapping)
    lost = [number for number in mapping.leave_out if number >= len(dataset)]
    if lost:
        wrong.append(f"leave_out names {few(lost)}, but there are {len(dataset)} episodes, from 0 on")
    wrong += [line for camera in mapping.cameras for line in _beyond(camera, features)]
    if dataset.fps is not None and abs(dataset.fps - mapping.fps) > 1e-3:
        wrong.append(f"fps is {mapping.fps:g}, the dataset's is {dataset.fps:g}")
    if abs(mapping.fps / mapping.rate - mapping.stride) > 1e-3:
        wrong.append(f"{mapping.fps:g} steps a second are no multiple of {mapping.rate:g} control steps a second")
    if mapping.ends and mapping.done is None:
        wrong.append("ends is true, but no feature is named that says done")
    return wrong


def _given_away(mapping: RobotMapping) -> list[str]:
    """Streams that read what the robot is told, or what comes of that, in words."""
    hidden = {part.feature: "action" for part in mapping.action}
    hidden |= {name: role for role in OUTCOMES if (name := getattr(mapping, role)) is not None}
    return [
        f"stream {stream.name} reads {stream.feature}, which is the {hidden[stream.feature]}; expected what is observed"
        for stream in mapping.streams
        if stream.feature in hidden
    ]


def _beyond(camera: Camera, features: typing.Mapping[str, Feature]) -> list[str]:
    """Where a crop reaches beyond the pictures, in words."""
    feature = features.get(camera.feature)
    if camera.crop is None or feature is None or not feature.picture:
        return []
    top, left, height, width = camera.crop
    if top + height <= feature.shape[0] and left + width <= feature.shape[1]:
        return []
    return [f"camera {camera.name} has the crop {camera.crop}, which reaches beyond pictures of {feature.shape[:2]}"]


def _named(mapping: RobotMapping) -> typing.Iterator[tuple[str, str, tuple[int, ...]]]:
    """Each feature that a mapping names: what for, its name, and which of its numbers."""
    for stream in mapping.streams:
        yield f"stream {stream.name}", stream.feature, stream.columns
    for camera in mapping.cameras:
        yield f"camera {camera.name}", camera.feature, ()
    for part in mapping.action:
        yield "action", part.feature, part.columns
    for role in OUTCOMES:
        if (name := getattr(mapping, role)) is not None:
            yield role, name, ()


def features_of(mapping: RobotMapping) -> list[str]:
    """The features that a mapping names."""
    return list(dict.fromkeys(name for _, name, _ in _named(mapping)))


def unused(mapping: RobotMapping, dataset: Dataset) -> list[str]:
    """What of a dataset is not used, in words."""
    said, used = [], {}
    for _, name, columns in _named(mapping):
        used.setdefault(name, set()).update(columns or range(numbers(dataset.features[name])))
    for name, feature in dataset.features.items():
        count = numbers(feature)
        if name not in used:
            what = "pictures" if feature.picture else f"all {count} numbers"
            said.append(f"{name} is not used ({what})")
        elif len(used[name]) < count:
            left = ", ".join(str(i) for i in range(count) if i not in used[name])
            said.append(f"{name} {left} of {count} numbers are not used")
    if mapping.leave_out:
        said.append(f"{len(mapping.leave_out)} of {len(dataset)} episodes are left out")
    return said


def apply(
    mapping: RobotMapping, found: typing.Mapping[str, Array], final: typing.Mapping[str, Array] | None = None
) -> dict[str, Array]:
    """An episode's features as the episode store keeps them: a row for each control step after the first observation.

    Fields are each stream, each camera's pictures as models see them (size, size, 3), `action`, `cont` and, where they
    are known, `reward` and `success`. `final` is what was observed after the last step, (1, ...), where that was
    recorded. Raises `ValueError` where there is no control step.
    """
    seen = _observed(mapping, found, final or {})
    rows = moments(mapping, len(next(iter(seen.values()))))
    if len(rows) < 2:
        steps = len(found[mapping.action[0].feature])
        raise ValueError(f"{steps} steps are too few for one control step")
    told = np.clip(normalised(mapping, asked(mapping, found, rows)), -1, 1)
    fields = {stream.name: seen[stream.name][rows].astype(np.float32) for stream in mapping.streams}
    fields |= {one.name: np.stack([shown(one, x) for x in seen[one.name][rows]]) for one in mapping.cameras}
    fields["action"] = np.concatenate([np.zeros((1, mapping.action_dim)), told]).astype(np.float32)
    fields |= outcomes(mapping, found, rows)
    if "reward" in fields:
        fields["reward"] = (fields["reward"] / mapping.reward_scale).astype(np.float32)
    return fields


def _observed(
    mapping: RobotMapping, found: typing.Mapping[str, Array], final: typing.Mapping[str, Array]
) -> dict[str, Array]:
    """Each stream (steps, d) and camera (steps, h, w, 3) before each step, and after the last one where all of that was
    recorded."""
    sensed = [(one.name, one.feature) for one in (*mapping.streams, *mapping.cameras)]
    whole = mapping.outcomes_at == "action" and all(feature in final for _, feature in sensed)
    seen = {
        name: np.concatenate([found[feature], final[feature]]) if whole else found[feature] for name, feature in sensed
    }
    for stream in mapping.streams:
        rows = seen[stream.name]
        seen[stream.name] = rows.reshape(len(rows), -1)[:, list(stream.columns)]
    return seen


def asked(mapping: RobotMapping, found: typing.Mapping[str, Array], rows: Array) -> Array:
    """What each control step of an episode, between `rows`, asks for, (control steps, a) in the robot's own units.

    Of the steps in a control step, absolute targets and velocities count by their mean, deltas by their sum.
    """
    parts = []
    for part in mapping.action:
        steps = found[part.feature]
        told = steps.reshape(len(steps), -1)[:, list(part.columns)].astype(np.float64)
        total = np.add.reduceat(told[: rows[-1]], rows[:-1])
        parts.append(total if part.kind == "delta" else total / np.diff(rows)[:, None])
    return np.concatenate(parts, axis=1)


def limits(mapping: RobotMapping) -> tuple[Array, Array]:
    """What an action of -1 and of 1 stands for, (a,) each."""
    low, high = (np.concatenate([getattr(part, end) for part in mapping.action]) for end in ("low", "high"))
    return low.astype(np.float64), high.astype(np.float64)


def normalised(mapping: RobotMapping, told: Array) -> Array:
    """Actions (..., a) in the robot's own units as models see them: -1 and 1 at their limits, which some may exceed."""
    low, high = limits(mapping)
    return 2 * (told - low) / (high - low) - 1


def to_robot(mapping: RobotMapping, action: Array) -> dict[str, Array]:
    """What the robot is told in each step of a control step for actions (..., a) in [-1, 1], by feature, its numbers in
    the order of the logs; numbers of a feature that are no part of the action are zero."""
    return _by_feature(mapping, action, [mapping.stride if part.kind == "delta" else 1 for part in mapping.action])


def to_features(mapping: RobotMapping, seen: typing.Mapping[str, Array]) -> dict[str, Array]:
    """What streams (..., d) and cameras (..., h, w, 3) show, by feature, numbers in the order of the logs.

    Those of a feature that no stream reads are zero. A camera whose feature another one shows is called by its name.
    """
    features: dict[str, Array] = {}
    for stream in mapping.streams:
        width = max(max(one.columns) for one in mapping.streams if one.feature == stream.feature) + 1
        shape = (*seen[stream.name].shape[:-1], width)
        features.setdefault(stream.feature, np.zeros(shape, np.float32))[..., list(stream.columns)] = seen[stream.name]
    for camera in mapping.cameras:
        taken = camera.feature in features
        features[f"observation.images.{camera.name}" if taken else camera.feature] = seen[camera.name]
    return features


def over_control_step(mapping: RobotMapping, action: Array) -> dict[str, Array]:
    """The same over a whole control step, in which deltas add up."""
    return _by_feature(mapping, action, [1] * len(mapping.action))


def _by_feature(mapping: RobotMapping, action: Array, steps: typing.Sequence[int]) -> dict[str, Array]:
    low, high = limits(mapping)
    told, begin = low + (np.clip(action, -1, 1) + 1) / 2 * (high - low), 0
    width: dict[str, int] = {}
    for part in mapping.action:
        width[part.feature] = max(width.get(part.feature, 0), max(part.columns) + 1)
    features = {name: np.zeros((*told.shape[:-1], count)) for name, count in width.items()}
    for part, over in zip(mapping.action, steps, strict=True):
        features[part.feature][..., list(part.columns)] = told[..., begin : begin + len(part.columns)] / over
        begin += len(part.columns)
    return features
