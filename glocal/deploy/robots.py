"""Robots: what a control loop needs of them, and what stands for one: a Gymnasium environment, Push-T, a recording."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol, runtime_checkable

import gymnasium
import numpy as np

from glocal.deploy.controllers import Array
from glocal.runtime.files import UserError
from glocal.tasks.pusht import TABLE, PushT, pose_reached, reward_of
from glocal.tasks.robot import RENDERED, begin, picked

Features = Mapping[str, Array]
"""What is sensed or told, by the features of the logs, and in their units."""


@runtime_checkable
class Robot(Protocol):
    """What a control loop needs of a robot. All calls come from one thread."""

    def observe(self) -> Features:
        """What is sensed now."""
        ...

    def command(self, told: Features) -> None:
        """What it is to do from now on, until the next command."""
        ...

    def stop(self) -> None:
        """Come to rest. Called at the end of each episode, and whenever something goes wrong; perhaps more than
        once."""
        ...


@runtime_checkable
class Judged(Robot, Protocol):
    """A robot that begins episodes by itself and says what came of them."""

    success: bool
    """Whether the last command led to success."""
    over: bool
    """Whether the episode is over."""

    def reset(self, seed: int) -> None:
        """Begin an episode, from the initial state of a seed."""
        ...


@runtime_checkable
class Rewarded(Protocol):
    """A robot that says what its last command was worth, and whether no reward can follow it."""

    reward: float
    ended: bool


@runtime_checkable
class Replaying(Protocol):
    """A robot that does not do what it is told, and says what was done instead."""

    @property
    def done(self) -> Array | None:
        """The action of the last control step, from -1 to 1."""
        ...


def check_judged(robot: Robot) -> None:
    """Raise `UserError` where a robot has some of what makes episodes begin by themselves, and not all."""
    has = [name for name in ("reset", "success", "over") if hasattr(robot, name)]
    if 0 < len(has) < 3:
        raise UserError(
            f"{type(robot).__name__} has {' and '.join(has)}, but a robot needs all of reset(seed), success and over, "
            "from when it is made, for its episodes to begin by themselves and be counted, or none"
        )


def check_rewarded(robot: Robot) -> None:
    """Raise `UserError` where a robot has some of what makes rewards known, and not all, or no number for one."""
    has = [name for name in ("reward", "ended") if hasattr(robot, name)]
    if len(has) == 1:
        raise UserError(
            f"{type(robot).__name__} has {has[0]}, but a robot needs both reward and ended, from when it is made, for "
            "its logs to hold rewards, or neither"
        )
    if has and not isinstance(reward := robot.reward, int | float | np.number):  # pyright: ignore
        raise UserError(f"{type(robot).__name__}.reward is {reward!r}, expected a number")


class EnvRobot:
    """A Gymnasium environment: a command is one of its steps."""

    def __init__(
        self,
        env: gymnasium.Env[Any, Any],
        needs: Mapping[str, tuple[int, ...] | None],
        entry_of: Callable[[str], str],
        success: str,
    ):
        """`needs` are shapes of the features that are read, None for pictures; `entry_of` says what of its observation
        a feature is; `success` is the key of its info that tells it."""
        self.env, self.needs, self.entry_of, self.key = env, needs, entry_of, success
        self.success = self.over = self.ended = False
        self.reward = 0.0
        self.obs: Any = None

    def reset(self, seed: int) -> None:
        self.obs = begin(self.env, seed)
        self.success = self.over = self.ended = False

    def observe(self) -> Features:
        return {name: self._feature(name, shape) for name, shape in self.needs.items()}

    def command(self, told: Features) -> None:
        space: Any = self.env.action_space
        action = np.concatenate([np.asarray(x, np.float64).reshape(-1) for x in told.values()])
        if action.shape != space.shape:
            raise UserError(f"the policy tells {action.size} numbers, the environment's actions are {space}")
        # as in `evaluate`: what is told is rounded to the environment's own precision after it is clipped
        self.obs, reward, terminated, truncated, info = self.env.step(
            np.clip(action, space.low, space.high).astype(np.float32)
        )
        self.reward, self.ended = float(reward), bool(terminated)
        if self.key not in info:
            raise UserError(f"the environment's info has no {self.key!r}, which is to say success")
        self.success, self.over = bool(info[self.key]), bool(terminated or truncated)

    def stop(self) -> None:
        """Time stands still between its steps."""

    def _feature(self, name: str, shape: tuple[int, ...] | None) -> Array:
        entry, columns = picked(self.entry_of(name))
        if entry == RENDERED:
            return np.asarray(self.env.render())
        found = np.asarray(self.obs[entry] if entry else self.obs)
        if shape is None:
            return found
        told = found.astype(np.float32).reshape(-1)
        told = told if columns is None else told[list(columns)]
        row = np.zeros(int(np.prod(shape)), np.float32)  # what it has not is not read either
        row[: len(told)] = told[: len(row)]
        return row.reshape(shape)


class PushTRobot:
    """Push-T's environment, which is told where the agent is to go; positions in the units of some logs."""

    def __init__(self, env: PushT, features: Mapping[str, str], scale: Array, offset: Array, moves: float):
        """`features` names what the logs call agent, keypoints, image and action; pixels are `scale` times the logs'
        positions plus `offset`; `moves` are steps of the environment for each command, which may be a part of one."""
        self.env, self.features, self.scale, self.offset = env, features, scale, offset
        self.moves, self.due = moves, 0.0
        self.success = self.over = self.ended = False
        self.reward = 0.0
        self.seen: Any = None

    def reset(self, seed: int) -> None:
        self.seen, self.success, self.due = self.env.reset(seed), False, 0.0

    def observe(self) -> Features:
        found = {
            "agent": (self.seen.agent - self.offset) / self.scale,
            "keypoints": self.seen.keypoints,
            "image": self.seen.image,
            "pose": np.r_[(self.seen.pose[:2] - self.offset) / self.scale, self.seen.pose[2]],
        }
        return {feature: found[name] for name, feature in self.features.items() if name in found}

    def command(self, told: Features) -> None:
        target = np.asarray(told[self.features["action"]]) * self.scale + self.offset
        self.success, self.due = False, self.due + self.moves
        while self.due > 1 - 1e-6:
            self.seen, self.due = self.env.move(np.clip(target, 0, TABLE)), self.due - 1
            self.success = self.success or bool(pose_reached(self.seen.pose))
        self.reward = float(reward_of(self.seen.keypoints))

    def stop(self) -> None:
        """Time stands still between its steps."""


class RecordedRobot:
    """Recorded episodes, which go on as they did whatever is told."""

    def __init__(
        self,
        load: Callable[[int], Features],
        count: int,
        needs: Sequence[str],
        asked: Callable[[Features], Array],
        steps: tuple[int, int],
    ):
        """`load` gives the rows of one of `count` episodes, and `asked` the actions (T, a), from -1 to 1, that were
        done in them; `steps` are a control step's rows, and the commands that come in one."""
        self.load, self.count, self.needs, self.asked = load, count, needs, asked
        self.stride, self.commands = steps
        self.success, self.over, self.told, self.number = False, False, 0, -1
        self.rows: Features = {}
        self.actions: Array = np.zeros((0, 0))

    @property
    def done(self) -> Array | None:
        """What was done in the last control step."""
        last = self.told // self.commands - 1
        return self.actions[last] if 0 <= last < len(self.actions) else None

    def reset(self, seed: int) -> None:
        self.number = seed % self.count
        self.rows, self.told, self.over = self.load(self.number), 0, False
        self.actions = self.asked(self.rows)

    def observe(self) -> Features:
        row = self.told // self.commands * self.stride
        return {name: self.rows[name][row] for name in self.needs}

    def command(self, told: Features) -> None:
        self.told += 1
        self.over = self.told // self.commands >= len(self.actions)

    def stop(self) -> None:
        """It was over long ago."""
