"""Formats of robot logs; which one a path is in is found out by looking."""

from pathlib import Path

from glocal.data.dataset import Dataset, Format
from glocal.data.formats import flat, folder, lerobot, minari
from glocal.data.formats.bounds import check_dataset
from glocal.data.inside import sealed
from glocal.runtime.files import UserError

FORMATS = (lerobot.FORMAT, minari.FORMAT, flat.ZARR, flat.HDF5, folder.FORMAT)
WHOLE = (lerobot.FORMAT, minari.FORMAT, flat.ZARR)
"""Those that own whatever is in their folder; of the others single files are recordings."""


def open_dataset(path: Path) -> Dataset:
    """The dataset at a path, whatever its format; raises `UserError` where there is none that is known.

    Data sets are foreign input: what leads out of the folder, or is beyond the bounds, is refused.
    """
    known = check_format(path)
    sealed(path)
    dataset = known.open(path)
    if not len(dataset):
        raise UserError(f"{path} holds no episodes")
    check_dataset(dataset)
    return dataset


def is_recording(path: Path) -> bool:
    """Whether a file belongs to a data set, whichever, as far as its name and its neighbours tell."""
    place = path.resolve()
    numbers = (".npz", ".npy", *flat.H5_ENDINGS)
    filmed = place.suffix == ".mp4" and any(place.with_suffix(ending).is_file() for ending in (".npz", ".npy"))
    owned = any(one.recognises(above) for above in (place, *place.parents) for one in WHOLE)
    return filmed or place.suffix in numbers or owned


def check_format(path: Path) -> Format:
    """The format that a path is in; raises `UserError` where it is none that is known."""
    if not _is_there(path):
        raise UserError(f"there is nothing at {path}")
    for one in FORMATS:
        if one.recognises(path):
            return one
    raise UserError(
        f"{path} is in no format that is known here: expected a LeRobotDataset (meta/info.json), a zarr with data/ and "
        "meta/episode_ends, HDF5 files, a Minari dataset, or a folder of npz, or of mp4 and npy, files"
    )


def _is_there(path: Path) -> bool:
    try:
        return path.exists()
    except OSError as error:
        raise UserError(f"{str(path)[:200]} cannot be looked at ({error.strerror})") from error
