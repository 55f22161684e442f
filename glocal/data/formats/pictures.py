"""Pictures that formats keep as arrays: of bytes, of numbers from 0 to 255, or of fractions from 0 to 1."""

from collections.abc import Iterable
from typing import Any

import numpy as np

from glocal.data.dataset import Array, Feature


def feature_of(array: Any) -> Feature:
    """The feature that an array (steps, ...) is: pictures where it is (steps, height, width, 3)."""
    picture = len(array.shape) == 4 and array.shape[-1] == 3 and np.dtype(array.dtype).kind in "fiu"
    shape = tuple(map(int, array.shape[1:])) or (1,)
    return Feature(shape, "uint8" if picture else str(array.dtype), picture)


def brightest(samples: Iterable[Array]) -> float:
    """What white is in some pictures: 1 where they are fractions, none of which is above that, and 255 else."""
    parts = list(samples)
    fractions = all(part.dtype.kind == "f" and not (part > 1).any() for part in parts)
    return 1.0 if fractions else 255.0


def as_bytes(values: Array, white: float) -> Array:
    """Pictures in which white is that as bytes; raises `ValueError` where they are not from 0 to it, or where bytes and
    fractions are mixed."""
    if values.dtype == np.uint8 and white == 255:
        return values
    if not np.isfinite(values).all():
        raise ValueError("its pictures hold NaN or infinite numbers; leave it out, or mend it")
    if values.min() < 0 or values.max() > white:
        raise ValueError(
            f"its pictures hold {values.min():g} to {values.max():g}, expected 0 to {white:g} as in the others; "
            "bring all of them to 0 to 1, or to 0 to 255"
        )
    if white == 255 and values.dtype.kind == "f" and 0 < values.max() <= 1:
        raise ValueError("its pictures hold fractions of 1, the others 0 to 255; bring all of them to 0 to 255")
    return (values * (255.0 / white)).round().astype(np.uint8)
