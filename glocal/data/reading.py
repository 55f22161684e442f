"""How an episode of a dataset becomes one of a store, by the mapping of a planar robot or of any other."""

import hashlib
import typing
from dataclasses import dataclass

import numpy as np

from glocal.data import streams
from glocal.data.dataset import Array, Dataset
from glocal.data.looks import as_arrays, look, most_changed
from glocal.data.mapping import Mapping, apply, features_of, moments
from glocal.data.streams import RobotMapping

Fields = typing.Mapping[str, Array]
NUMBER = 4
"""Bytes."""


class Reading(typing.Protocol):
    """What is read of an episode, and what becomes of it."""

    @property
    def features(self) -> list[str]:
        """Features that are read."""
        ...

    @property
    def row_bytes(self) -> int:
        """What a row takes in a store, about."""
        ...

    def episodes(self, count: int) -> list[int]:
        """Those of so many that are used."""
        ...

    def rows(self, observations: int) -> int:
        """Rows that an episode of so many recorded observations fills in a store."""
        ...

    def apply(self, found: Fields, final: Fields) -> dict[str, Array]:
        """The episode's fields in a store."""
        ...

    def look(self, found: Fields, number: int, episode: Fields) -> dict[str, Array]:
        """What the data checks want of an episode, from its features and from its fields in a store."""
        ...


@dataclass(frozen=True)
class PlanarReading:
    """Of a planar robot that is seen by one camera."""

    mapping: Mapping

    @property
    def features(self) -> list[str]:
        return features_of(self.mapping)

    @property
    def row_bytes(self) -> int:
        return self.mapping.size**2 * 3 + 10 * NUMBER

    def episodes(self, count: int) -> list[int]:
        return self.mapping.episodes(count)

    def rows(self, observations: int) -> int:
        return len(moments(self.mapping, observations))

    def look(self, found: Fields, number: int, episode: Fields) -> dict[str, Array]:
        return as_arrays(look(self.mapping, found, number))

    def apply(self, found: Fields, final: Fields) -> dict[str, Array]:
        return apply(self.mapping, found, final)


@dataclass(frozen=True)
class RobotReading:
    """Of any robot."""

    mapping: RobotMapping

    @property
    def features(self) -> list[str]:
        return streams.features_of(self.mapping)

    @property
    def row_bytes(self) -> int:
        seen = sum(len(stream.columns) for stream in self.mapping.streams)
        pictures = sum(3 * camera.size**2 for camera in self.mapping.cameras)
        return (seen + self.mapping.action_dim + 3) * NUMBER + pictures

    def episodes(self, count: int) -> list[int]:
        return self.mapping.episodes(count)

    def rows(self, observations: int) -> int:
        return len(moments(self.mapping, observations))

    def apply(self, found: Fields, final: Fields) -> dict[str, Array]:
        return streams.apply(self.mapping, found, final)

    def look(self, found: Fields, number: int, episode: Fields) -> dict[str, Array]:
        """Actions as they are asked for, before any is cut to its limits; each field's range, of pictures that of all
        their pixels, and by how much these change; a hash of all."""
        rows = np.arange(len(episode["action"])) * self.mapping.stride
        flat = {name: x.reshape(-1) if x.ndim == 4 else x for name, x in episode.items()}
        ends = {f"low:{name}": np.atleast_1d(x.min(0)) for name, x in flat.items()}
        ends |= {f"high:{name}": np.atleast_1d(x.max(0)) for name, x in flat.items()}
        ends |= {f"change:{name}": np.array(most_changed(x)) for name, x in episode.items() if x.ndim == 4}
        whole = b"".join(x.tobytes() for _, x in sorted(episode.items()))
        digest = np.frombuffer(hashlib.sha256(whole).digest(), np.uint8)
        asked = streams.normalised(self.mapping, streams.asked(self.mapping, found, rows))
        return {"asked": asked, "digest": digest, **ends}


def robot_look(mapping: RobotMapping, dataset: Dataset, number: int) -> dict[str, Array]:
    """What the data checks want of an episode of a dataset."""
    reading = RobotReading(mapping)
    found = dataset.episode(number, reading.features)
    return reading.look(found, number, reading.apply(found, dataset.final(number, reading.features)))
