"""Play on grasp and lift is recorded as the preset `robot` reads it."""

import numpy as np
import pytest

from glocal.data.formats import open_dataset
from glocal.data.propose_robot import propose_robot
from glocal.pipeline.real import check_environment
from tests.logs import bench

pytest.importorskip("mujoco", reason="mujoco is not installed, which the environment needs: pip install -e '.[tasks]'")

from glocal.pipeline.config import EnvConfig, RobotConfig


def test_what_is_proposed_for_the_logs_fits_the_environment(tmp_path):
    bench("record", "grasp-lift", tmp_path / "logs", "--episodes", "2", "--steps", "90", "--processes", "1")
    dataset = open_dataset(tmp_path / "logs")
    mapping, _ = propose_robot(dataset)
    assert [one.name for one in mapping.streams] == ["joints", "hand", "command", "task"]
    assert [(part.feature, part.kind) for part in mapping.action] == [
        ("action.delta", "delta"),
        ("action.gripper", "absolute"),
    ]
    assert (mapping.reward, mapping.success, mapping.done) == ("next.reward", "next.success", "next.done")
    check_environment(RobotConfig(mapping), EnvConfig("glocal/GraspLift-v0"))
    episodes = [dataset.episode(number, ["observation.task", "action.gripper"]) for number in (0, 1)]
    assert len(episodes[0]["action.gripper"]) == 90
    assert not np.array_equal(episodes[0]["observation.task"], episodes[1]["observation.task"])
    moved = np.concatenate([np.ptp(one["observation.task"][:, 5:6], axis=0) for one in episodes])
    assert moved.max() > 0.02  # a cube left the table
