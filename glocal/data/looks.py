"""What the doctor keeps of an episode: its numbers, and how much its pictures change."""

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise

import cv2
import numpy as np

from glocal.data.dataset import Array, Dataset
from glocal.data.mapping import Mapping as TaskMapping
from glocal.data.mapping import features_of, motion

MOST_CHANGED = 0.002
"""Share of a picture's pixels that are its most changed ones."""


@dataclass(frozen=True)
class Seen:
    """What is kept of an episode: actions, the agent's state, and how much each picture differs from the one before:
    in the mean, and where it does most."""

    number: int
    action: Array
    state: Array | None
    change: Array
    peak: Array


def look_at(mapping: TaskMapping, dataset: Dataset, number: int) -> Seen:
    """What is kept of an episode of a dataset."""
    return look(mapping, dataset.episode(number, features_of(mapping)), number)


def look(mapping: TaskMapping, found: Mapping[str, Array], number: int) -> Seen:
    """What is kept of an episode's features."""
    changes = np.array([_change(*pair) for pair in pairwise(found[mapping.camera])]).reshape(-1, 2)
    return Seen(number, *motion(mapping, found), *changes.T)


def _change(before: Array, after: Array) -> tuple[float, float]:
    """By how much two pictures differ, from 0 to 255: in the mean, and where they do most."""
    change = cv2.absdiff(before, after)
    strongest = cv2.max(cv2.max(change[..., 0], change[..., 1]), change[..., 2]).reshape(-1)
    most = max(1, round(MOST_CHANGED * strongest.size))
    return float(change.mean()), float(np.partition(strongest, -most)[-most:].mean())
