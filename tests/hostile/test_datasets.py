"""Data sets that are made to do harm are refused in a sentence: nothing outside is read or written, and none takes
more than 2 GiB or 20 s."""

import pytest

from tests.hostile import arrays, lerobot
from tests.hostile.attempts import holds, tried


@pytest.mark.parametrize("case", lerobot.CASES, ids=lambda case: case.name)
def test_a_hostile_lerobot_dataset_is_refused(case):
    holds(case, tried(lerobot.__name__)[case.name])


@pytest.mark.parametrize("case", arrays.CASES, ids=lambda case: case.name)
def test_hostile_arrays_are_refused(case):
    holds(case, tried(arrays.__name__)[case.name])
