"""The control loop: a policy's actions, at its own rate, become commands at the robot's, on a monotonic clock.

Robots are called in one thread of their own (`guard.py`). Where one does not answer in time, the loop ends with an
error, and where the loop falls silent, that thread stops the robot.
"""

import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

import numpy as np

from glocal.core.ranges import Amount, Positive
from glocal.deploy.controllers import Array
from glocal.deploy.guard import ControlError, Guarded, StopRequestedError
from glocal.deploy.robots import Features, Replaying

Between = Literal["hold", "linear", "minimum-jerk"]
JUMP = 1.0
"""Seconds by which a clock may go back, and beyond the robot's patience forward, before it counts as a jump."""


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

    def did(self, action: Array) -> None:
        """Another action than the last one was carried out."""
        ...

    def normalised(self, told: Mapping[str, Array], observation: Mapping[str, Any]) -> Array:
        """The action, from -1 to 1, that is told so."""
        ...


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
    """Moments `1 / hz` apart. What comes late is not caught up with: the next moment is a period later."""

    def __init__(
        self,
        hz: float,
        patience: float,
        timing: Timing,
        now: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ):
        self.period, self.patience, self.timing, self.now, self.sleep = 1 / hz, patience, timing, now, sleep
        self.due = now()

    def wait(self) -> None:
        """Sleep until the next moment; raises `ControlError` where that is long past or far ahead."""
        self.due += self.period
        now = self.now()
        ahead = self.due - now
        if ahead < -(2 * self.patience + JUMP) or ahead > self.period + JUMP:
            raise ControlError(
                f"the clock is {abs(ahead):.2f} s {'past' if ahead < 0 else 'before'} the moment that it should be at: "
                "it jumped, or the computer was asleep"
            )
        self.timing.ticks += 1
        self.timing.late += ahead < -0.1 * self.period
        if ahead > 0:
            self.sleep(ahead)
        else:
            self.due = now


@dataclass(eq=False)
class Episode:
    """What happened in an episode: a row for each control step, before what the last one led to."""

    seed: int = 0
    """Of its initial state, or its number in recorded logs."""
    seen: list[Features] = field(default_factory=list)
    told: list[Features] = field(default_factory=list)
    """In each of the logs' steps."""
    action: list[Array] = field(default_factory=list)
    """As models see it, from -1 to 1."""
    success: list[bool] = field(default_factory=list)
    """Whether the control step led to success."""
    rewards: list[list[float]] = field(default_factory=list)
    """What each of a control step's commands was worth, where the robot says that."""
    terminal: bool = False
    """Whether no reward can follow the last control step."""
    alarm: list[bool] = field(default_factory=list)
    """Whether what was sensed was too surprising, in each control step that was looked at."""
    ended: str = ""
    """Why it ended before its time."""


class Control:
    """Runs a policy on a robot, episode after episode; raises `ControlError` where they do not fit."""

    def __init__(
        self,
        policy: Acts,
        robot: Guarded,
        cfg: ControlConfig,
        stopped: Callable[[], bool] = lambda: False,
        warn: Callable[[str], None] = lambda _: None,
    ):
        """`stopped` says whether a person wants it to end; `warn` is told of each episode's first alarm."""
        self.policy, self.robot, self.cfg, self.stopped, self.warn = policy, robot, cfg, stopped, warn
        self.timing = Timing()
        self.commands = commands_in_control_step(policy, cfg)
        hz = policy.rate * self.commands
        if cfg.realtime and cfg.patience <= 1 / hz:
            raise ControlError(
                f"patience is {cfg.patience:g} s, but commands come every {1 / hz:g} s; raise --control.patience"
            )
        self.episode_now = Episode()

    def episode(self, control_steps: int, seed: int = 0) -> Episode:
        """At most so many control steps; the robot is stopped afterwards, whatever ends it.

        Success in any command of a control step counts. Raises `ControlError` where the robot or the clock fails, and
        what the policy raises; `episode_now` then holds what happened before.
        """
        self.policy.reset()
        found = self.episode_now = Episode(seed)
        try:
            if self.robot.judged:
                self.robot.ask("reset", seed, patient=self.stopped)
            self._run(found, control_steps)
        except StopRequestedError:
            found.ended = "stopped by hand"
        finally:
            self.robot.stop()
        return found

    def _run(self, found: Episode, control_steps: int) -> None:
        ticks = None
        for _ in range(control_steps):
            if self.stopped():
                raise StopRequestedError
            seen, told = self._looked(found)
            if found.alarm[-1] and self.cfg.on_alarm == "stop":
                found.ended = "stopped by an alarm: what was sensed was too surprising"
                return
            if ticks is None and self.cfg.realtime:  # the first look and the first answer may take longer
                ticks = Ticks(self.policy.rate * self.commands, self.cfg.patience, self.timing)
                self.robot.watched(True)
            self._control_step(found, seen, told, ticks)
            if self.robot.over:
                found.ended = "over"
                return

    def _looked(self, found: Episode) -> tuple[Features, Features]:
        """What is sensed, and what the policy tells."""
        began = time.perf_counter()
        seen = self.robot.ask("observe")
        sensed = time.perf_counter()
        told = self.policy.act(seen)
        self.timing.observe.append(sensed - began)
        self.timing.act.append(time.perf_counter() - sensed)
        known = bool(found.told) and not self.cfg.shadow  # of what somebody else does nothing can be expected
        found.alarm.append(known and self.policy.surprise > self.policy.alarm)
        if found.alarm[-1] and sum(found.alarm) == 1:
            self.warn(
                f"alarm in control step {len(found.told)}: what is sensed is surprising by {self.policy.surprise:.2f}, "
                f"more than {self.policy.alarm:.2f}"
            )
        return seen, told

    def _control_step(self, found: Episode, seen: Features, told: Features, ticks: Ticks | None) -> None:
        """Carry an action out."""
        before = found.told[-1] if found.told else None
        if found.alarm[-1] and self.cfg.on_alarm == "slow":
            told = self._half(told, told if before is None else before)
            self.policy.did(self.policy.normalised(told, seen))
        reached, worth = self._carried_out(told, before, ticks)
        found.success.append(reached)
        found.rewards.append(worth)
        found.terminal = self.robot.ended
        found.seen.append(seen)
        found.told.append(told)
        found.action.append(np.array(self.policy.action))
        if isinstance(self.robot.robot, Replaying) and self.robot.robot.done is not None:
            self.policy.did(self.robot.robot.done)

    def _carried_out(self, told: Features, before: Features | None, ticks: Ticks | None) -> tuple[bool, list[float]]:
        """Tell the robot what a control step's commands are; whether any of them led to success, and what each was
        worth."""
        reached, worth = False, []
        for k in range(self.commands):
            if not self.cfg.shadow:
                self.robot.ask("command", self._command(told, before, (k + 1) / self.commands))
                reached = reached or self.robot.success
                worth.append(self.robot.reward)
            if ticks is not None:
                ticks.wait()
            if self.robot.over:
                break
        return reached, worth

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
