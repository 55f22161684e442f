"""From a dataset to a task: which camera, which numbers, which rate; one small file beside the data.

`data.propose` guesses it, a person may mend it, `check` says what does not fit, and it travels into every checkpoint.
"""

import typing
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import cattrs
import cv2
import numpy as np

from glocal.core.ranges import Finite, Positive, Range, outside
from glocal.data.dataset import Array, Dataset, Feature
from glocal.data.inside import read_foreign_json
from glocal.data.outcomes import At, Over, any_of_control_steps, of_control_steps
from glocal.runtime.files import UserError, write_json

M = typing.TypeVar("M")
NAME = "glocal.json"
ADVICE = "`glocal data inspect` proposes one"
Column = Annotated[int, Range(0, 100_000)]
Side = Annotated[int, Range(1, 16_384)]
"""Of a picture, in pixels."""
ROLES = ("camera", "state", "action", "reward", "done", "success", "pose")
LIGHT = np.array([0.299, 0.587, 0.114], np.float32)
"""What red, green and blue count in brightness."""
NOT_SEEN = ("reward", "reward_over", "outcomes_at", "done", "success", "ends", "pose", "leave_out", "fps")


class HasRate(typing.Protocol):
    """A mapping of a dataset to control steps."""

    @property
    def stride(self) -> int: ...


class HasOutcomes(typing.Protocol):
    """A mapping that says where in a dataset stands what came of actions."""

    @property
    def reward(self) -> str | None: ...
    @property
    def reward_over(self) -> Over: ...
    @property
    def outcomes_at(self) -> At: ...
    @property
    def done(self) -> str | None: ...
    @property
    def success(self) -> str | None: ...
    @property
    def ends(self) -> bool: ...


class HasView(typing.Protocol):
    """What says which part of a camera's pictures is used, and how large models see it."""

    @property
    def crop(self) -> tuple[int, int, int, int] | None: ...
    @property
    def size(self) -> int: ...


@dataclass(frozen=True)
class Mapping:
    """How a dataset's features become what a task's models are trained on."""

    camera: str
    picture: tuple[Side, Side]
    """Height and width of the camera's pictures; the robot's own have to be like them."""
    state: str | None
    """Feature that holds the agent's own position, or None where it has to be found in the images."""
    action: str
    fps: Positive
    """Of the dataset."""
    rate: Positive
    """Control steps per second; the dataset's rate has to be a multiple of it."""
    representation: Literal["absolute", "delta", "velocity"] = "absolute"
    """An action is where the agent is to go, or by how far, or how fast."""
    reach: Positive = 50.0
    """How far an action of 1 takes the agent's target, in the state's units."""
    low: tuple[Finite, Finite] = (0.0, 0.0)
    high: tuple[Finite, Finite] = (512.0, 512.0)
    """The table's corners, in the state's units."""
    state_columns: tuple[Column, Column] = (0, 1)
    action_columns: tuple[Column, Column] = (0, 1)
    crop: tuple[Column, Column, Side, Side] | None = None
    """Top, left, height and width of the part of a picture that is used."""
    size: Annotated[int, Range(1, 1024)] = 64
    """Side of the pictures that models see."""
    reward: str | None = None
    reward_over: Over = "largest"
    """How the rewards of the recorded steps in a control step become one: the one farthest from zero, which keeps the
    scale of dense rewards and loses no sparse one; the last, right for dense rewards of having arrived; the mean; or
    the sum."""
    outcomes_at: At = "action"
    """Whether a recorded row's reward, done and success came of its action, as in LeRobot, Minari and D4RL, or came
    with its observation, as in stable-worldmodel's recordings."""
    done: str | None = None
    success: str | None = None
    ends: bool = False
    """Whether `done` says that no reward can follow, as after a fall; in most logs it says where recording stopped."""
    pose: str | None = None
    """Feature that holds where the block is (x, y in the state's units, and its angle), where something tracked it."""
    leave_out: tuple[Annotated[int, Range(0, 10_000_000)], ...] = ()
    """Episodes that are not used."""

    @property
    def stride(self) -> int:
        """Recorded steps in a control step."""
        return max(1, round(self.fps / self.rate))

    def episodes(self, count: int) -> list[int]:
        """Those of so many that are used."""
        return [number for number in range(count) if number not in self.leave_out]


def load(path: Path) -> Mapping:
    """The mapping in a file; raises `UserError` where it is none."""
    values = values_in(path)
    if isinstance(values, dict) and "streams" in values and "camera" not in values:
        raise UserError(f"{path} is a mapping of streams, which the preset robot takes, and not one of a planar robot")
    return from_dict(values, path)


def values_in(path: Path) -> Any:
    """What the file of a mapping says; raises `UserError` where it cannot be read."""
    try:
        values = read_foreign_json(path.parent, path)
    except UserError as error:
        raise UserError(f"{error}. {ADVICE}") from error
    if not isinstance(values, dict):
        raise UserError(f"{path} is no mapping: it holds {values!r:.40}, expected names and their values. {ADVICE}")
    return values


def from_dict(values: Any, source: object) -> Mapping:
    """The mapping that `to_dict` made; raises `UserError` naming `source` where it does not fit."""
    return structured(values, Mapping, _impossible, source)


def structured(values: Any, kind: type[M], impossible: Callable[[M], list[str]], source: object) -> M:
    """A mapping of some kind from plain values, within its ranges and with nothing that `impossible` names."""
    try:
        mapping = cattrs.Converter(forbid_extra_keys=True).structure(values, kind)
    except Exception as error:
        reasons = "; ".join(cattrs.transform_error(error))
        raise UserError(f"{source} is no mapping: {reasons}. {ADVICE}") from error
    wrong = [*outside(mapping, kind, ""), *impossible(mapping)]
    if wrong:
        raise UserError(f"{source} cannot be a mapping: {'; '.join(wrong)}. {ADVICE}")
    return mapping


def _impossible(mapping: Mapping) -> list[str]:
    """What parts of a mapping cannot be together, whatever the dataset."""
    wrong = []
    for name in ("state_columns", "action_columns"):
        if len(set(getattr(mapping, name))) < 2:
            wrong.append(f"{name} are {getattr(mapping, name)}, expected two different ones")
    if any(high <= low for low, high in zip(mapping.low, mapping.high, strict=True)):
        wrong.append(f"high is {mapping.high}, expected more than low, which is {mapping.low}")
    if mapping.rate > mapping.fps:
        wrong.append(f"rate is {mapping.rate:g} control steps a second, expected at most the {mapping.fps:g} of fps")
    return wrong


def to_dict(mapping: Mapping) -> dict[str, Any]:
    """A mapping as plain values, for JSON."""
    return cattrs.Converter().unstructure(mapping)


def sight(mapping: Mapping) -> dict[str, Any]:
    """The part of a mapping that says what models see of the robot and what their actions do; not which episodes were
    used, nor what they were labelled by."""
    return {name: value for name, value in to_dict(mapping).items() if name not in NOT_SEEN}


def save(path: Path, mapping: Mapping) -> None:
    """Write a mapping."""
    write_json(path, to_dict(mapping))


def check(mapping: Mapping, dataset: Dataset) -> list[str]:
    """What of a mapping does not fit a dataset, in words; empty if all does."""
    wrong = []
    for role in ROLES:
        name = getattr(mapping, role)
        if name is not None and name not in dataset.features:
            wrong.append(f"{role} is {name!r}, which the dataset has not; it has {', '.join(dataset.features)}")
    if not wrong:
        wrong += _misfits(mapping, dataset.features)
    if dataset.fps is not None and abs(dataset.fps - mapping.fps) > 1e-3:
        wrong.append(f"fps is {mapping.fps:g}, the dataset's is {dataset.fps:g}")
    if abs(mapping.fps / mapping.rate - mapping.stride) > 1e-3:
        wrong.append(f"{mapping.fps:g} steps a second are no multiple of {mapping.rate:g} control steps a second")
    return wrong


def several(role: str, name: str, feature: Feature) -> list[str]:
    """Where what came of a step is no single number, in words."""
    count = numbers(feature)
    return [] if count == 1 else [f"{role} is {name}, which holds {count} numbers, expected one"]


def _misfits(mapping: Mapping, features: Any) -> list[str]:
    wrong = []
    picture = features[mapping.camera]
    if not picture.picture:
        wrong.append(f"camera {mapping.camera} holds no pictures but {picture.shape}")
    elif picture.shape[:2] != mapping.picture:
        wrong.append(f"picture is {mapping.picture}, those of {mapping.camera} are {picture.shape[:2]}")
    elif mapping.crop is not None:
        top, left, height, width = mapping.crop
        if min(top, left) < 0 or top + height > picture.shape[0] or left + width > picture.shape[1]:
            wrong.append(f"crop {mapping.crop} reaches beyond pictures of {picture.shape[:2]}")
    for role, columns in (("state", mapping.state_columns), ("action", mapping.action_columns)):
        name = getattr(mapping, role)
        if name is not None and not 0 <= min(columns) <= max(columns) < numbers(features[name]):
            wrong.append(f"{role} columns {columns} are not in {name}, which has {numbers(features[name])} numbers")
    for role in ("reward", "done", "success"):
        if (name := getattr(mapping, role)) is not None:
            wrong += several(role, name, features[name])
    if mapping.pose is not None and numbers(features[mapping.pose]) != 3:
        wrong.append(f"pose {mapping.pose} has {numbers(features[mapping.pose])} numbers, expected x, y and angle")
    if mapping.ends and mapping.done is None:
        wrong.append("ends is true, but no feature is named that says done")
    return wrong


def features_of(mapping: Mapping) -> list[str]:
    """The features that a mapping speaks of."""
    return list(dict.fromkeys(name for role in ROLES if (name := getattr(mapping, role)) is not None))


def apply(
    mapping: Mapping, found: typing.Mapping[str, Array], final: typing.Mapping[str, Array] | None = None
) -> dict[str, Array]:
    """An episode's features as the episode store keeps them: a row for each control step after the first observation.

    Fields are `image`, `action`, `cont` and, where they are known, `agent`, `reward`, `success` and `pose`; positions
    are in pixels of a table of 512. In a dataset's row stands what came of the action taken in it, in a store's row
    what led to the observation in it. `final` is what was observed after the last step, (1, ...), where that was
    recorded. Steps that no observation follows by which a control step could end move nothing, but what came of them
    counts for the last row. Raises `ValueError` where there is no control step in it.
    """
    seen = _observed(mapping, found, final or {})
    rows = moments(mapping, len(seen[mapping.camera]))
    if len(rows) < 2:
        raise ValueError(f"{len(found[mapping.action])} steps are too few for one control step")
    told, _ = motion(mapping, found)
    state = None if mapping.state is None else seen[mapping.state][:, list(mapping.state_columns)].astype(np.float64)
    asked = ways(mapping, told, state, rows) / mapping.reach
    fields = {
        "image": np.stack([shown(mapping, frame) for frame in seen[mapping.camera][rows]]),
        "action": np.concatenate([np.zeros((1, 2)), np.clip(asked, -1, 1)]).astype(np.float32),
        **outcomes(mapping, found, rows),
    }
    if state is not None:
        fields["agent"] = pixels(mapping, state[rows]).astype(np.float32)
    if mapping.pose is not None:
        pose = seen[mapping.pose][rows].astype(np.float64)
        fields["pose"] = np.concatenate([pixels(mapping, pose[:, :2]), pose[:, 2:]], axis=1).astype(np.float32)
    return fields


def _observed(
    mapping: Mapping, found: typing.Mapping[str, Array], final: typing.Mapping[str, Array]
) -> typing.Mapping[str, Array]:
    """What was observed before each step, and after the last one where all of that was recorded, outcomes included."""
    names = [name for name in (mapping.camera, mapping.state, mapping.pose) if name is not None]
    if mapping.outcomes_at == "observation" or not all(name in final for name in names):
        return found
    return {name: np.concatenate([found[name], final[name]]) for name in names}


def outcomes(mapping: HasOutcomes, found: typing.Mapping[str, Array], rows: Array) -> dict[str, Array]:
    """What came of the control steps that led to each of the rows."""
    fields = {"cont": np.ones(len(rows), np.float32)}
    if mapping.ends and mapping.done is not None:
        fields["cont"] = 1 - any_of_control_steps(_flag("done", mapping.done, found), rows, mapping.outcomes_at)
    if mapping.reward is not None:
        fields["reward"] = of_control_steps(found[mapping.reward], rows, mapping.reward_over, mapping.outcomes_at)
    if mapping.success is not None:
        told = _flag("success", mapping.success, found)
        fields["success"] = of_control_steps(told, rows, "largest", mapping.outcomes_at)
    return fields


def _flag(role: str, name: str, found: typing.Mapping[str, Array]) -> Array:
    """What says yes or no; raises `UserError` where it says anything else."""
    known = found[name][np.isfinite(found[name])]
    if not np.isin(known, (0, 1)).all():
        raise UserError(
            f"{role} is {name}, which holds {known.min():.4g} to {known.max():.4g}, expected 0 or 1; name another "
            "feature in the mapping (glocal.json)"
        )
    return found[name]


def motion(mapping: Mapping, found: typing.Mapping[str, Array]) -> tuple[Array, Array | None]:
    """An episode's actions and, where they are known, the agent's positions, (steps, 2) each, in their own units."""
    told = found[mapping.action][:, list(mapping.action_columns)].astype(np.float64)
    if mapping.state is None:
        return told, None
    return told, found[mapping.state][:, list(mapping.state_columns)].astype(np.float64)


def moments(mapping: HasRate, observations: int) -> Array:
    """Those of so many observations, (n,), between which control steps are: the first, and what each led to."""
    return np.arange(0, observations, mapping.stride)


def ways(mapping: Mapping, told: Array, state: Array | None, rows: Array) -> Array:
    """How far each control step of an episode sends the agent's target, (control steps, 2) in the state's units.

    `told` (steps, 2) are the actions, `state` the agent's positions, and control steps are between `rows`. Of a control
    step's targets their mean counts: held all the while, it leads an agent that follows targets where they led it one
    after the other (LOG.md).
    """
    if len(rows) < 2:
        return np.zeros((0, 2))
    summed = np.add.reduceat(told[: rows[-1]], rows[:-1])
    if mapping.representation == "absolute":
        if state is None:
            raise UserError("absolute actions need the agent's position (state) to become deltas")
        return summed / mapping.stride - state[rows[:-1]]
    return summed if mapping.representation == "delta" else summed / mapping.fps


def reach_in_pixels(mapping: Mapping) -> Array:
    """How far an action of 1 takes the agent's target, along x and y, in pixels of a table of 512."""
    return 512.0 * mapping.reach / (np.array(mapping.high) - np.array(mapping.low))


def pixels(mapping: Mapping, state: Any) -> Array:
    """Positions (..., 2) in the state's units as pixels of a table of 512."""
    low, high = np.array(mapping.low), np.array(mapping.high)
    return 512.0 * (np.asarray(state) - low) / (high - low)


def cropped(view: HasView, frame: Array) -> Array:
    """The part of a picture of the camera (h, w, 3) that is used."""
    if view.crop is None:
        return frame
    top, left, height, width = view.crop
    if top + height > frame.shape[0] or left + width > frame.shape[1]:
        raise UserError(f"the crop {view.crop} of a camera reaches beyond pictures of {frame.shape[:2]}")
    return frame[top : top + height, left : left + width]


def from_pixels(mapping: Mapping, places: Array) -> Array:
    """Places (..., 2) on the used part of the camera's pictures, which shows the table whole, in the state's units."""
    height, width = mapping.picture if mapping.crop is None else mapping.crop[2:]
    low, high = np.array(mapping.low), np.array(mapping.high)
    return low + places / np.array([width, height]) * (high - low)


def shown(view: HasView, frame: Array) -> Array:
    """A picture of the camera (h, w, 3) as models see it, (size, size, 3)."""
    return cv2.resize(cropped(view, frame), (view.size, view.size), interpolation=cv2.INTER_AREA)


def live(view: HasView, filmed: bool, frame: Array) -> Array:
    """A picture as a camera shows it just now, (h, w, 3), as models see it: where logs keep videos, as a video would
    have kept it."""
    return shown(view, subsampled(frame) if filmed else frame)


def subsampled(frame: Array) -> Array:
    """A picture (h, w, 3) whose colours are half as fine as its brightness, as in videos (4:2:0, BT.601)."""
    height, width = frame.shape[:2]
    even = np.pad(frame, ((0, height % 2), (0, width % 2), (0, 0)), mode="edge").astype(np.float32)
    light = even @ LIGHT
    colour = (even - light[..., None]).reshape(len(even) // 2, 2, -1, 2, 3).mean((1, 3))
    told = light[..., None] + colour.repeat(2, 0).repeat(2, 1)
    return np.rint(told).clip(0, 255).astype(np.uint8)[:height, :width]


def cameras_of(features: typing.Mapping[str, Feature]) -> list[str]:
    """The features that hold pictures."""
    return [name for name, feature in features.items() if feature.picture]


def numbers(feature: Feature) -> int:
    """How many numbers a feature has at each step."""
    return int(np.prod(feature.shape))
