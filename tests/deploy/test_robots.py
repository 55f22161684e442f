"""What stands for a robot: Push-T's environment and recordings, at the rates of the logs."""

import numpy as np
import pytest

from glocal.deploy.robots import Judged, PushTRobot, RecordedRobot, Rewarded
from glocal.tasks.pusht import HOLD, PushT, PushTConfig, pose_of, reward_of

FEATURES = {"agent": "pos", "keypoints": "points", "action": "act"}


@pytest.mark.parametrize("hold", [1, 2, 6])
def test_a_control_step_takes_as_long_in_push_t_however_many_commands_it_has(hold):
    env = PushT(PushTConfig())
    first = env.reset(3)
    target = np.clip(first.agent + np.array([30.0, -20.0]), 0, 512)
    expected = env.step((target - first.agent) / 50.0)
    robot = PushTRobot(PushT(PushTConfig()), FEATURES, np.ones(2), np.zeros(2), HOLD / hold)
    robot.reset(3)
    for _ in range(hold):
        robot.command({"act": target})
    np.testing.assert_allclose(robot.observe()["pos"], expected.agent, atol=1e-3)


def test_positions_are_in_the_units_of_the_logs():
    robot = PushTRobot(PushT(PushTConfig()), FEATURES, np.full(2, 512.0), np.zeros(2), 2.0)  # a table of 1 by 1
    robot.reset(3)
    for _ in range(20):
        robot.command({"act": np.array([0.25, 0.75])})
    np.testing.assert_allclose(robot.observe()["pos"], [0.25, 0.75], atol=0.02)


def test_push_t_says_what_commands_were_worth_and_where_its_block_is():
    robot = PushTRobot(PushT(PushTConfig()), FEATURES | {"pose": "where"}, np.full(2, 512.0), np.zeros(2), 2.0)
    robot.reset(3)
    robot.command({"act": np.array([0.25, 0.75])})
    seen = robot.observe()
    assert robot.reward == pytest.approx(float(reward_of(seen["points"])))
    np.testing.assert_allclose(seen["where"][:2] * 512, pose_of(seen["points"])[:2], atol=1e-3)
    assert isinstance(robot, Rewarded)
    assert isinstance(robot, Judged)


def test_a_recording_goes_on_by_its_own_rows_and_says_what_was_done():
    """Of four rows two are a control step; commands come three to a control step."""
    rows = {"state": np.arange(4.0)[:, None]}
    robot = RecordedRobot(lambda number: rows, 1, ["state"], lambda found: np.array([[0.5], [-0.5]]), (2, 3))
    robot.reset(0)
    seen, done = [], []
    for _ in range(6):
        seen.append(float(robot.observe()["state"][0]))
        robot.command({})
        done.append(None if robot.done is None else float(robot.done[0]))
    assert seen == [0, 0, 0, 2, 2, 2]
    assert done == [None, None, 0.5, 0.5, 0.5, -0.5]
    assert robot.over
