"""The control loop: a policy's actions, at its own rate, become commands at the robot's, on a clock that does not jump.

Robots are called in one thread of their own. Where one does not answer in time, the loop ends with an error, and where
the loop falls silent, that thread stops the robot.
"""

import math
import queue
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

import numpy as np

from glocal.core.ranges import Amount, Positive
from glocal.deploy.controllers import Array
from glocal.deploy.robots import Features, Judged, Robot

Between = Literal["hold", "linear", "minimum-jerk"]
FARTHEST = 1.0
"""Seconds that a tick may be late: a clock that was off by more has jumped, or the computer slept."""


class ControlError(RuntimeError):
    """The robot was stopped, for a reason that is told."""


class Acts(Protocol):
    """What is run: the `Policy` of a bundle's runner."""

    rate: float
    hold: int
    action: Array | None
    deltas: Mapping[str, Array]
    """Which numbers of what a feature is told are deltas."""
    velocities: Mapping[str, Array]
    """Which are velocities."""
    surprise: float
    alarm: float

    def reset(self) -> None: ...

    def act(self, observation: Mapping[str, Any]) -> dict[str, Array]: ...


@dataclass(frozen=True)
class ControlConfig:
    """Choices for the control loop."""

    hz: Amount = 0.0
    """Commands per second; 0 for as many as the logs had steps. A multiple of the policy's own rate."""
    between: Between = "hold"
    """How commands come from one control step's to the next's; `hold` is how logs are recorded."""
    patience: Positive = 1.0
    """Seconds within which the robot has to answer, and the loop to say something, before the robot is stopped."""
    realtime: bool = True
    """Keep to the clock; without it, as fast as it goes."""
    shadow: bool = False
    """Compute what the robot would be told, and tell it nothing."""
    on_alarm: Literal["warn", "slow", "stop"] = "warn"
    """Where what is sensed is more surprising than any recorded episode was: say so; also do half of what would be
    done; or end the episode."""


@dataclass
class Timing:
    """How long what the loop waits for took, in seconds, and how often it was late."""

    act: list[float] = field(default_factory=list)
    observe: list[float] = field(default_factory=list)
    ticks: int = 0
    late: int = 0
    """Ticks that came later than they should by more than a tenth of the time between two."""

    def summary(self) -> dict[str, Any]:
        """Median, 99th percentile and longest, in milliseconds, and ticks that were late."""
        found: dict[str, Any] = {"ticks": self.ticks, "late": self.late}
        for name, seconds in (("act", self.act), ("observe", self.observe)):
            if seconds:
                p50, p99, most = (1e3 * float(x) for x in np.quantile(seconds, [0.5, 0.99, 1.0]))
                found[f"{name}_ms"] = {"p50": round(p50, 3), "p99": round(p99, 3), "max": round(most, 3)}
        return found


class Ticks:
    """Moments `1 / hz` apart, waited for on a clock that is only ever compared with itself."""

    def __init__(
        self,
        hz: float,
        timing: Timing,
        now: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ):
        self.period, self.timing, self.now, self.sleep = 1 / hz, timing, now, sleep
        self.due = now()

    def wait(self) -> None:
        """Sleep until the next moment; raises `ControlError` where that is long past or far ahead."""
        self.due += self.period
        ahead = self.due - self.now()
        if ahead < -FARTHEST or ahead > self.period + FARTHEST:
            raise ControlError(
                f"the clock is {abs(ahead):.2f} s {'past' if ahead < 0 else 'before'} the moment that it should be at: "
                "it jumped, or the computer was too slow; the robot was stopped"
            )
        self.timing.ticks += 1
        self.timing.late += ahead < -0.1 * self.period
        if ahead > 0:
            self.sleep(ahead)


class Guarded:
    """A robot that is called in a thread of its own, from which it is stopped where nobody calls it for a while."""

    def __init__(self, make: Callable[[], Robot], patience: float | None):
        """`make` is called in that thread, too; with no patience everything is waited for."""
        self.patience = patience
        self.calls: queue.Queue[Any] = queue.Queue()
        self.answers: queue.Queue[Any] = queue.Queue()
        self.watching = threading.Event()
        self.lost = ""
        """Why nothing more is asked of it."""
        threading.Thread(target=self._serve, args=(make,), daemon=True).start()
        self.robot: Robot = self._answer("be made", None)

    def ask(self, name: str, *arguments: Any, patient: bool = False) -> Any:
        """What a method of the robot answers; raises `ControlError` where it does not in time, unless we are `patient`,
        and what it raises."""
        if self.lost:
            raise ControlError(self.lost)
        self.calls.put((name, arguments))
        return self._answer(name, None if patient else self.patience)

    def stop(self) -> None:
        """Stop the robot, which is watched no longer; where it does not answer, it stops as soon as it does."""
        self.watching.clear()
        if not self.lost:
            self.ask("stop")

    def watched(self, on: bool) -> None:
        """From now on the robot is stopped where nothing is asked of it for `patience`, or no longer."""
        (self.watching.set if on else self.watching.clear)()

    def _answer(self, name: str, patience: float | None) -> Any:
        try:
            answer = self.answers.get(timeout=patience)
        except queue.Empty:
            self.lost = f"the robot did not answer `{name}` within {patience:g} s; it is told to stop when it does"
            self.calls.put(("stop", ()))
            raise ControlError(self.lost) from None
        if isinstance(answer, Exception):
            raise answer
        return answer

    def _serve(self, make: Callable[[], Robot]) -> None:
        try:
            robot = make()
        except Exception as error:
            self.answers.put(error)
            return
        self.answers.put(robot)
        while True:
            try:
                name, arguments = self.calls.get(timeout=self.patience if self.watching.is_set() else None)
            except queue.Empty:
                if self.watching.is_set():
                    self.lost = f"nothing was asked of the robot for {self.patience:g} s, and it was stopped"
                    robot.stop()
                    return
                continue
            try:
                self.answers.put(getattr(robot, name)(*arguments))
            except Exception as error:
                self.answers.put(error)


@dataclass
class Episode:
    """What happened in an episode: a row for each control step, before what the last one led to."""

    seen: list[Features] = field(default_factory=list)
    told: list[Features] = field(default_factory=list)
    """In each of the logs' steps."""
    action: list[Array] = field(default_factory=list)
    """As models see it, from -1 to 1."""
    success: list[bool] = field(default_factory=list)
    """Whether the control step led to success."""
    alarm: list[bool] = field(default_factory=list)
    """Whether what was sensed was too surprising."""
    ended: str = ""
    """Why it ended before its time."""


class Control:
    """Runs a policy on a robot, episode after episode; raises `ControlError` where they do not fit."""

    def __init__(self, policy: Acts, robot: Guarded, cfg: ControlConfig, stopped: Callable[[], bool] = lambda: False):
        """`stopped` says whether a person wants it to end."""
        self.policy, self.robot, self.cfg, self.stopped = policy, robot, cfg, stopped
        self.timing = Timing()
        self.commands = commands_in_control_step(policy, cfg)
        self.judged = isinstance(robot.robot, Judged)

    def episode(self, control_steps: int, seed: int = 0) -> Episode:
        """At most so many control steps; the robot is stopped afterwards, whatever ends it.

        Success in any command of a control step counts. Raises `ControlError` where the robot or the clock fails, and
        what the policy raises.
        """
        self.policy.reset()
        if self.judged:
            self.robot.ask("reset", seed, patient=True)
        ticks = Ticks(self.policy.rate * self.commands, self.timing) if self.cfg.realtime else None
        self.robot.watched(self.cfg.realtime)
        found = Episode()
        try:
            for _ in range(control_steps):
                if self.stopped():
                    found.ended = "stopped by hand"
                    break
                self._control_step(found, ticks)
                if found.alarm[-1] and self.cfg.on_alarm == "stop":
                    found.ended = "stopped by an alarm: what was sensed was too surprising"
                    break
                if self.judged and self.robot.robot.over:  # pyright: ignore[reportAttributeAccessIssue]
                    found.ended = "over"
                    break
            return found
        finally:
            self.robot.stop()

    def _control_step(self, found: Episode, ticks: "Ticks | None") -> None:
        """Look, act, and carry it out."""
        began = time.perf_counter()
        seen = self.robot.ask("observe")
        sensed = time.perf_counter()
        told = self.policy.act(seen)
        self.timing.observe.append(sensed - began)
        self.timing.act.append(time.perf_counter() - sensed)
        found.alarm.append(self.policy.surprise > self.policy.alarm)
        stops = found.alarm[-1] and self.cfg.on_alarm == "stop"
        if found.alarm[-1] and self.cfg.on_alarm == "slow":
            told = self._half(told, found.told[-1] if found.told else told)
        before = found.told[-1] if found.told else None
        found.success.append(False if stops else self._carried_out(told, before, ticks))
        found.seen.append(seen)
        found.told.append(told)
        found.action.append(np.asarray(self.policy.action))

    def _carried_out(self, told: Features, before: Features | None, ticks: "Ticks | None") -> bool:
        """Tell the robot what a control step's commands are; whether any of them led to success."""
        reached, robot = False, self.robot.robot
        for k in range(self.commands):
            if not self.cfg.shadow:
                self.robot.ask("command", self._command(told, before, (k + 1) / self.commands))
            if ticks is not None:
                ticks.wait()
            if isinstance(robot, Judged):
                reached = reached or bool(robot.success)
                if robot.over:
                    break
        return reached

    def _half(self, told: Features, before: Features) -> Features:
        """Deltas and velocities by half, and targets half of the way from those before."""
        found = {}
        for name, value in told.items():
            moves = self.policy.deltas[name] | self.policy.velocities[name]
            found[name] = np.where(moves, 0.5 * value, 0.5 * (np.asarray(value) + before[name]))
        return found

    def _command(self, told: Features, before: Features | None, part: float) -> Features:
        """What the robot is told for when a `part` of a control step will be over: on the way from one control step's
        command to the next's, but for deltas, which add up to the same."""
        found = {}
        for name, value in told.items():
            deltas = self.policy.deltas[name]
            far = np.asarray(value) * np.where(deltas, self.policy.hold / self.commands, 1.0)
            way = part_of_way(part, self.cfg.between) if before is not None else 1.0
            found[name] = far if before is None else np.where(deltas, far, before[name] + way * (far - before[name]))
        return found


def commands_in_control_step(policy: Acts, cfg: ControlConfig) -> int:
    """How often the robot is told something in a control step; raises `ControlError` where that is no whole number."""
    hz = cfg.hz or policy.rate * policy.hold
    count = round(hz / policy.rate)
    if count < 1 or not math.isclose(count * policy.rate, hz, rel_tol=1e-6):
        raise ControlError(f"{hz:g} commands a second are no multiple of the policy's {policy.rate:g} control steps")
    return count


def part_of_way(part: float, between: Between) -> float:
    """How much of the way from one command to the next lies behind after a `part` of the time."""
    if between == "hold":
        return 1.0
    # minimum jerk: the quintic that begins and ends at rest (Flash and Hogan 1985)
    return part if between == "linear" else 10 * part**3 - 15 * part**4 + 6 * part**5
