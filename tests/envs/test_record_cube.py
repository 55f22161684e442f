"""Play on Push-Cube is recorded as the preset `robot` reads it."""

import os
import subprocess
import sys

import numpy as np
import pytest

from glocal.data.formats import open_dataset
from glocal.data.propose_robot import propose_robot
from glocal.pipeline.real import check_environment
from tests.logs import bench

pytest.importorskip("mujoco", reason="mujoco is not installed, which Push-Cube needs: pip install -e '.[tasks]'")

from glocal.pipeline.config import EnvConfig, RobotConfig


def test_what_is_proposed_for_the_logs_fits_the_environment(tmp_path):
    bench("record", "push-cube", tmp_path / "logs", "--episodes", "2", "--steps", "60", "--processes", "1")
    dataset = open_dataset(tmp_path / "logs")
    mapping, _ = propose_robot(dataset)
    assert [one.name for one in mapping.streams] == ["proprio", "command", "place", "task"]
    assert mapping.rate == dataset.fps == 5 and [part.kind for part in mapping.action] == ["velocity"]
    assert (mapping.reward, mapping.success, mapping.done) == ("next.reward", "next.success", "next.done")
    check_environment(RobotConfig(mapping), EnvConfig("glocal/PushCube-v0"))
    first, second = (dataset.episode(number, ["action.velocity"])["action.velocity"] for number in (0, 1))
    assert not np.array_equal(first, second)


def test_with_a_camera_cube_and_goal_are_seen_and_not_told(tmp_path):
    """In processes of their own: how MuJoCo draws is settled when it is imported."""
    env, folder = os.environ | {"MUJOCO_GL": "egl"}, tmp_path / "logs"
    drawn = "from glocal_envs.push_cube import PushCube; e = PushCube('rgb_array'); e.reset(seed=1); e.render()"
    tried = subprocess.run([sys.executable, "-c", drawn], capture_output=True, text=True, check=False, env=env)
    if tried.returncode:
        pytest.skip(f"nothing can be drawn here: {tried.stderr.splitlines()[-1]}")
    bench("record", "push-cube-seen", folder, "--episodes", 2, "--steps", 12, "--processes", 1, MUJOCO_GL="egl")
    dataset = open_dataset(folder)
    mapping, _ = propose_robot(dataset)
    assert [one.name for one in mapping.streams] == ["proprio", "command", "place"]
    (camera,) = mapping.cameras
    seen = dataset.episode(0, [camera.feature])[camera.feature]
    assert seen.shape == (12, 96, 96, 3)
    orange = (seen[0, ..., 0] > 180) & (seen[0, ..., 2] < 90)
    green = (seen[0, ..., 1] > 130) & (seen[0, ..., 0] < 110)
    assert 20 < orange.sum() < 120 and 30 < green.sum() < 120  # of about 49 and 66 pixels
