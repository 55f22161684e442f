"""A robot in a thread of its own: what does not answer in time is an error, and what nobody talks to is stopped."""

import math
import queue
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from glocal.deploy.robots import Judged, Rewarded, Robot
from glocal.runtime.files import UserError

TO_STOP = 10.0
"""Seconds that a robot is given to stop, whatever it does just then."""
POLL = 0.1
"""Seconds between looks whether a person wants an end, where a robot may take its time."""


class ControlError(RuntimeError):
    """The control loop cannot go on; what it says of the robot is whether that was stopped."""


class StopRequestedError(Exception):
    """A person wants it to end."""


class Guarded:
    """A robot whose methods are called in one thread, in which it is made, too, and which stops it where nothing is
    asked of it for `patience` seconds; without any, all is waited for."""

    def __init__(self, make: Callable[[], Robot], patience: float | None):
        self.patience = patience
        self.success = self.over = False
        self.reward, self.ended = math.nan, False
        """What the robot says, if it does, of the last command."""
        self.calls: queue.Queue[Any] = queue.Queue()
        self.answers: queue.Queue[Any] = queue.Queue()
        self.watching = threading.Event()
        self.lost = ""
        """Why nothing more is asked of it."""
        self.count = 0
        threading.Thread(target=self._serve, args=(make,), daemon=True).start()
        self.robot: Robot = self._answer(0, "be made", None)
        self.judged, self.rewarded = isinstance(self.robot, Judged), isinstance(self.robot, Rewarded)

    def ask(self, name: str, *arguments: Any, patient: Callable[[], bool] | None = None) -> Any:
        """What a method of the robot answers.

        Where it may take its time, `patient` says whether a person wants an end: then `StopRequestedError` is raised.
        Raises `ControlError` where it does not answer in time, or fails.
        """
        if self.lost:
            raise ControlError(self.lost)
        self.count += 1
        self.calls.put((self.count, name, arguments))
        return self._answer(self.count, name, None if patient else self.patience, patient)

    def watched(self, on: bool) -> None:
        """From now on the robot is stopped where nothing is asked of it for `patience`, or no longer."""
        (self.watching.set if on else self.watching.clear)()

    def stop(self) -> None:
        """Stop the robot, which is watched no longer; raises `ControlError` where it does not say that it has."""
        self.watching.clear()
        self.count += 1
        self.calls.put((self.count, "stop", ()))
        try:
            self._answer(self.count, "stop", TO_STOP)
        except ControlError as error:
            before = f"{self.lost}. " if self.lost and self.lost != str(error) else ""
            raise ControlError(f"{before}THE ROBOT MAY STILL MOVE: {error}") from error

    def _answer(self, number: int, name: str, patience: float | None, ends: Callable[[], bool] | None = None) -> Any:
        """The answer to a call; those to earlier ones, which came too late, are passed over."""
        until = None if patience is None else time.monotonic() + patience
        while True:
            left = POLL if until is None else min(POLL, max(0.0, until - time.monotonic()))
            try:
                answered, answer = self.answers.get(timeout=left)
            except queue.Empty:
                if ends is not None and ends():
                    raise StopRequestedError from None
                if until is not None and time.monotonic() >= until:
                    self.lost = self.lost or f"the robot did not answer `{name}` within {patience:g} s"
                    raise ControlError(f"the robot did not answer `{name}` within {patience:g} s") from None
                continue
            if answered != number:
                continue
            if isinstance(answer, UserError | ControlError):
                raise answer
            if isinstance(answer, BaseException):
                said = f"{type(answer).__name__}: {answer}"
                raise ControlError(f"the robot's `{name}` failed with {said}") from answer
            return answer

    def _serve(self, make: Callable[[], Robot]) -> None:
        try:
            robot = make()
        except BaseException as error:
            self.answers.put((0, error))
            return
        self.answers.put((0, robot))
        while True:
            try:
                call = self.calls.get(timeout=self.patience if self.watching.is_set() else None)
            except queue.Empty:
                if self.watching.is_set():
                    self.watching.clear()
                    self.lost = f"nothing was asked of the robot for {self.patience:g} s, and it was told to stop"
                    self._call(robot, 0, "stop", ())
                continue
            self._call(robot, *call)

    def _call(self, robot: Robot, number: int, name: str, arguments: tuple[Any, ...]) -> None:
        try:
            answer = getattr(robot, name)(*arguments)
            if name == "reset":
                self.reward, self.ended = math.nan, False
            if name == "observe":
                answer = _copied(answer)
            if name in ("reset", "command") and isinstance(robot, Judged):
                self.success, self.over = bool(robot.success), bool(robot.over)
            if name == "command" and isinstance(robot, Rewarded):
                self.reward, self.ended = float(robot.reward), bool(robot.ended)
        except BaseException as error:
            answer = error
        self.answers.put((number, answer))


def _copied(seen: Any) -> dict[str, Any]:
    """What was observed, which the robot may write over."""
    if not isinstance(seen, Mapping):
        raise ControlError(f"the robot's `observe` gave {type(seen).__name__}, expected features by name")
    return {name: np.array(value) for name, value in seen.items()}
