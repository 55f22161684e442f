"""Reading in another process: what a reader gives and says comes back; its death or its endless loop is an error."""

import os
import re
import time
from pathlib import Path

import numpy as np
import pytest

from glocal.data.dataset import Dataset, Feature
from glocal.data.formats import aside
from glocal.data.formats.aside import Aside
from glocal.runtime.files import UserError


class Moody(Dataset):
    """Episode 0 reads, 1 is refused, 2 crashes, 3 never comes back."""

    format, fps, features, lengths = "moody", 10.0, {"action": Feature((1,), "float32")}, [3, 3, 3, 3]

    def __init__(self, path: Path):
        self.folder = path
        if path.name == "refused":
            raise UserError(f"{path} is refused")

    def episode(self, number, names):
        if number == 1:
            raise UserError(f"episode 1 in {self.folder} is damaged")
        if number == 2:
            os.abort()
        while number == 3:
            time.sleep(0.01)
        return {name: np.full((3, 1), number, np.float32) for name in names}


def test_what_is_read_aside_is_what_the_reader_reads(tmp_path):
    dataset, itself = Aside(Moody, tmp_path), Moody(tmp_path)
    for part in ("folder", "format", "fps", "features", "lengths"):
        assert getattr(dataset, part) == getattr(itself, part)
    assert np.array_equal(dataset.episode(0, ["action"])["action"], itself.episode(0, ["action"])["action"])


def test_a_refusal_comes_back_and_reading_goes_on(tmp_path):
    dataset = Aside(Moody, tmp_path)
    with pytest.raises(UserError, match=r"episode 1 in .* is damaged"):
        dataset.episode(1, ["action"])
    assert dataset.episode(0, ["action"])["action"].shape == (3, 1)
    with pytest.raises(UserError, match="is refused"):
        Aside(Moody, tmp_path / "refused")


@pytest.mark.parametrize("number", [2, 3], ids=["crashes", "never comes back"])
def test_a_reader_that_dies_is_an_error_that_names_file_and_episode(tmp_path, monkeypatch, number):
    monkeypatch.setattr(aside, "PATIENCE", 3.0)
    dataset = Aside(Moody, tmp_path)
    with pytest.raises(UserError, match=f"episode {number} in {re.escape(str(tmp_path))} cannot be read"):
        dataset.episode(number, ["action"])


def test_no_process_is_left(tmp_path):
    dataset = Aside(Moody, tmp_path)
    process = dataset._process
    del dataset
    assert process.poll() is not None
