"""The real environment of a run's task, which no training reads: policies are judged in it, where there is one."""

from collections.abc import Callable
from functools import partial
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from glocal.config import RobotConfig
from glocal.data.streams import RobotMapping, limits, to_robot
from glocal.deploy.policy import Controller
from glocal.evaluate.real import run_episodes
from glocal.evaluate.robots import run_robot_episodes
from glocal.files import UserError
from glocal.tasks.pusht import PushTConfig
from glocal.tasks.robot import GymRobot, Sensed, check_spaces, make
from glocal.workspace import Run

NOT_ASKED = "not asked: there is no environment"
Tick = Callable[[int], None]


class Happened(Protocol):
    """What came of some episodes."""

    @property
    def scores(self) -> dict[str, NDArray[Any]]: ...

    @property
    def arrays(self) -> dict[str, NDArray[Any]]: ...

    @property
    def frames(self) -> list[NDArray[Any]]: ...

    def summary(self) -> dict[str, Any]: ...


class Real(Protocol):
    """Runs a number of episodes, from the initial states of a seed and the following ones, some of them filmed.

    `controllers` makes the controller of the episodes from a seed on.
    """

    def __call__(
        self,
        controllers: Callable[[int], Controller],
        episodes: int,
        first_seed: int,
        filmed: int = 0,
        tick: Tick | None = None,
    ) -> Happened: ...


def real_of(run: Run) -> Real | None:
    """The environment that a run's policies are judged in; None where there is none."""
    task = run.config.task
    if isinstance(task, PushTConfig):
        return partial(_pusht, task, run.picture)
    return partial(_robot, task) if task.env else None


def _pusht(
    task: PushTConfig,
    picture: tuple[int, int],
    controllers: Callable[[int], Controller],
    episodes: int,
    first_seed: int,
    filmed: int = 0,
    tick: Tick | None = None,
) -> Happened:
    return run_episodes(task, controllers(first_seed), episodes, first_seed, filmed, tick, picture)


def _robot(
    task: RobotConfig,
    controllers: Callable[[int], Controller],
    episodes: int,
    first_seed: int,
    filmed: int = 0,
    tick: Tick | None = None,
) -> Happened:
    return run_robot_episodes(partial(open_robot, task), controllers, task.decisions, episodes, first_seed, tick)


def open_robot(task: RobotConfig) -> GymRobot:
    """The environment that stands for a robot; raises `UserError` where it does not fit the robot's logs."""
    mapping = task.mapping
    env, sensed = make(task.env), senses(task)
    low, high = limits(mapping)
    steps = np.concatenate([np.full(len(part.columns), part.kind == "delta") for part in mapping.action])
    ends = [np.where(steps, end / mapping.stride, end) for end in (low, high)]
    wrong = check_spaces(env, sensed, ends[0], ends[1])
    if wrong:
        env.close()
        raise UserError(f"{task.env} is not the robot of these logs: {'; '.join(wrong)}")
    return GymRobot(env, sensed, partial(_clipped, mapping, env.action_space), mapping.stride, task.success)


def _clipped(mapping: RobotMapping, space: Any, action: NDArray[Any]) -> NDArray[Any]:
    return np.clip(to_robot(mapping, action), space.low, space.high)


def senses(task: RobotConfig) -> list[Sensed]:
    """Where in the environment's observation each stream is read."""
    entries = dict(one.split("=", 1) for one in task.senses)
    return [
        Sensed(one.name, entries.get(one.feature, one.feature.removeprefix("observation.")), one.columns)
        for one in task.mapping.streams
    ]
