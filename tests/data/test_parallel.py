"""Episodes are worked on by one process as by several."""

from glocal.data.dataset import Dataset
from glocal.data.parallel import over_episodes
from tests.data.test_formats import LENGTHS, npz_folder


def length(dataset: Dataset, number: int) -> int:
    return dataset.lengths[number]


def test_one_process_finds_what_two_find(tmp_path):
    path = npz_folder(tmp_path / "npz")
    numbers = range(len(LENGTHS))
    assert dict(over_episodes(path, length, numbers, 1)) == dict(over_episodes(path, length, numbers, 2))
    assert list(over_episodes(path, length, [], 1)) == []
