"""Films of episodes: pictures of the first ones, control step by control step, in a grid."""

import math
import sys
import warnings
from collections.abc import Callable, Sequence
from typing import Any, Generic, Protocol, TypeVar

import cv2
import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
HEIGHT = 128
"""Of a filmed picture; its width is as the camera's."""


class Pictured(Protocol):
    """A robot that may be looked at."""

    def picture(self) -> Any: ...


R = TypeVar("R", bound=Pictured)


class Film(Generic[R]):
    """Pictures of the first `wanted` episodes; where one cannot be made `failed` says why, and there are none.

    `robots` makes those that are filmed: what makes pictures can cost time, and fail.
    """

    def __init__(self, wanted: int, robots: Callable[[], R]):
        self.wanted, self.robots, self.failed = wanted, robots, ""
        self._takes: list[list[Array]] = [[] for _ in range(wanted)]

    def look(self, first: int, robots: Sequence[Pictured]) -> None:
        """Take a picture of each robot, which play the episodes from `first` on, as far as they are filmed."""
        for take, robot in zip(self._takes[first:], robots, strict=False):
            if not self.failed:
                self._take(take, robot)

    def _take(self, take: list[Array], robot: Pictured) -> None:
        loud, sys.unraisablehook = sys.unraisablehook, lambda _: None  # half-made viewers complain when they go
        try:
            with warnings.catch_warnings(action="ignore"):
                picture = robot.picture()
            if not isinstance(picture, np.ndarray) or picture.ndim != 3 or picture.dtype != np.uint8:
                raise ValueError(f"it shows {type(picture).__name__}, and no picture")
            take.append(small(picture))
        except Exception as error:  # drivers of graphics raise what they like
            self.failed = f"its environment cannot be filmed: {str(error) or repr(error)}"
        finally:
            sys.unraisablehook = loud

    @property
    def frames(self) -> list[Array]:
        """A grid of pictures for each control step, and one for how episodes begin; nothing where filming failed."""
        takes = [take for take in self._takes if take]
        return [] if self.failed else [grid(pictures) for pictures in zip(*takes, strict=True)]


def small(picture: Array) -> Array:
    """A picture (h, w, 3) as it is filmed, of even sides."""
    width = max(2, 2 * round(HEIGHT * picture.shape[1] / picture.shape[0] / 2))
    return cv2.resize(picture, (width, HEIGHT), interpolation=cv2.INTER_AREA)


def grid(pictures: Sequence[Array]) -> Array:
    """Pictures of one size (h, w, 3) in rows and columns of about equal number."""
    columns = math.ceil(math.sqrt(len(pictures)))
    rows = math.ceil(len(pictures) / columns)
    blank = np.full_like(pictures[0], 255)
    filled = [*pictures, *[blank] * (rows * columns - len(pictures))]
    return np.concatenate([np.concatenate(filled[r * columns : (r + 1) * columns], 1) for r in range(rows)], 0)
