"""A LeRobotDataset v3.0 again, with other or further numbers on its steps; its videos are copied as they are."""

import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from glocal.data.dataset import Array, Feature
from glocal.data.formats.lerobot import LeRobotDataset, index_of, read_table
from glocal.data.formats.lerobot_writer import Statistics, column_of, told_of
from glocal.data.inside import apart, check_names, read_foreign_json, sealed
from glocal.runtime.files import UserError, atomic_write, write_json


def relabel(
    source: LeRobotDataset, folder: Path, features: Mapping[str, Feature], episodes: Sequence[Mapping[str, Array]]
) -> None:
    """Write a copy of a dataset with these features, each (steps, ...) for every episode, whole or not at all.

    Raises `UserError` where the folder exists already, or a table does not hold what the metadata say.
    """
    if folder.exists():
        raise UserError(f"{folder} exists already; name a new folder, or remove that one first")
    apart(folder, source.folder)
    check_names(features, folder)
    order = np.argsort([place.first for place in source.places])
    columns = {name: np.concatenate([episodes[i][name] for i in order]) for name in features}
    index = np.concatenate([source.places[i].first + np.arange(source.lengths[i]) for i in order])
    with atomic_write(folder) as draft:
        sealed(source.folder)
        shutil.copytree(source.folder, draft, symlinks=True, ignore=shutil.ignore_patterns("data", ".*"))
        for path in dict.fromkeys(place.table for place in source.places):
            table = _extended(source.folder, path, features, columns, index)
            target = draft / path.relative_to(source.folder)
            target.parent.mkdir(parents=True, exist_ok=True)
            pq.write_table(table, target)
        _tell(draft, features, columns)


def _extended(
    folder: Path, path: Path, features: Mapping[str, Feature], columns: Mapping[str, Array], index: Array
) -> pa.Table:
    table = read_table(folder, path)
    wanted = index_of(table, path)
    rows = np.searchsorted(index, wanted)
    if rows.max(initial=-1) >= len(index) or not np.array_equal(index[rows], wanted):
        raise UserError(f"{path} has rows that belong to no episode by what meta/episodes says; it is damaged")
    for name, feature in features.items():
        column = column_of(columns[name][rows], feature)
        kept = table.drop_columns([name]) if name in table.column_names else table
        table = kept.append_column(name, column)
    return table.replace_schema_metadata(None)


def _tell(folder: Path, features: Mapping[str, Feature], columns: Mapping[str, Array]) -> None:
    meta = folder / "meta"
    info, stats = read_foreign_json(folder, meta / "info.json"), _statistics(folder)
    for name, feature in features.items():
        found = Statistics(picture=False)
        found.add(columns[name])
        info["features"][name], stats[name] = told_of(feature), found.told()
    write_json(meta / "info.json", info)
    write_json(meta / "stats.json", stats)


def _statistics(folder: Path) -> dict[str, Any]:
    path = folder / "meta" / "stats.json"
    found = read_foreign_json(folder, path) if path.is_file() else {}
    if not isinstance(found, dict):
        raise UserError(f"{path} holds {type(found).__name__}, expected statistics by feature; it is damaged")
    return found
