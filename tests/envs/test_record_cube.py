"""Play on Push-Cube is recorded as the preset `robot` reads it."""

import numpy as np
import pytest

from glocal.data.formats import open_dataset
from glocal.data.propose_robot import propose_robot
from glocal.pipeline.real import check_environment
from tests.logs import script

pytest.importorskip("mujoco", reason="mujoco is not installed, which Push-Cube needs: pip install -e '.[tasks]'")

from glocal.pipeline.config import EnvConfig, RobotConfig


def test_what_is_proposed_for_the_logs_fits_the_environment(tmp_path):
    script("record_cube", str(tmp_path / "logs"), "--episodes", "2", "--steps", "60", "--processes", "1")
    dataset = open_dataset(tmp_path / "logs")
    mapping, _ = propose_robot(dataset)
    assert [one.name for one in mapping.streams] == ["proprio", "command", "place", "task"]
    assert mapping.rate == dataset.fps == 5 and [part.kind for part in mapping.action] == ["velocity"]
    assert (mapping.reward, mapping.success, mapping.done) == ("next.reward", "next.success", "next.done")
    check_environment(RobotConfig(mapping), EnvConfig("glocal/PushCube-v0"))
    first, second = (dataset.episode(number, ["action.velocity"])["action.velocity"] for number in (0, 1))
    assert not np.array_equal(first, second)
