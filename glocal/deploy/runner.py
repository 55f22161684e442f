"""Run a policy that `glocal export` wrote. This file needs numpy and onnxruntime alone, and lies in each bundle:

    policy = Policy("bundle")
    policy.reset()
    told = policy.act({"observation.state": state, "observation.images.top": picture})  # once a control step

What is sensed and what the robot is told go by the names, and in the units, of the logs that the policy was made from.
"""

import hashlib
import json
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime

FORMAT, VERSION = "glocal policy", 1
SPEC, MODEL = "bundle.json", "policy.onnx"
KINDS = ("absolute", "delta", "velocity")
LIGHT = np.array([0.299, 0.587, 0.114], np.float32)
"""What red, green and blue count in brightness."""

Array = np.ndarray[Any, Any]


class BundleError(ValueError):
    """The folder holds no policy that this file can run."""


class PolicyError(RuntimeError):
    """What was sensed is not what the policy knows, or what it answers is not finite: the robot should stop."""


class Policy:
    """A policy that acts once a control step and remembers what it saw.

    `rate` is control steps per second, of which each is told to the robot in `hold` steps of the rate of its logs;
    `needs` holds the shape of each feature that has to be sensed. With `careful` an action changes no more from one
    control step to the next than any recorded one did; `held_back` counts the actions that were. `surprise` is how far
    what is sensed is from what the policy's model expects, as a moving average; above `alarm` it is more than in any
    of the recorded episodes that it was calibrated on.
    """

    def __init__(self, folder: str | Path, careful: bool = False, threads: int = 1):
        self.folder, self.careful = Path(folder), careful
        self.spec = read_spec(self.folder)
        self.rate, self.hold = float(self.spec["rate"]), int(self.spec["hold"])
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = threads
        self.session = onnxruntime.InferenceSession(
            str(self.folder / MODEL), options, providers=["CPUExecutionProvider"]
        )
        self.asked = {one.name for one in self.session.get_inputs()}
        self.answers = [one.name for one in self.session.get_outputs()]
        self.needs = {name: tuple(shape) for name, shape in self.spec["needs"].items()}
        self.deltas, self.velocities = self._of_kind("delta"), self._of_kind("velocity")
        """Which numbers of what a feature is told are deltas, which add up over the steps of a control step, and which
        are velocities."""
        self.pictures = {one["feature"] for one in self.spec["cameras"]}
        self.alarm = float(self.spec["alarm"]["above"])
        self.held_back = 0
        self.reset()

    def reset(self) -> None:
        """Forget what was seen: an episode begins."""
        self.state = {one["name"]: np.zeros(one["shape"], np.float32) for one in self.spec["state"]}
        self.begun = False
        self.surprising = self.surprise = 0.0
        self.action: Array | None = None
        """The last action, as models see it, from -1 to 1, (a,)."""

    def act(self, observation: Mapping[str, Any]) -> dict[str, Array]:
        """What the robot is told during the next control step, in each of its steps, by feature."""
        sensed = self._sensed(observation)
        fields = {one["name"]: numbers(one, sensed[one["feature"]]) for one in self.spec["streams"]}
        fields |= {one["name"]: shown(one, sensed[one["feature"]]) for one in self.spec["cameras"]}
        return self._told(self.advance({name: x[None] for name, x in fields.items()}), sensed)

    def advance(self, fields: Mapping[str, Array]) -> Array:
        """The action (a,), from -1 to 1, at what models see, (1, ...) by stream and camera."""
        feed = {**fields, **self.state, "begun": np.array([self.begun])}
        found = dict(zip(self.answers, self.session.run(None, {name: feed[name] for name in self.asked}), strict=True))
        answer = np.asarray(found.pop("act"))[0]
        if not np.isfinite(answer).all() or not np.isfinite(found["surprise"]).all():
            raise PolicyError(f"the policy's answer is not finite: {answer}")
        self.surprising = float(np.asarray(found.pop("surprise"))[0])
        memory = self.spec["alarm"]["memory"]
        self.surprise = memory * self.surprise + (1 - memory) * self.surprising
        self.action, self.begun = np.clip(self._held(answer), -1, 1), True
        self.state = {name.removeprefix("next."): x for name, x in found.items()}
        self.state["action"] = self.action[None].astype(np.float32)
        return self.action

    def _of_kind(self, kind: str) -> dict[str, Array]:
        found = {part["feature"]: np.zeros(part["width"], bool) for part in self.spec["action"]}
        for part in self.spec["action"]:
            found[part["feature"]][part["columns"]] = part["kind"] == kind
        return found

    def did(self, action: Any) -> None:
        """Remember that another action (a,), from -1 to 1, than the last one was carried out."""
        self.action = np.clip(np.asarray(action, np.float64), -1, 1)
        self.state["action"] = self.action[None].astype(np.float32)

    def normalised(self, told: Mapping[str, Any], observation: Mapping[str, Any]) -> Array:
        """The action (a,), from -1 to 1, of which the robot is told so at an observation."""
        sensed, found = self._sensed(observation), []
        for part in self.spec["action"]:
            value = np.asarray(told[part["feature"]], np.float64)[part["columns"]]
            if part["about"] is not None:
                value = value - sensed[part["about"]["feature"]].reshape(-1)[part["about"]["columns"]]
            low, high = np.asarray(part["low"]), np.asarray(part["high"])
            found.append(2 * (value * part["steps"] - low) / (high - low) - 1)
        return np.concatenate(found)

    def _sensed(self, observation: Mapping[str, Any]) -> dict[str, Array]:
        if not isinstance(observation, Mapping):
            raise PolicyError(f"an observation is {type(observation).__name__}, expected features by name")
        missing = [name for name in self.needs if name not in observation]
        if missing:
            raise PolicyError(f"{', '.join(missing)} is not sensed; the policy needs {', '.join(self.needs)}")
        sensed = {}
        for name, shape in self.needs.items():
            try:
                found = np.asarray(observation[name])
            except ValueError as error:
                raise PolicyError(f"{name} is no array: {error}") from error
            if found.dtype.kind not in "buif":
                raise PolicyError(f"{name} holds {found.dtype}, expected numbers")
            if found.shape != shape:
                raise PolicyError(f"{name} has shape {found.shape}, the logs had {shape}")
            if name in self.pictures and found.dtype != np.uint8:
                raise PolicyError(f"{name} holds {found.dtype}, expected pictures of bytes (uint8)")
            if not np.isfinite(found).all():
                raise PolicyError(f"{name} holds numbers that are not finite: {found}")
            sensed[name] = found
        return sensed

    def _held(self, action: Array) -> Array:
        """An action that changes no faster than recorded ones did, where that is asked for."""
        if not self.careful or self.action is None:
            return action
        most = np.asarray(self.spec["largest_change"])
        held = np.clip(action, self.action - most, self.action + most)
        self.held_back += int((held != action).any())
        return held

    def _told(self, action: Array, sensed: Mapping[str, Array]) -> dict[str, Array]:
        told: dict[str, Array] = {}
        begin = 0
        for part in self.spec["action"]:
            some = action[begin : begin + len(part["columns"])]
            begin += len(some)
            low, high = np.asarray(part["low"]), np.asarray(part["high"])
            value = (low + (some + 1) / 2 * (high - low)) / part["steps"]
            if part["about"] is not None:
                value = value + sensed[part["about"]["feature"]].reshape(-1)[part["about"]["columns"]]
            if part["within"] is not None:
                value = np.clip(value, *part["within"])
            if not np.isfinite(value).all():
                raise PolicyError(f"{part['feature']} would be told {value}")
            told.setdefault(part["feature"], np.zeros(part["width"]))[part["columns"]] = value
        return told


def read_spec(folder: Path) -> dict[str, Any]:
    """What a bundle says of itself; raises `BundleError` where it is damaged or of another version."""
    try:
        spec = json.loads((folder / SPEC).read_text())
        found = (spec["format"], spec["version"])
        model = hashlib.sha256((folder / MODEL).read_bytes()).hexdigest()
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise BundleError(
            f"{folder} holds no policy that was exported ({error}); write one with `glocal export`"
        ) from error
    if found != (FORMAT, VERSION):
        raise BundleError(
            f"{folder} holds {found[0]!r} of version {found[1]}, this runner reads {FORMAT!r} of version {VERSION}; "
            "use the runner.py that lies in the bundle"
        )
    try:
        wrong = _wrong(spec)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        wrong = f"it lacks or garbles something ({type(error).__name__}: {error})"
    if model != spec.get("sha256"):
        wrong = f"{MODEL} is not the model that it was written for"
    if wrong:
        raise BundleError(f"{folder / SPEC} cannot be used: {wrong}; copy the whole folder again, or export again")
    return spec


def _wrong(spec: Mapping[str, Any]) -> str:
    """What of a bundle's own description cannot be, in words; empty if all can."""
    rate, hold, alarm = float(spec["rate"]), spec["hold"], spec["alarm"]
    if not 0 < rate <= 1000 or not isinstance(hold, int) or not 1 <= hold <= 1000:
        return f"rate is {rate}, expected up to 1000, and hold is {hold!r}, expected a whole number from 1 to 1000"
    if not np.isfinite(alarm["above"]) or not 0 <= alarm["memory"] < 1:
        return f"alarm is {alarm}, expected a number, and a memory from 0 to below 1"
    count = sum(len(part["columns"]) for part in spec["action"])
    change = np.asarray(spec["largest_change"], float)
    if change.shape != (count,) or not (change >= 0).all() or not np.isfinite(change).all():
        return f"largest_change is {spec['largest_change']}, expected {count} numbers of at least 0"
    if not spec["state"] or not isinstance(spec["origin"], dict):
        return "there is no state or no origin"
    parts = (*spec["streams"], *spec["cameras"], *spec["action"])
    return next(filter(None, (_wrong_part(one, spec["needs"]) for one in parts)), "")


def _wrong_part(one: Mapping[str, Any], needs: Mapping[str, Any]) -> str:
    """The same of a stream, a camera, or a part of what the robot is told."""
    sizes = {len(one[key]) for key in ("columns", "scale", "offset", "low", "high") if key in one}
    values = [x for key in ("scale", "offset", "low", "high") if key in one for x in one[key]]
    told = "low" in one
    if len(sizes) > 1 or not np.isfinite(values).all() or not (told or one["feature"] in needs):
        return f"{dict(one)} does not go together"
    if not told:
        return ""
    if not isinstance(one["steps"], int) or one["steps"] < 1 or one["kind"] not in KINDS:
        return f"{one['feature']} is {one['kind']!r} in {one['steps']} steps, expected one of {', '.join(KINDS)}"
    if max(one["columns"]) >= one["width"] or (np.asarray(one["low"]) >= one["high"]).any():
        return f"{one['feature']} has limits or columns that cannot be: {dict(one)}"
    about = one["about"]
    return "" if about is None or about["feature"] in needs else f"{about['feature']} is added to, but not sensed"


def numbers(stream: Mapping[str, Any], feature: Array) -> Array:
    """A stream's numbers of its feature, as models see them."""
    chosen = feature.reshape(-1)[stream["columns"]].astype(np.float64)
    return (chosen * np.asarray(stream["scale"]) + np.asarray(stream["offset"])).astype(np.float32)


def shown(camera: Mapping[str, Any], picture: Array) -> Array:
    """The used part of a picture (h, w, 3) at the size that models see, (size, size, 3) bytes."""
    if camera.get("filmed", False):  # earlier bundles do not say
        picture = subsampled(picture)
    if camera["crop"] is not None:
        top, left, height, width = camera["crop"]
        picture = picture[top : top + height, left : left + width]
    size = camera["size"]
    shrinks = picture.shape[0] >= size and picture.shape[1] >= size
    rows, columns = (weights(count, size, shrinks) for count in picture.shape[:2])
    flatter = (rows @ picture.reshape(len(picture), -1)).reshape(size, -1, picture.shape[-1])
    return np.rint(columns @ flatter).clip(0, 255).astype(np.uint8)


def subsampled(frame: Array) -> Array:
    """A picture (h, w, 3) whose colours are half as fine as its brightness, as in the videos of the logs."""
    height, width = frame.shape[:2]
    even = np.pad(frame, ((0, height % 2), (0, width % 2), (0, 0)), mode="edge").astype(np.float32)
    light = even @ LIGHT
    colour = (even - light[..., None]).reshape(len(even) // 2, 2, -1, 2, 3).mean((1, 3))
    told = light[..., None] + colour.repeat(2, 0).repeat(2, 1)
    return np.rint(told).clip(0, 255).astype(np.uint8)[:height, :width]


@cache
def weights(count: int, size: int, shrinks: bool) -> Array:
    """How much each of `count` pixels in a line counts for each of `size`, (size, count): by the area that they have
    in common where pictures shrink, and by two neighbours where they grow, as OpenCV's INTER_AREA does."""
    scale = count / size
    if shrinks:
        edges = np.arange(size)[:, None] * scale
        pixels = np.arange(count)[None]
        return np.clip(np.minimum(edges + scale, pixels + 1) - np.maximum(edges, pixels), 0, None) / scale
    here = np.arange(size)
    first = np.floor(here * scale).astype(int)
    part = here + 1 - (first + 1) / scale
    part = np.where(part <= 0, 0, part - np.floor(part))
    found = np.zeros((size, count))
    np.add.at(found, (here, first.clip(0, count - 1)), 1 - part)
    np.add.at(found, (here, (first + 1).clip(0, count - 1)), part)
    return found
