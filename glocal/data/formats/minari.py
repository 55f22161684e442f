"""Minari's datasets, read by Minari itself (an extra); the last observation, on which nothing was done, is `final`."""

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from glocal.data.dataset import Array, Dataset, Feature, Format
from glocal.data.formats.aside import Aside
from glocal.data.formats.flat import check_own_tree, library, own_names
from glocal.data.inside import read_foreign_json
from glocal.runtime.files import UserError

OUTCOMES = {"next.reward": "rewards", "next.done": "terminations"}
DATA = "main_data.hdf5"


class MinariDataset(Dataset):
    """A folder with `data/main_data.hdf5`; observations of several parts become `observation.<part>`."""

    format, fps = "Minari", None

    def __init__(self, folder: Path):
        self.folder = folder
        inner = folder / "data" if (folder / "data" / DATA).is_file() else folder
        self.file = inner / DATA
        minari = library("minari")
        _check_spaces(inner)
        try:
            with library("h5py").File(self.file, "r") as file:
                own_names(self.file, file)
            self.whole = minari.MinariDataset(inner)
            self.lengths = [int(told["total_steps"]) for told in self._metadata(range(self.whole.total_episodes))]
        except UserError:
            raise
        except Exception as error:  # h5py, JSON and Gymnasium all raise what they like at damaged files
            raise UserError(
                f"{inner} does not read as a Minari dataset ({error!r}); it is damaged or cut short"
            ) from error
        self._last: tuple[int, dict[str, Array], dict[str, Array]] | None = None
        self.features = {name: _feature(array) for name, array in self._kept(0)[0].items()}

    @property
    def observed(self) -> Sequence[int]:
        return [length + 1 for length in self.lengths]

    def final(self, number: int, names: Sequence[str]) -> dict[str, Array]:
        found = self._kept(number)[1]
        return {name: found[name].reshape(-1, *self.features[name].shape) for name in names if name in found}

    def episode(self, number: int, names: Sequence[str]) -> dict[str, Array]:
        found = self._kept(number)[0]
        for name in names:
            feature = _feature(found[name]) if name in found else None
            if feature != self.features[name] or len(found[name]) != self.lengths[number]:
                raise UserError(
                    f"{name} of episode {number} in {self.folder} is {feature} of {len(found.get(name, ()))} steps, "
                    f"expected {self.features[name]} of {self.lengths[number]}"
                )
        return {name: found[name].reshape(len(found[name]), *self.features[name].shape) for name in names}

    def _metadata(self, numbers: Sequence[int]) -> list[dict[str, Any]]:
        return list(self.whole.storage.get_episode_metadata(numbers))

    def _kept(self, number: int) -> tuple[dict[str, Array], dict[str, Array]]:
        if self._last is None or self._last[0] != number:
            self._last = number, *self._read(number)
        return self._last[1:]

    def _read(self, number: int) -> tuple[dict[str, Array], dict[str, Array]]:
        """What was observed, done and came of it at each step, and what was observed after the last one."""
        try:
            with library("h5py").File(self.file, "r") as file:
                check_own_tree(self.file, file[f"episode_{number}"])
            (one,) = self.whole.iterate_episodes([number])
            steps = len(one.rewards)
            seen = {f"observation{name}": array for name, array in _parts(one.observations).items()}
            found = {name: array[:steps] for name, array in seen.items()}
            found |= {f"action{name}": array for name, array in _parts(one.actions).items()}
            found |= {name: np.asarray(getattr(one, key)) for name, key in OUTCOMES.items()}
            return found, {name: array[steps:] for name, array in seen.items()}
        except UserError:
            raise
        except Exception as error:
            raise UserError(f"episode {number} in {self.folder} cannot be read ({error!r}); it is damaged") from error


def _check_spaces(folder: Path) -> None:
    """Raise `UserError` where Minari would make an environment to learn what the data are: that runs what they name."""
    path = folder / "metadata.json"
    told = read_foreign_json(folder, path)
    spaces = [told.get(f"{kind}_space") if isinstance(told, dict) else None for kind in ("observation", "action")]
    if not all(isinstance(space, str) for space in spaces) or told.get("data_format", "hdf5") != "hdf5":
        raise UserError(
            f"{path} does not tell observation_space and action_space of data in hdf5; Minari would run the "
            "environment that it names instead, and code that data name is not run"
        )


def _parts(values: Any, name: str = "") -> dict[str, Array]:
    """Nested observations or actions as arrays by their path."""
    if isinstance(values, Mapping):
        parts = [_parts(part, f"{name}.{key}") for key, part in values.items()]
        return {key: array for part in parts for key, array in part.items()}
    if isinstance(values, tuple):
        return _parts(dict(enumerate(values)), name)
    return {name: np.asarray(values)}


def _feature(array: Array) -> Feature:
    picture = array.ndim == 4 and array.shape[-1] == 3 and array.dtype == np.uint8
    return Feature(array.shape[1:] or (1,), str(array.dtype), picture)


def _recognises(path: Path) -> bool:
    return (path / DATA).is_file() or (path / "data" / DATA).is_file()


FORMAT = Format("minari", _recognises, partial(Aside, MinariDataset))
"""Aside: HDF5's library never comes back from some flipped bits in the heap that Minari keeps pictures in."""
