"""Formats of robot logs; which one a path is in is found out by looking."""

from pathlib import Path

from glocal.data.dataset import Dataset, Format
from glocal.data.formats import flat, folder, lerobot, minari
from glocal.files import UserError

FORMATS = (lerobot.FORMAT, minari.FORMAT, flat.ZARR, flat.HDF5, folder.FORMAT)


def open_dataset(path: Path) -> Dataset:
    """The dataset at a path, whatever its format; raises `UserError` where there is none that is known."""
    dataset = check_format(path).open(path)
    if not len(dataset):
        raise UserError(f"{path} holds no episodes")
    return dataset


def check_format(path: Path) -> Format:
    """The format that a path is in; raises `UserError` where it is none that is known."""
    if not path.exists():
        raise UserError(f"there is nothing at {path}")
    for one in FORMATS:
        if one.recognises(path):
            return one
    raise UserError(
        f"{path} is in no format that is known here: expected a LeRobotDataset (meta/info.json), a zarr with data/ and "
        "meta/episode_ends, HDF5 files, a Minari dataset, or a folder of npz, or of mp4 and npy, files"
    )
