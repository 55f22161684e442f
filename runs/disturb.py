"""What a trained policy does when something goes wrong: success with disturbances that begin in the middle of episodes.

    python runs/disturb.py out/push_cube_ego/run --kinds none no-cube frozen dark bright

One row for each kind (`glocal_envs/disturbances.py`): success at any control step and at the last one with 95 % Wilson
intervals, episodes that the environment terminated (the robot fell), and the effort from that moment on, the root mean
square of what the environment is told as a share of its largest action, mean over control steps. All begin in the
initial states that `glocal evaluate` judges the policy in. A robot is safe that does less, and does not fall, when it
can no longer know what it does.
"""

import sys
from collections.abc import Callable
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import tyro

from glocal.deploy.controllers import Controller, learned
from glocal.evaluate.intervals import in_words, wilson
from glocal.evaluate.robot_episodes import run_robot_episodes
from glocal.pipeline.config import RobotConfig
from glocal.pipeline.real import open_robot, views
from glocal.pipeline.run import open_run
from glocal.runtime.files import UserError
from glocal.runtime.progress import Ticker
from glocal.tasks.robot import RENDERED, GymRobot
from glocal_envs.disturbances import DISTURBANCES, Disturbed

HEAD = ("what goes wrong", "any time", "at the end", "terminated", "effort from then on")


def disturbed(
    kind: str,
    robots: Callable[[Callable[[Any], Disturbed]], GymRobot],
    controllers: Callable[[int], Controller],
    steps: tuple[int, int],
    rendered: bool,
    episodes: int,
    first_seed: int,
) -> tuple[str, ...]:
    """A row of the table, in the order of `HEAD`.

    `robots` makes a robot in whose environment what it is given puts the disturbance; `steps` are control steps in an
    episode, and the environment's steps before that begins.
    """
    made: list[Disturbed] = []

    def put(env: Any) -> Disturbed:
        try:
            made.append(Disturbed(env, kind, steps[1], rendered))
        except ValueError as error:
            raise UserError(str(error)) from error
        return made[-1]

    with Ticker(kind, steps[0], unit="steps", per_iteration=episodes) as tick:
        found = run_robot_episodes(lambda: robots(put), controllers, steps[0], episodes, first_seed, tick)
    past = list(chain.from_iterable(one.past for one in made))
    effort = list(chain.from_iterable(one.effort for one in past))
    terminated = sum(one.terminated for one in past)
    told = f"{np.mean(effort):.2f}" if effort else ""
    success, at_end = (in_words(wilson(int(one.sum()), len(one))) for one in (found.success, found.at_end))
    return DISTURBANCES[kind].about, success, at_end, f"{terminated}/{len(past)}", told


def table(folder: Path, kinds: tuple[str, ...], episodes: int, since: int) -> list[tuple[str, ...]]:
    """Rows for a run's policy; raises `UserError` where it has no environment to be disturbed."""
    run = open_run(folder)
    task, cfg, policy = run.config.task, run.config.env, run.policy("policy")
    if not isinstance(task, RobotConfig) or not cfg.id:
        raise UserError(f"{folder} has no environment to disturb; expected the run of a robot with --env")
    unseen = [kind for kind in kinds if DISTURBANCES[kind].pictured and not task.mapping.cameras]
    if unseen:
        raise UserError(
            f"the policy of {folder} sees no camera, so that {', '.join(unseen)} would change nothing; name others "
            "with --kinds"
        )
    rendered = any(one.entry == RENDERED for one in views(task.mapping, cfg))

    def robots(put: Callable[[Any], Disturbed]) -> GymRobot:
        robot = open_robot(task, cfg)
        robot.env = put(robot.env)
        return robot

    def controllers(seed: int) -> Controller:
        del seed
        return learned(run.codec, policy, view=run.view)

    steps = task.control_steps, since * task.mapping.stride
    first = run.config.evaluate.first_seed
    return [disturbed(kind, robots, controllers, steps, rendered, episodes, first) for kind in kinds]


def main(
    run: tyro.conf.Positional[Path],
    kinds: tuple[str, ...] = tuple(DISTURBANCES),
    episodes: int = 100,
    since: int = 15,
) -> None:
    """Print a table.

    Args:
        run: The folder of a run whose policy is trained.
        kinds: Of what goes wrong.
        episodes: Of each.
        since: Control steps after which it goes wrong.
    """
    unknown = [kind for kind in kinds if kind not in DISTURBANCES]
    if unknown:
        sys.exit(f"--kinds has {', '.join(unknown)}, expected some of {', '.join(DISTURBANCES)}")
    for name, value in {"episodes": episodes, "since": since}.items():
        if value < 1:
            sys.exit(f"--{name} is {value}, expected at least 1")
    try:
        rows = [HEAD, ("---",) * len(HEAD), *table(run, kinds, episodes, since)]
    except UserError as error:
        sys.exit(str(error))
    for row in rows:
        print("| " + " | ".join(row) + " |")


if __name__ == "__main__":
    tyro.cli(main, description=__doc__)
