"""What cameras of the environments show, in a process of its own: how MuJoCo draws is settled when it is imported."""

import os
import subprocess
import sys

import numpy as np
import pytest

pytest.importorskip("mujoco", reason="mujoco is not installed, which the environments need: pip install -e '.[tasks]'")

DRAW = """
import sys
import gymnasium, numpy as np
import glocal_envs
from glocal_envs.push_cube import Start as Walk
from glocal_envs.grasp_lift import Start as Lie
from glocal_envs.scene import Cube

found = {}
push = gymnasium.make("glocal/PushCube-v0", render_mode="rgb_array", width=48, height=32, camera="chase", head=64)
for name, robot in (("ahead", (-1.0, 0.0, 0.0)), ("behind", (-1.0, 0.0, 3.14))):
    start = Walk(robot, (-0.2, 0.0, 0.0), (1.0, 0.1))
    found[name] = push.reset(options={"state": start})[0]["head"]
options = {"state": Walk((-1.0, 0.0, 0.0), (-0.2, 0.0, 0.0), (1.0, 0.1)), "cube": Cube(0.15, 1.5, 0.3, light=0.5)}
found["dark"] = push.reset(options=options)[0]["head"]
found["chase"] = push.render()
lift = gymnasium.make("glocal/GraspLift-v0", render_mode="rgb_array", head=64)
for name, y in (("left", 0.0), ("right", -0.2)):
    found[name] = lift.reset(options={"state": Lie((0.35, y, 0.0))})[0]["head"]
found["side"] = lift.render()
np.savez(sys.argv[1], **found)
"""


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> dict[str, np.ndarray]:
    path = tmp_path_factory.mktemp("drawn") / "seen.npz"
    run = subprocess.run(
        [sys.executable, "-c", DRAW, str(path)],
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | {"MUJOCO_GL": "egl", "LP_NUM_THREADS": "1"},
    )
    if run.returncode and any(word in run.stderr for word in ("EGL", "OpenGL", "libGL")):
        pytest.skip(f"nothing can be drawn here: {run.stderr.splitlines()[-1]}")
    assert not run.returncode, run.stderr
    return dict(np.load(path))


def orange(picture: np.ndarray) -> np.ndarray:
    return (picture[..., 0] > 100) & (picture[..., 1] < 0.6 * picture[..., 0]) & (picture[..., 2] < 60)


def test_the_robot_sees_what_is_ahead_of_it(drawn):
    ahead, behind = drawn["ahead"], drawn["behind"]
    assert ahead.shape == (64, 64, 3) and ahead.dtype == np.uint8
    assert 600 < orange(ahead).sum() < 1500 and not orange(behind).any()
    columns = np.nonzero(orange(ahead))[1]
    assert abs(columns.mean() - 31.5) < 8  # the cube is straight ahead
    green = (ahead[..., 1] > 120) & (ahead[..., 0] < 80)
    assert (
        green[:25].any() and np.nonzero(green[:25])[1].max() < columns.mean()
    )  # the beacon hangs a little to the left


def test_light_is_what_the_cube_is_seen_in(drawn):
    ahead, dark = drawn["ahead"].astype(float), drawn["dark"].astype(float)
    floor = (slice(50, 64), slice(0, 64))
    assert dark[floor].mean() == pytest.approx(0.5 * ahead[floor].mean(), rel=0.1)


def test_from_outside_pictures_are_as_large_as_was_asked(drawn):
    assert drawn["chase"].shape == (32, 48, 3) and drawn["chase"].std() > 5
    assert drawn["side"].shape == (96, 96, 3) and drawn["side"].std() > 10


def test_the_humanoid_sees_the_cube_where_it_lies(drawn):
    found = {}
    for name in ("left", "right"):
        picture = drawn[name].astype(int)
        red = (picture[..., 0] > 120) & (picture[..., 1] < 60) & (picture[..., 2] < 60)
        assert 10 < red.sum() < 200
        found[name] = np.nonzero(red)[1].mean()
    assert found["right"] - found["left"] > 12
