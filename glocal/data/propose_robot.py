"""A first guess at how the logs of any robot become observations, actions and outcomes."""

from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np

from glocal.data.dataset import Array, Dataset, Feature
from glocal.data.mapping import cameras_of, moments, numbers
from glocal.data.mappings import AnyMapping
from glocal.data.outcomes import of_control_steps, over_which
from glocal.data.propose import LOOKED_AT, OUTCOMES, conventions, named
from glocal.data.streams import FIELDS, ActionPart, Camera, RobotMapping, Stream, asked
from glocal.runtime.files import UserError

FASTEST = 12.5
"""Control steps per second that are proposed at most: models that step finer have to step longer."""
PREFIXES = ("observation.images.", "observation.", "images.")
NOTES = ("timestamp", "frame_index", "episode_index", "index", "task_index", "step")
"""Features that say which row it is, and nothing of the robot."""
MOST = 256
"""Numbers of a feature that is a table, beyond which it is taken for no stream."""
CUT = 0.995
"""The limits hold this share of what actions ask for."""


def propose_robot(dataset: Dataset) -> tuple[RobotMapping, list[str]]:
    """The likeliest mapping of a dataset, and what was guessed, in words."""
    features = dataset.features
    told = [name for name in features if _is_action(name) and not features[name].picture]
    if not told:
        raise UserError(f"{dataset.folder} holds no actions; expected a feature called action, or action.SOMETHING")
    said: list[str] = []
    fps = dataset.fps
    if fps is None:
        fps = 10.0
        said.append(f"the format does not tell the rate; {fps:g} steps per second are assumed")
    outcomes = {role: named(features, known) for role, known in OUTCOMES.items()}
    spoken_for = {*told, *(name for name in outcomes.values() if name is not None)}
    streams = _streams(dataset, spoken_for)
    cameras = _cameras(dataset, streams)
    said += [
        _left_out(name, features[name])
        for name in features
        if _is_array(features[name]) and _is_sensed(name, spoken_for)
    ]
    if not streams and not cameras:
        raise UserError(f"{dataset.folder} holds nothing that is observed; found {', '.join(features)}")
    said += [_squeezed(one, features[one.feature]) for one in cameras if len(set(features[one.feature].shape[:2])) > 1]
    stride = max(1, int(np.ceil(fps / FASTEST - 1e-9)))
    parts = _episodes(dataset, [*told, *(one.feature for one in streams), *filter(None, outcomes.values())])
    action = tuple(part for name in told for part in _action(name, parts, streams, said))
    mapping = replace(RobotMapping(streams, action, fps, fps / stride, cameras=cameras), **outcomes)
    said += conventions(outcomes)
    if (reward := mapping.reward) is not None:
        rewards = [part[reward] for part in parts]
        mapping = replace(mapping, reward_over=over_which(rewards))
        mapping = replace(mapping, reward_scale=reward_scale(mapping, rewards))
        said.append(f"a control step has the {mapping.reward_over} of its rewards, over {mapping.reward_scale:g}")
    return _limited(mapping, parts), said


def _is_action(name: str) -> bool:
    return name.partition(".")[0] in ("action", "actions")


def _streams(dataset: Dataset, spoken_for: set[str]) -> tuple[Stream, ...]:
    found: list[Stream] = []
    for name, feature in dataset.features.items():
        plain = not feature.picture and np.dtype(feature.dtype).kind in "biuf" if feature.dtype != "object" else False
        if plain and _is_sensed(name, spoken_for) and not _is_array(feature):
            short = _short(name, [one.name for one in found])
            found.append(Stream(short, name, tuple(range(numbers(feature)))))
    return tuple(found)


def _cameras(dataset: Dataset, streams: Sequence[Stream]) -> tuple[Camera, ...]:
    found: list[Camera] = []
    for name in cameras_of(dataset.features):
        short = _short(name, [one.name for one in (*streams, *found)])
        found.append(Camera(short, name, filmed=dataset.features[name].filmed))
    return tuple(found)


def _is_sensed(name: str, spoken_for: set[str]) -> bool:
    """Whether it may tell something that a robot senses."""
    return name not in spoken_for and name not in NOTES and not name.startswith("next.")


def _is_array(feature: Feature) -> bool:
    """Whether it holds too many numbers to be told one by one, in rows and columns, as a picture does."""
    return not feature.picture and len(feature.shape) > 1 and numbers(feature) > MOST


def _left_out(name: str, feature: Feature) -> str:
    return (
        f"{name} holds {' by '.join(map(str, feature.shape))} numbers ({feature.dtype}) and is left out: pictures are "
        "expected as bytes (height, width, 3); if it holds some, write them so, the colours last; if it holds none, "
        "name the numbers that are to be seen in a stream"
    )


def _squeezed(camera: Camera, feature: Feature) -> str:
    height, width = feature.shape[:2]
    side = min(height, width)
    return (
        f"pictures of camera {camera.name}, {height} by {width}, are squeezed into squares of {camera.size}; to take a "
        f"square out of them, say which in crop: top, left, height, width (say {(height - side) // 2}, "
        f"{(width - side) // 2}, {side}, {side})"
    )


def _short(name: str, taken: Sequence[str]) -> str:
    """A feature's name as a word, by which a stream is called."""
    prefix = next((one for one in PREFIXES if name.startswith(one)), "")
    word = "".join(c if c.isalnum() else "_" for c in name.removeprefix(prefix)).strip("_") or "state"
    word = f"_{word}" if word[0].isdigit() else word
    while word in taken or word in FIELDS:
        word += "_"
    return word


def _episodes(dataset: Dataset, names: Sequence[str]) -> list[dict[str, Array]]:
    chosen = np.unique(np.linspace(0, len(dataset) - 1, LOOKED_AT).astype(int))
    return [dataset.episode(int(number), list(dict.fromkeys(names))) for number in chosen]


def _action(
    name: str, parts: Sequence[dict[str, Array]], streams: Sequence[Stream], said: list[str]
) -> Iterator[ActionPart]:
    """The numbers of one feature, in as many parts as they have meanings; limits are set later."""
    told = np.concatenate([part[name].reshape(len(part[name]), -1) for part in parts]).astype(np.float64)
    if "vel" in name:
        kinds = ["velocity"] * told.shape[1]
        said.append(f"{name} is taken for velocities, by its name")
    else:
        kinds = [_kind(told[:, i], i, parts, streams) for i in range(told.shape[1])]
        for kind, meant in (("absolute", "targets, near what a stream shows"), ("delta", "steps from where it is")):
            columns = [str(i) for i, one in enumerate(kinds) if one == kind]
            if columns:
                said.append(f"{name} {' '.join(columns)}: taken for {meant} ({kind})")
    for kind in dict.fromkeys(kinds):
        columns = tuple(i for i, one in enumerate(kinds) if one == kind)
        yield ActionPart(name, columns, (-1.0,) * len(columns), (1.0,) * len(columns), kind)  # pyright: ignore


def _kind(told: Array, column: int, parts: Sequence[dict[str, Array]], streams: Sequence[Stream]) -> str:
    """Absolute where a stream follows it, or where it is a switch; a delta otherwise."""
    known = told[np.isfinite(told)]
    if len(np.unique(known)) <= 2:
        return "absolute"
    for stream in streams:
        if column < len(stream.columns):
            seen = np.concatenate(
                [part[stream.feature].reshape(len(part[stream.feature]), -1)[:, column] for part in parts]
            )
            with np.errstate(invalid="ignore"):  # what is not finite is refused when it is read
                apart = np.nanmean(np.abs(told - seen.astype(np.float64)))
            if apart < 0.5 * min(np.nanmean(np.abs(told - np.nanmean(told))), np.nanmean(np.abs(told)) + 1e-12):
                return "absolute"
    return "delta"


def _limited(mapping: RobotMapping, parts: Sequence[dict[str, Array]]) -> RobotMapping:
    """With limits that hold nearly all of what actions ask for; those of deltas and velocities lie about zero."""
    wanted = np.concatenate([asked(mapping, part, moments(mapping, _steps(mapping, part))) for part in parts])
    if not len(wanted):
        raise UserError("no episode has two control steps, so that no action has a successor; record longer ones")
    limited, begin = [], 0
    for part in mapping.action:
        own = wanted[:, begin : begin + len(part.columns)]
        begin += len(part.columns)
        low, high = np.nanquantile(own, [1 - CUT, CUT], axis=0)
        if part.kind != "absolute":
            high = np.maximum(np.abs(low), np.abs(high))
            low = -high
        still = ~(high - low > 1e-9)
        low, high = np.where(still, low - 1.0, low), np.where(still, high + 1.0, high)
        limited.append(replace(part, low=_rounded(low), high=_rounded(high)))
    return replace(mapping, action=tuple(limited))


def _steps(mapping: RobotMapping, part: dict[str, Array]) -> int:
    return len(part[mapping.action[0].feature])


def _rounded(values: Array) -> tuple[float, ...]:
    return tuple(float(f"{value:.4g}") for value in values)


def reward_scale(mapping: RobotMapping, rewards: Sequence[Array]) -> float:
    """The largest reward of a control step, but for one in two hundred; `rewards` are those of episodes' steps."""
    every = rewards_of_control_steps(mapping, rewards)
    every = every[np.isfinite(every)]
    largest = float(np.quantile(np.abs(every), CUT)) if len(every) else 0.0
    return float(f"{largest:.4g}") if largest > 1e-6 else 1.0


def rewards_of_control_steps(mapping: AnyMapping, rewards: Sequence[Array]) -> Array:
    """The rewards of all control steps in episodes, given those of their steps, (steps, ...) each."""
    every = [
        of_control_steps(steps, moments(mapping, len(steps)), mapping.reward_over, mapping.outcomes_at)
        for steps in rewards
        if len(steps) > mapping.stride
    ]
    return np.concatenate(every) if every else np.zeros(0, np.float32)
