"""A robot's own pictures and positions, as its models were trained to see them."""

from dataclasses import replace

import numpy as np
import pytest

from glocal.data.mapping import Mapping
from glocal.deploy.view import check_robot, plain, through
from glocal.files import UserError
from glocal.tasks.pusht import PushTConfig, Seen

LOGS = Mapping("cam", (4, 8), "pos", "act", fps=10, rate=5, reach=10.0, low=(0, -50), high=(100, 50), size=2,
               crop=(0, 4, 4, 4))  # fmt: skip
FITTING = Mapping("cam", (64, 64), "pos", "act", fps=10, rate=5, reach=50.0)
ROBOT = PushTConfig(reach=50.0)


def seen(height: int = 4, width: int = 8) -> Seen:
    image = np.zeros((height, width, 3), np.uint8)
    image[:, 4:] = 100
    return Seen(np.arange(16.0), np.array([25.0, 0.0]), np.zeros(3), 0.5, image)


def test_pictures_are_cropped_and_positions_brought_to_the_table():
    one = through(LOGS)(seen())
    assert one.image.shape == (2, 2, 3) and (one.image == 100).all()
    assert one.agent.tolist() == [128.0, 256.0]  # a quarter of 512, and half of it
    assert np.array_equal(one.keypoints, np.arange(16.0)) and one.coverage == 0.5


def test_the_tasks_own_records_are_seen_as_they_are():
    one = seen()
    assert plain(one) is one


def test_pictures_of_another_size_are_refused():
    with pytest.raises(UserError, match=r"made pictures of \(4, 8\), this one pictures of \(8, 4\)"):
        through(LOGS)(seen(8, 4))
    with pytest.raises(UserError, match="this one no picture"):
        through(LOGS)(replace(seen(), image=None))


def test_a_robot_that_its_logs_fit_passes():
    assert check_robot(FITTING, ROBOT) == []


@pytest.mark.parametrize(
    "change, robot, said",
    [
        ({"fps": 4, "rate": 4}, ROBOT, "rate is 4, the robot decides 5 times a second"),
        ({"reach": 40.0}, ROBOT, "the robot's is 50, say --task.reach 40"),
        ({"high": (512.0, 256.0)}, ROBOT, "the robot's is 50, say --task.reach 75"),
        ({"size": 32}, ROBOT, "size is 32, models see pictures of 64"),
        ({"state": None}, ROBOT, "there is no state, but the agent's position is observed"),
    ],
)
def test_what_does_not_fit_a_robot_is_named(change, robot, said):
    (wrong,) = check_robot(replace(FITTING, **change), robot)
    assert said in wrong


def test_logs_without_a_state_fit_a_robot_that_finds_itself_in_pictures():
    assert check_robot(replace(FITTING, state=None), replace(ROBOT, agent=False)) == []
