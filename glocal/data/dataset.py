"""What every format of robot logs comes down to: episodes of features, read one at a time."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

Array = NDArray[Any]


@dataclass(frozen=True)
class Feature:
    """One thing that is recorded at every step: numbers of a shape, or pictures (h, w, c)."""

    shape: tuple[int, ...]
    dtype: str
    """numpy's name; pictures are uint8."""
    picture: bool = False
    names: tuple[str, ...] | None = None
    """Of its numbers, where the format tells them."""
    filmed: bool = False
    """Whether pictures are kept as a video, in which colours are half as fine as brightness (4:2:0)."""


class Dataset(ABC):
    """Recorded episodes in some format. Row t of an episode holds what was observed and the action taken on it."""

    folder: Path
    format: str
    fps: float | None
    """Steps per second, where the format tells it."""
    features: Mapping[str, Feature]
    lengths: Sequence[int]
    """Steps of each episode."""

    @abstractmethod
    def episode(self, number: int, names: Sequence[str]) -> dict[str, Array]:
        """Some features of an episode, each (steps, ...); raises `UserError` naming file and episode where damaged."""

    @property
    def observed(self) -> Sequence[int]:
        """Observations of each episode: one for each step, and one more where the format keeps what the last led to."""
        return self.lengths

    def final(self, number: int, names: Sequence[str]) -> dict[str, Array]:
        """What an episode's last step led to, (1, ...) for those of some features that the format keeps it of."""
        return {}

    def task(self, number: int) -> str:
        """What an episode is of, in words; empty where the format does not tell."""
        return ""

    def __len__(self) -> int:
        return len(self.lengths)


@dataclass(frozen=True)
class Format:
    """A way of laying out a dataset: how it is recognised, and how it is opened."""

    name: str
    recognises: Callable[[Path], bool]
    open: Callable[[Path], Dataset]
