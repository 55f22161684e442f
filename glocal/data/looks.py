"""What the doctor keeps of an episode: its numbers, and how much its pictures change."""

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise

import cv2
import numpy as np

from glocal.data.dataset import Array, Dataset, Feature
from glocal.data.mapping import Mapping as TaskMapping
from glocal.data.mapping import features_of, motion

MOST_CHANGED = 0.002
"""Share of a picture's pixels that are its most changed ones."""
SAMPLED = 4096
"""Numbers of a feature, about, that are kept of an episode: all of 300 steps of a robot of 13."""
LARGEST = float(np.finfo(np.float32).max)
COLUMNS = ("lost", "low", "high", "sample")


@dataclass(frozen=True)
class Spread:
    """What is kept of a feature's numbers in an episode, dimension by dimension."""

    lost: Array
    """How many are not finite, (d,)."""
    low: Array
    """(d,), of those that are finite; NaN where none is."""
    high: Array
    sample: Array
    """Some steps, evenly spread, or all, (n, d)."""


@dataclass(frozen=True)
class Seen:
    """What is kept of an episode: actions, the agent's state, and how much each picture differs from the one before:
    in the mean, and where it does most; and, of all dimensions and all cameras that were looked at, what they span."""

    number: int
    action: Array
    state: Array | None
    change: Array
    peak: Array
    numbers: Mapping[str, Spread]
    """By the feature's name."""
    cameras: Mapping[str, float]
    """By how much a picture differs from the one before, at most, where it does most, by the camera's name."""


def look_at(mapping: TaskMapping, dataset: Dataset, number: int) -> Seen:
    """What is kept of an episode of a dataset: of all its numbers, and of all cameras, one after the other."""
    names = [name for name, feature in dataset.features.items() if _counts(feature)]
    found = dataset.episode(number, list(dict.fromkeys([*features_of(mapping), *names])))
    others = [name for name, feature in dataset.features.items() if feature.picture and name not in found]
    return look(mapping, found, number, {name: most_changed(dataset.episode(number, [name])[name]) for name in others})


def look(
    mapping: TaskMapping, found: Mapping[str, Array], number: int, others: Mapping[str, float] | None = None
) -> Seen:
    """What is kept of an episode's features; `others` is by how much the pictures of further cameras change."""
    change, peak = _changes(found[mapping.camera]).T
    numbers = {name: spread(x) for name, x in found.items() if x.ndim == 2 and x.dtype.kind in "biuf"}
    cameras = {mapping.camera: float(peak.max(initial=0.0)), **(others or {})}
    return Seen(number, *motion(mapping, found), change, peak, numbers, cameras)


def spread(values: Array) -> Spread:
    """What is kept of a feature's numbers (steps, d)."""
    known = np.where(np.isfinite(values), values, np.nan).astype(np.float64)
    lost = np.isnan(known).sum(0)
    low = np.where(np.isnan(known), np.inf, known).min(0)
    high = np.where(np.isnan(known), -np.inf, known).max(0)
    some = np.unique(np.linspace(0, len(known) - 1, max(16, SAMPLED // known.shape[1])).astype(int))
    gone = lost == len(known)
    sample = known[some].clip(-LARGEST, LARGEST).astype(np.float32)
    return Spread(lost, np.where(gone, np.nan, low), np.where(gone, np.nan, high), sample)


def as_arrays(seen: Seen) -> dict[str, Array]:
    """A look as arrays by name, for a file."""
    arrays = {"action": seen.action, "change": seen.change, "peak": seen.peak}
    if seen.state is not None:
        arrays["state"] = seen.state
    arrays |= {f"camera:{name}": np.array(value) for name, value in seen.cameras.items()}
    return arrays | {f"{key}:{name}": vars(one)[key] for name, one in seen.numbers.items() for key in COLUMNS}


def from_arrays(number: int, arrays: Mapping[str, Array]) -> Seen:
    """The look that `as_arrays` made."""
    names = [name.removeprefix("lost:") for name in arrays if name.startswith("lost:")]
    numbers = {name: Spread(*(arrays[f"{key}:{name}"] for key in COLUMNS)) for name in names}
    cameras = {name.removeprefix("camera:"): float(x) for name, x in arrays.items() if name.startswith("camera:")}
    state = arrays.get("state")
    return Seen(number, arrays["action"], state, arrays["change"], arrays["peak"], numbers, cameras)


def _counts(feature: Feature) -> bool:
    return not feature.picture and len(feature.shape) == 1 and np.dtype(feature.dtype).kind in "biuf"


def most_changed(film: Array) -> float:
    """By how much a picture differs from the one before, at most, where it does most, from 0 to 255."""
    return float(_changes(film)[:, 1].max(initial=0.0))


def _changes(film: Array) -> Array:
    """By how much each picture differs from the one before, (steps - 1, 2): in the mean, and where it does most."""
    return np.array([_change(*pair) for pair in pairwise(film)]).reshape(-1, 2)


def _change(before: Array, after: Array) -> tuple[float, float]:
    """By how much two pictures differ, from 0 to 255: in the mean, and where they do most."""
    change = cv2.absdiff(before, after)
    strongest = cv2.max(cv2.max(change[..., 0], change[..., 1]), change[..., 2]).reshape(-1)
    most = max(1, round(MOST_CHANGED * strongest.size))
    return float(change.mean()), float(np.partition(strongest, -most)[-most:].mean())
