"""The control loop: its clock, its guard, what it tells the robot between control steps."""

import threading
import time
from typing import Any, ClassVar

import numpy as np
import pytest

from glocal.deploy import guard
from glocal.deploy.control import Control, ControlConfig, Ticks, Timing, commands_in_control_step, part_of_way
from glocal.deploy.guard import ControlError, Guarded

FAST = ControlConfig(realtime=False)


class Counting:
    """A policy that tells 1, 2, 3, ... to go to, and always to move by one."""

    rate, hold = 5.0, 2
    deltas: ClassVar[dict[str, Any]] = {"to": np.array([False]), "by": np.array([True])}
    velocities: ClassVar[dict[str, Any]] = {"to": np.array([False]), "by": np.array([False])}
    action: Any = None
    surprise, alarm = 0.0, 1.0

    def reset(self) -> None:
        self.count = 0

    def act(self, observation: Any) -> dict[str, Any]:
        self.count += 1
        self.action = np.array([0.1 * self.count])
        self.dones: list[float] = getattr(self, "dones", [])
        return {"to": np.array([float(self.count)]), "by": np.array([1.0])}

    def did(self, action: Any) -> None:
        self.dones.append(float(action[0]))
        self.action = action

    def normalised(self, told: Any, observation: Any) -> Any:
        return 0.1 * told["to"]


class Arm:
    """A robot that remembers what it was told."""

    def __init__(self) -> None:
        self.told: list[Any] = []
        self.stops = 0
        self.thread = threading.get_ident()

    def observe(self) -> Any:
        assert threading.get_ident() == self.thread
        return {"state": np.zeros(1)}

    def command(self, told: Any) -> None:
        self.told.append({name: float(x[0]) for name, x in told.items()})

    def stop(self) -> None:
        self.stops += 1


class Goal(Arm):
    """The same with a goal, which is reached at the third command, and an end after the fifth."""

    success = over = False

    def reset(self, seed: int) -> None:
        self.seed = seed

    def command(self, told: Any) -> None:
        super().command(told)
        self.success, self.over = len(self.told) == 3, len(self.told) == 5


def control(robot: type[Arm] = Arm, cfg: ControlConfig = FAST, policy: Any = None, **more: Any) -> Control:
    return Control(policy or Counting(), Guarded(robot, cfg.patience if cfg.realtime else None), cfg, **more)


def test_commands_are_held_and_the_robot_is_stopped_at_the_end():
    loop = control()
    found = loop.episode(3)
    assert [one["to"] for one in loop.robot.robot.told] == [1, 1, 2, 2, 3, 3]
    assert loop.robot.robot.stops == 1
    assert [float(x[0]) for x in found.action] == pytest.approx([0.1, 0.2, 0.3])


def test_on_the_way_to_a_target_commands_lie_between_and_deltas_add_up_to_the_same():
    loop = control(cfg=ControlConfig(hz=20, between="linear", realtime=False))
    loop.episode(2)
    told = loop.robot.robot.told
    assert [one["to"] for one in told] == pytest.approx([1, 1, 1, 1, 1.25, 1.5, 1.75, 2])
    assert [one["by"] for one in told] == pytest.approx([0.5] * 8)  # 2 in a control step, as with 2 commands of 1


def test_minimum_jerk_begins_and_ends_at_rest():
    assert [part_of_way(x, "minimum-jerk") for x in (0, 0.5, 1)] == pytest.approx([0, 0.5, 1])
    assert part_of_way(0.01, "minimum-jerk") < 1e-4
    assert part_of_way(0.99, "minimum-jerk") > 1 - 1e-4


def test_a_rate_that_is_no_multiple_is_refused():
    assert commands_in_control_step(Counting(), ControlConfig()) == 2
    with pytest.raises(ControlError, match="12 commands a second are no multiple of the policy's 5"):
        commands_in_control_step(Counting(), ControlConfig(hz=12))


def test_success_in_any_command_counts_and_the_end_ends_it():
    loop = control(Goal)
    found = loop.episode(9, seed=7)
    assert (found.success, found.ended, loop.robot.robot.seed) == ([False, True, False], "over", 7)


def test_a_shadow_tells_the_robot_nothing():
    loop = control(cfg=ControlConfig(shadow=True, realtime=False))
    assert len(loop.episode(3).told) == 3
    assert loop.robot.robot.told == []


def test_it_ends_after_the_control_step_in_which_somebody_stops_it():
    asked = iter([False, False, True])
    loop = control(stopped=lambda: next(asked))
    found = loop.episode(9)
    assert (len(found.told), found.ended, loop.robot.robot.stops) == (2, "stopped by hand", 1)


def test_the_robot_is_stopped_where_the_policy_fails():
    class Failing(Counting):
        def act(self, observation: Any) -> Any:
            raise FloatingPointError("not finite")

    loop = control(policy=Failing())
    with pytest.raises(FloatingPointError):
        loop.episode(3)
    assert loop.robot.robot.stops == 1


def test_a_robot_that_does_not_answer_in_time_is_stopped_before_the_error_is_raised():
    class Hanging(Arm):
        def observe(self) -> Any:
            time.sleep(0.3)
            return super().observe()

        def stop(self) -> None:
            time.sleep(0.2)  # what comes late is not taken for what says that it has stopped
            super().stop()

    loop = control(Hanging, ControlConfig(hz=40, patience=0.05))
    with pytest.raises(ControlError, match=r"did not answer `observe` within 0.05 s"):
        loop.episode(3)
    assert loop.robot.robot.stops == 1


def test_a_robot_of_which_nothing_is_asked_for_a_while_is_stopped():
    class Slow(Counting):
        def act(self, observation: Any) -> Any:
            time.sleep(0.6 * (self.count > 0))
            return super().act(observation)

    loop = control(cfg=ControlConfig(patience=0.25), policy=Slow())
    with pytest.raises(ControlError, match=r"nothing was asked of the robot for 0.25 s"):
        loop.episode(3)
    assert loop.robot.robot.stops >= 1


def test_what_the_robot_raises_is_raised_and_it_is_stopped():
    class Broken(Arm):
        def observe(self) -> Any:
            raise ConnectionError("cable")

    loop = control(Broken)
    with pytest.raises(ControlError, match="`observe` failed with ConnectionError: cable"):
        loop.episode(1)
    assert loop.robot.robot.stops == 1


class Startled(Counting):
    """Surprised at the second control step, and then no more."""

    def act(self, observation: Any) -> dict[str, Any]:
        told = super().act(observation)
        self.surprise = 2.0 if self.count == 2 else 0.0
        return told


@pytest.mark.parametrize(
    ("on_alarm", "to", "by"),
    [
        ("warn", [1, 1, 2, 2, 3, 3], [1, 1, 1, 1, 1, 1]),
        ("slow", [1, 1, 1.5, 1.5, 3, 3], [1, 1, 0.5, 0.5, 1, 1]),
        ("stop", [1, 1], [1, 1]),
    ],
)
def test_an_alarm_warns_slows_or_stops(on_alarm, to, by):
    loop = control(cfg=ControlConfig(realtime=False, on_alarm=on_alarm), policy=Startled())
    found = loop.episode(3)
    assert [one["to"] for one in loop.robot.robot.told] == pytest.approx(to)
    assert [one["by"] for one in loop.robot.robot.told] == pytest.approx(by)
    assert found.alarm == [False, True, False][: len(found.alarm)]
    assert bool(found.ended) == (on_alarm == "stop")


class Clock:
    """A clock that moves when somebody sleeps, and when it is told to."""

    def __init__(self) -> None:
        self.time, self.slept = 100.0, []

    def now(self) -> float:
        return self.time

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.time += seconds


def test_ticks_keep_to_their_moments_and_what_is_late_is_not_caught_up_with():
    clock, timing = Clock(), Timing()
    ticks = Ticks(10, 1.0, timing, clock.now, clock.sleep)
    for work in (0.02, 0.05, 0.33, 0.0, 0.04):
        clock.time += work
        ticks.wait()
    assert clock.slept == pytest.approx([0.08, 0.05, 0.1, 0.06])
    assert (timing.ticks, timing.late) == (5, 1)


@pytest.mark.parametrize("jump", [5.0, -5.0])
def test_a_clock_that_jumps_is_an_error(jump):
    clock = Clock()
    ticks = Ticks(10, 1.0, Timing(), clock.now, clock.sleep)
    ticks.wait()
    clock.time += jump
    with pytest.raises(ControlError, match="it jumped"):
        ticks.wait()


def test_an_alarm_does_not_ring_before_anything_could_be_expected_nor_in_a_shadow():
    class Alarmed(Counting):
        surprise, alarm = 0.0, -1.0

    assert control(policy=Alarmed()).episode(3).alarm == [False, True, True]
    assert control(cfg=ControlConfig(realtime=False, shadow=True), policy=Alarmed()).episode(3).alarm == [False] * 3


def test_half_of_an_action_is_what_the_policy_remembers():
    policy = Startled()
    control(cfg=ControlConfig(realtime=False, on_alarm="slow"), policy=policy).episode(3)
    assert policy.dones == pytest.approx([0.15])


def test_an_alarm_is_told_once_an_episode():
    said: list[str] = []

    class Alarmed(Counting):
        surprise, alarm = 2.0, 1.0

    control(policy=Alarmed(), warn=said.append).episode(4)
    assert len(said) == 1 and said[0].startswith("alarm in control step 1: what is sensed is surprising by 2.00")


def test_a_robot_that_does_not_stop_is_an_error_that_says_so(monkeypatch):
    class Stubborn(Arm):
        def stop(self) -> None:
            time.sleep(0.5)

    monkeypatch.setattr(guard, "TO_STOP", 0.1)
    with pytest.raises(ControlError, match=r"THE ROBOT MAY STILL MOVE: the robot did not answer `stop` within 0.1 s"):
        control(Stubborn).episode(1)


def test_a_robot_may_take_its_time_to_stop():
    class Homing(Arm):
        def stop(self) -> None:
            time.sleep(0.3)
            super().stop()

    loop = control(Homing, ControlConfig(hz=40, patience=0.1))
    loop.episode(2)
    assert loop.robot.robot.stops == 1


def test_a_robot_that_ends_its_thread_is_an_error_and_is_stopped():
    class Leaving(Arm):
        def observe(self) -> Any:
            raise SystemExit(3)

    loop = control(Leaving)
    with pytest.raises(ControlError, match="`observe` failed with SystemExit"):
        loop.episode(1)
    assert loop.robot.robot.stops == 1


def test_what_is_observed_is_copied():
    class Same(Arm):
        def __init__(self) -> None:
            super().__init__()
            self.buffer = np.zeros(1)

        def observe(self) -> Any:
            self.buffer += 1
            return {"state": self.buffer}

    assert [float(one["state"][0]) for one in control(Same).episode(3).seen] == [1, 2, 3]


def test_observations_that_are_no_features_are_an_error():
    class Listing(Arm):
        def observe(self) -> Any:
            return [1, 2]

    with pytest.raises(ControlError, match="gave list, expected features by name"):
        control(Listing).episode(1)


def test_a_person_can_end_what_a_robot_waits_for():
    class Waiting(Goal):
        def reset(self, seed: int) -> None:
            time.sleep(0.4)

    found = control(Waiting, stopped=lambda: True).episode(3)
    assert (found.ended, found.told) == ("stopped by hand", [])


def test_patience_shorter_than_the_time_between_commands_is_refused():
    with pytest.raises(ControlError, match=r"patience is 0.05 s, but commands come every 0.1 s"):
        control(cfg=ControlConfig(patience=0.05))


def test_of_what_was_done_instead_the_policy_is_told():
    class Replayed(Goal):
        done = np.array([0.7])

    policy = Counting()
    control(Replayed, policy=policy).episode(2)
    assert policy.dones == [0.7, 0.7]
