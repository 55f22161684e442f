"""Numbers of logs that labels are made of: which they are, and that they are finite."""

from collections.abc import Collection, Sequence
from dataclasses import replace

import numpy as np

from glocal.data.dataset import Array
from glocal.data.ingest import beside
from glocal.data.mapping import NAME, numbers
from glocal.data.streams import RobotMapping
from glocal.pipeline.label.job import Logs
from glocal.runtime.files import UserError
from glocal.runtime.progress import console

Columns = tuple[str, tuple[int, ...]]
"""A feature, and which of its numbers."""


def count_of(logs: Logs, name: str) -> int:
    """How many numbers a feature holds; raises `UserError` where it is not there, or holds something else."""
    features = logs.dataset.features
    if name not in features:
        raise UserError(f"{logs.job.path} has no {name!r}; it has {', '.join(features)}")
    feature = features[name]
    if feature.picture:
        raise UserError(f"{name} holds pictures, expected numbers")
    if feature.dtype == "object" or np.dtype(feature.dtype).kind not in "biuf":
        raise UserError(f"{name} holds {feature.dtype}, expected numbers")
    return numbers(feature)


def meant(logs: Logs, name: str, columns: Sequence[int] = ()) -> Columns:
    """What is called so, a stream of the mapping or a feature, or only some of its feature's numbers; raises
    `UserError` where there is none."""
    streams = logs.known.streams if isinstance(logs.known, RobotMapping) else ()
    stream = next((one for one in streams if one.name == name), None)
    if stream is None and name not in logs.dataset.features:
        named = f"the streams {', '.join(one.name for one in streams)} and " if streams else ""
        raise UserError(
            f"{logs.job.path} has no {name!r}; it has {named}the features {', '.join(logs.dataset.features)}"
        )
    feature = name if stream is None else stream.feature
    count = count_of(logs, feature)
    chosen = tuple(columns) or (tuple(range(count)) if stream is None else stream.columns)
    if max(chosen) >= count or len(set(chosen)) < len(chosen):
        raise UserError(f"{feature} holds {count} numbers, counted from 0; found {', '.join(map(str, chosen))}")
    return feature, chosen


def read_numbers(logs: Logs, episode: int, wanted: Sequence[Columns], final: bool = False) -> list[Array]:
    """Numbers of some features in an episode, (steps, d) each; with `final` also what its last step led to, where that
    was recorded of all.

    Raises `UserError` where they are not finite; in episodes that the mapping leaves out 0 stands for those.
    """
    names = list(dict.fromkeys(name for name, _ in wanted))
    found = logs.dataset.episode(episode, names)
    after = logs.dataset.final(episode, names) if final else {}
    if set(names) <= set(after):
        found = {name: np.concatenate([found[name], after[name]]) for name in names}
    return [_finite(logs, episode, name, found[name], chosen) for name, chosen in wanted]


def _finite(logs: Logs, episode: int, name: str, values: Array, columns: tuple[int, ...]) -> Array:
    rows = values.reshape(len(values), -1)[:, list(columns)].astype(np.float64)
    known = np.isfinite(rows)
    if not known.all() and episode in logs.used:
        raise UserError(
            f"{name} of episode {episode} in {logs.job.path} holds numbers that are not finite; leave it out "
            f"(leave_out in {NAME}), or mend it"
        )
    return np.where(known, rows, 0.0)


def unseen(logs: Logs, names: Collection[str]) -> Logs:
    """Logs whose proposed mapping does not observe what becomes their labels; a person's mapping stays as it is."""
    known = logs.known
    if not isinstance(known, RobotMapping) or beside(logs.job.path).is_file():
        return logs
    streams = tuple(one for one in known.streams if one.feature not in names or one.feature.startswith("observation"))
    if not streams or len(streams) == len(known.streams):
        return logs
    dropped = [one.name for one in known.streams if one not in streams]
    console.print(f"not observed, as labels are made of it: {', '.join(dropped)}")
    return replace(logs, known=replace(known, streams=streams))
