"""What happened in a rollout as logs hold it: what came of control steps, and where an episode ended."""

from dataclasses import replace
from typing import Any, ClassVar

import numpy as np
import pytest

from glocal.data.mapping import Mapping
from glocal.data.streams import ActionPart, RobotMapping, Stream
from glocal.deploy.control import Control, ControlConfig
from glocal.deploy.guard import Guarded
from glocal.deploy.logged import logged_mapping, logged_rows
from tests.deploy.test_control import Arm, Counting

LOGS = RobotMapping(
    (Stream("state", "state", (0,)),),
    (ActionPart("to", (0,), (0.0,), (9.0,)), ActionPart("by", (0,), (-1.0,), (1.0,), "delta")),
    fps=10.0,
    rate=5.0,
    reward="worth",
    done="over",
    ends=True,
)


class Worth(Arm):
    """A robot whose commands are worth 1, -3, 2, ...; no reward can follow the fifth."""

    success = over = ended = False
    reward = 0.0

    def reset(self, seed: int) -> None:
        """It is where it is."""

    def command(self, told: Any) -> None:
        super().command(told)
        self.reward = [1.0, -3.0, 2.0, 2.5, 4.0][len(self.told) - 1]
        self.over = self.ended = len(self.told) == 5


class Needing(Counting):
    needs: ClassVar[dict[str, Any]] = {"state": (1,)}


def happened(control_steps: int, robot: type[Arm] = Worth) -> tuple[Any, bool]:
    loop = Control(Needing(), Guarded(robot, None), ControlConfig(realtime=False))
    return loop.episode(control_steps), loop.robot.rewarded


@pytest.mark.parametrize(
    ("over", "expected"),
    [("largest", [-3, 2.5, 4]), ("last", [-3, 2.5, 4]), ("mean", [-1, 2.25, 4]), ("sum", [-2, 4.5, 4])],
)
def test_what_commands_were_worth_becomes_what_control_steps_were(over, expected):
    episode, rewarded = happened(9)
    rows = logged_rows(episode, Needing(), replace(LOGS, reward_over=over), rewarded)
    assert rows["next.reward"].tolist() == [[x] for x in expected]
    assert rows["by"].tolist() == [[2.0]] * 3  # both steps of the logs
    assert set(rows) == {"state", "to", "by", "next.reward", "next.success", "next.done"}


def test_an_end_after_which_nothing_follows_is_told_from_one_that_is_out_of_time():
    for control_steps, ends, done in ((9, True, True), (2, True, False), (2, False, True)):
        episode, rewarded = happened(control_steps)
        rows = logged_rows(episode, Needing(), replace(LOGS, ends=ends), rewarded)
        assert rows["next.done"][:-1].sum() == 0
        assert rows["next.done"][-1, 0] == done, (control_steps, ends)


def test_a_robot_that_tells_no_rewards_logs_none():
    episode, rewarded = happened(2, Arm)
    rows = logged_rows(episode, Needing(), LOGS, rewarded)
    assert "next.reward" not in rows
    known = logged_mapping(LOGS, set(rows))
    assert known is not None
    assert (known.reward, known.fps, known.ends) == (None, 5.0, True)


def test_logs_with_rewards_are_read_so():
    known = logged_mapping(LOGS, {"state", "to", "by", "next.reward"})
    assert known is not None
    assert (known.reward, known.reward_over, known.done) == ("next.reward", "last", "next.done")


def test_a_planar_robots_pose_is_read_where_it_is_written():
    logs = Mapping("image", (64, 64), "state", "action", 10.0, 5.0)
    for written, pose in (({"image", "state", "observation.pose"}, "observation.pose"), ({"image", "state"}, None)):
        known = logged_mapping(logs, written)
        assert isinstance(known, Mapping)
        assert known.pose == pose
    assert logged_mapping(logs, {"state"}) is None


def test_rewards_that_are_no_numbers_are_written_as_they_are():
    class Broken(Worth):
        def command(self, told: Any) -> None:
            super().command(told)
            self.reward = float("nan")

    episode, rewarded = happened(2, Broken)
    rows = logged_rows(episode, Needing(), LOGS, rewarded)
    assert np.isnan(rows["next.reward"]).all()
