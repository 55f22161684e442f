"""Whether logs are the same as everybody's."""

import hashlib
import json
from pathlib import Path

import numpy as np

from glocal.data.formats import open_dataset
from glocal.runtime.progress import Ticker

KNOWN = Path(__file__).with_name("fingerprints.json")
"""Of the logs of each task, as recorded on the machine that docs/bench.md names."""


def fingerprint(folder: Path) -> str:
    """The SHA-256 of all numbers of a dataset: names, types and shapes of its features, and every episode's rows in
    order. Pictures are left out, which videos keep differently with every encoder."""
    dataset = open_dataset(folder)
    features = {name: one for name, one in sorted(dataset.features.items()) if not one.picture}
    found = hashlib.sha256(json.dumps({name: [one.dtype, *one.shape] for name, one in features.items()}).encode())
    with Ticker("check", len(dataset), unit="episodes") as tick:
        for number in range(len(dataset)):
            rows = dataset.episode(number, list(features))
            for name in features:
                found.update(np.ascontiguousarray(rows[name]).tobytes())
            tick(number + 1)
    return found.hexdigest()


def known() -> dict[str, str]:
    """The fingerprints of tasks whose logs are known."""
    return json.loads(KNOWN.read_text(encoding="utf-8"))


def verdict(task: str, found: str) -> str:
    """What a fingerprint says of logs of a task, in a sentence."""
    expected = known().get(task)
    if expected is None:
        return f"fingerprint {found[:16]}; none is known of {task}"
    if expected == found:
        return f"fingerprint {found[:16]}: the logs of the bench, to the bit"
    return (
        f"fingerprint {found[:16]}, expected {expected[:16]}: the same script, but not the same numbers; other "
        "versions of the environment, or another kind of machine, round differently. Say so where results are compared"
    )
