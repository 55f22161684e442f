"""Whether logs are the same as everybody's."""

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np

from glocal.data.dataset import Feature
from glocal.data.formats import open_dataset
from glocal.runtime.progress import Ticker

KNOWN = Path(__file__).with_name("fingerprints.json")
"""Of the logs of each task, as recorded on Linux and x86-64."""


@dataclass(frozen=True)
class Fingerprint:
    """What two recordings that are the same have in common."""

    sha256: str
    """Of all numbers: names, types and shapes of the features, and every episode's rows in order. Pictures are left
    out, which videos keep differently with every encoder."""
    features: tuple[str, ...]
    """Names, types and shapes of all, pictures among them, in words."""
    episodes: int
    steps: int
    fps: float | None

    @property
    def short(self) -> str:
        """As much of it as a person reads."""
        return self.sha256[:16]


PICTURE = "picture"
"""What stands in place of the type of pictures."""


class Verdict(NamedTuple):
    """Whether logs are everybody's, and what is to be said of them."""

    same: bool
    said: str


def fingerprint(folder: Path) -> Fingerprint:
    """The fingerprint of a dataset."""
    dataset = open_dataset(folder)
    every = dict(sorted(dataset.features.items()))
    features = {name: one for name, one in every.items() if not one.picture}
    found = hashlib.sha256(json.dumps({name: [one.dtype, *one.shape] for name, one in features.items()}).encode())
    with Ticker("check", len(dataset), unit="episodes") as tick:
        for number in range(len(dataset)):
            rows = dataset.episode(number, list(features))
            for name in features:
                found.update(np.ascontiguousarray(rows[name]).tobytes())
            tick(number + 1)
    words = tuple(_told(name, one) for name, one in every.items())
    return Fingerprint(found.hexdigest(), words, len(dataset), sum(dataset.lengths), dataset.fps)


def known() -> dict[str, Fingerprint]:
    """The fingerprints of tasks whose logs are known."""
    told = json.loads(KNOWN.read_text(encoding="utf-8"))
    return {task: Fingerprint(**{**one, "features": tuple(one["features"])}) for task, one in told.items()}


def verdict(task: str, found: Fingerprint) -> Verdict:
    """What a fingerprint says of logs of a task."""
    expected = known().get(task)
    if expected is None:
        return Verdict(False, f"fingerprint {found.short}; none is known of {task}")
    if differences := list(_differences(expected, found)):
        return Verdict(False, f"these are not the logs of {task}: {'; '.join(differences)}")
    if expected.sha256 != found.sha256:
        return Verdict(
            False,
            f"fingerprint {found.short}, expected {expected.short}: as many steps of the same features, but not the "
            "same numbers. Either other versions of the environment or another kind of machine round differently (say "
            "so where results are compared), or the logs were changed or damaged",
        )
    pictures = any(f" {PICTURE} " in one for one in found.features)
    beside = "; pictures, which encoders keep differently, are not compared" if pictures else ""
    return Verdict(True, f"fingerprint {found.short}: the numbers of the bench's logs, to the bit{beside}")


def _told(name: str, feature: Feature) -> str:
    """A feature in words."""
    return f"{name} {PICTURE if feature.picture else feature.dtype} {' x '.join(map(str, feature.shape))}"


def _differences(expected: Fingerprint, found: Fingerprint) -> Iterator[str]:
    """In what two recordings differ besides their numbers, in words."""
    for name in sorted({*expected.features} ^ {*found.features}):
        yield f"they {'lack' if name in expected.features else 'have'} {name}"
    for what in ("episodes", "steps", "fps"):
        if (had := getattr(found, what)) != (wanted := getattr(expected, what)):
            yield f"found {had} {what}, expected {wanted}"
