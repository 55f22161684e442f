"""The real environment of a run's task, which no training reads: policies are judged in it, where there is one."""

from collections.abc import Callable
from functools import partial
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from glocal.data.mapping import live
from glocal.data.streams import RobotMapping, to_robot
from glocal.deploy.controllers import Controller
from glocal.evaluate.episodes import run_episodes
from glocal.evaluate.filming import Film
from glocal.evaluate.robot_episodes import run_robot_episodes
from glocal.pipeline.config import EnvConfig, RobotConfig
from glocal.pipeline.run_dir import Run
from glocal.runtime.files import UserError
from glocal.runtime.progress import console
from glocal.tasks.pusht import PushTConfig
from glocal.tasks.robot import RENDERED, GymRobot, Sensed, Viewed, check_spaces, make, make_filmed, picked

SCREEN = (
    ". Where there is no screen, MUJOCO_GL=egl lets environments of MuJoCo be filmed; --evaluate.filmed 0 films none"
)
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
    task, env = run.config.task, run.config.env
    if isinstance(task, PushTConfig):
        return partial(_pusht, task, run.picture)
    return partial(_robot, task, env) if env.id else None


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
    env: EnvConfig,
    controllers: Callable[[int], Controller],
    episodes: int,
    first_seed: int,
    filmed: int = 0,
    tick: Tick | None = None,
) -> Happened:
    robots, film = partial(open_robot, task, env), Film(min(filmed, episodes), partial(open_robot, task, env, True))
    found = run_robot_episodes(robots, controllers, task.control_steps, episodes, first_seed, tick, film)
    if found.not_filmed:
        console.print(f"note: {found.not_filmed}{SCREEN}")
    return found


def open_robot(task: RobotConfig, cfg: EnvConfig, filmed: bool = False) -> GymRobot:
    """The environment that stands for a robot; raises `UserError` where it does not fit the robot's logs."""
    mapping, sensed, viewed = task.mapping, senses(task.mapping, cfg), views(task.mapping, cfg)
    seen = any(one.entry == RENDERED for one in viewed)
    env = (make_filmed if filmed or seen else make)(cfg.id, **cfg.arguments)
    ends = [_told(mapping, np.full(mapping.action_dim, sign)) for sign in (-1.0, 1.0)]
    wrong = check_spaces(env, sensed, viewed, *ends)
    if wrong:
        env.close()
        raise UserError(f"{cfg.id} is not the robot of these logs: {'; '.join(wrong)}")
    return GymRobot(env, sensed, partial(_clipped, mapping, env.action_space), mapping.stride, cfg.success, viewed)


def check_environment(task: RobotConfig, cfg: EnvConfig) -> None:
    """Raise `UserError` where an environment, asked for one control step, cannot stand for the robot of some logs."""
    robot, twin = open_robot(task, cfg), open_robot(task, cfg)
    seen, other = robot.reset(0), twin.reset(0)
    robot.step(np.zeros(task.mapping.action_dim))
    robot.env.close()
    twin.env.close()
    if any(not np.allclose(seen[name], other[name], equal_nan=True) for name in seen):
        raise UserError(
            f"{cfg.id} begins the same seed's episodes in different states whenever it is made, so that policies "
            "cannot be compared in it; where it is made with a seed, name one: --env.options seed=0"
        )


def _clipped(mapping: RobotMapping, space: Any, action: NDArray[Any]) -> NDArray[Any]:
    return np.clip(_told(mapping, action), space.low, space.high)


def _told(mapping: RobotMapping, action: NDArray[Any]) -> NDArray[Any]:
    """What an environment is told in each step: the features' numbers one behind the other, as the logs have them."""
    return np.concatenate(list(to_robot(mapping, action).values()), axis=-1)


def senses(mapping: RobotMapping, cfg: EnvConfig) -> list[Sensed]:
    """Where in the environment's observation each stream is read."""
    found = []
    for one in mapping.streams:
        entry, chosen = picked(_entry(cfg, one.feature))
        if chosen is not None and max(one.columns) >= len(chosen):
            raise UserError(
                f"stream {one.name} reads {max(one.columns) + 1} numbers of {one.feature}, for which --env.senses "
                f"names {len(chosen)}"
            )
        found.append(Sensed(one.name, entry, one.columns if chosen is None else tuple(chosen[i] for i in one.columns)))
    return found


def views(mapping: RobotMapping, cfg: EnvConfig) -> list[Viewed]:
    """Where in the environment each camera's pictures are."""
    return [Viewed(one.name, _entry(cfg, one.feature), partial(live, one, one.filmed)) for one in mapping.cameras]


def _entry(cfg: EnvConfig, feature: str) -> str:
    """What of the environment a feature of the logs is."""
    entries = dict(one.split("=", 1) for one in cfg.senses)
    return entries.get(feature, feature.removeprefix("observation."))
