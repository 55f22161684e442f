"""A robot's own pictures and positions, as its models were trained to see them."""

from dataclasses import replace

import numpy as np
import pytest

from glocal.data.dataset import Feature
from glocal.data.mapping import Mapping
from glocal.deploy.preprocess import check_planar, check_robot, plain, through
from glocal.runtime.files import UserError
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
        ({"fps": 4, "rate": 4}, ROBOT, "rate is 4, the robot takes 5 control steps a second"),
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


PLANAR = {
    "cam": Feature((64, 64, 3), "uint8", picture=True),
    "pos": Feature((2,), "float32"),
    "act": Feature((2,), "float32"),
}
WRIST = {"wrist": Feature((64, 64, 3), "uint8", picture=True)}


def test_a_planar_robot_with_one_camera_passes():
    assert check_planar(FITTING, PLANAR, by_hand=False) == []


@pytest.mark.parametrize("count", [1, 3])
def test_a_robot_that_is_not_told_two_numbers_is_refused(count):
    for by_hand in (False, True):
        (wrong,) = check_planar(FITTING, PLANAR | {"act": Feature((count,), "float32")}, by_hand)
        assert wrong == f"its act holds {count} numbers, expected 2"


@pytest.mark.parametrize("other", ["action", "action.gripper", "actions"])
def test_a_second_action_is_refused(other):
    (wrong,) = check_planar(FITTING, PLANAR | {other: Feature((2,), "float32")}, by_hand=True)
    assert wrong == f"it is told {other} beside act, expected one action"


def test_an_action_of_its_own_name_is_no_second_one():
    mapping = replace(FITTING, action="action")
    assert check_planar(mapping, {**PLANAR, "action": PLANAR["act"]}, by_hand=False) == []


@pytest.mark.parametrize(
    "count, representation, by_hand, refused",
    [
        (1, "absolute", True, True),
        (2, "delta", False, False),
        (3, "delta", False, True),
        (3, "delta", True, False),
        (3, "absolute", False, False),
    ],
)
def test_which_two_numbers_of_a_state_are_meant_is_said_or_seen(count, representation, by_hand, refused):
    mapping = replace(FITTING, representation=representation)
    wrong = check_planar(mapping, PLANAR | {"pos": Feature((count,), "float32")}, by_hand)
    said = f"its pos holds {count} numbers, expected 2, or a mapping that says which two"
    assert wrong == ([said] if refused else [])


def test_which_of_two_cameras_is_meant_is_said():
    (wrong,) = check_planar(FITTING, PLANAR | WRIST, by_hand=False)
    assert wrong == "it is seen by 2 cameras (cam, wrist), expected 1, or a mapping that says which"
    assert check_planar(FITTING, PLANAR | WRIST, by_hand=True) == []
