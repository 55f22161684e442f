"""Episodes of any robot in a Gymnasium environment that stands for it, counted with intervals."""

from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass, field
from functools import partial

import numpy as np

from glocal.evaluate.episodes import Array
from glocal.evaluate.filming import Film
from glocal.evaluate.intervals import wilson
from glocal.tasks.robot import GymRobot

AT_ONCE = 10
"""Episodes side by side."""


@dataclass(frozen=True)
class RobotEpisodes:
    """What happened in n episodes of at most T control steps."""

    success: Array
    """(n,) whether success was told at any control step."""
    at_end: Array
    """(n,) whether it was at the last one."""
    control_steps: Array
    """(n,) control steps until success was first told, or T."""
    frames: list[Array] = field(default_factory=list)
    """Pictures of the filmed episodes in a grid, (h, w, 3) per control step."""
    not_filmed: str = ""
    """Why there are none, where there should be."""

    @property
    def scores(self) -> dict[str, Array]:
        """What is counted of an episode, (n,) each; what counts most comes first."""
        return {"success": self.success, "success_at_end": self.at_end}

    @property
    def arrays(self) -> dict[str, Array]:
        """What is kept of them."""
        return {"success": self.success, "at_end": self.at_end, "control_steps": self.control_steps}

    def summary(self) -> dict[str, object]:
        """Counts with Wilson intervals, and how long success took."""
        found = {name: wilson(int(score.sum()), len(score)) for name, score in self.scores.items()}
        took = float(np.median(self.control_steps[self.success])) if self.success.any() else None
        not_filmed = {"not_filmed": self.not_filmed} if self.not_filmed else {}
        return {**found, "median_control_steps_to_success": took, **not_filmed}


def run_robot_episodes(
    robots: Callable[[], GymRobot],
    controllers: Callable[[int], Generator[Array, Sequence[dict[str, Array]], None]],
    control_steps: int,
    episodes: int,
    first_seed: int,
    tick: Callable[[int], None] | None = None,
    film: Film[GymRobot] | None = None,
) -> RobotEpisodes:
    """Run episodes from the initial states of seeds `first_seed` and following, a few side by side.

    `controllers` makes a controller for the episodes from a seed on; `tick` is called with the number of control steps
    that all episodes have behind them.
    """
    filmed = 0 if film is None else film.wanted
    pool = [film.robots() if film and i < filmed else robots() for i in range(min(AT_ONCE, episodes))]
    parts = []
    for begin in range(0, episodes, len(pool)):
        some = pool[: episodes - begin]
        look = None if film is None else partial(film.look, begin)
        parts.append(_side_by_side(some, controllers(first_seed + begin), control_steps, first_seed + begin, look))
        if tick is not None:
            tick(control_steps * (begin + len(some)) // episodes)
    success, at_end, took = (np.concatenate(column) for column in zip(*parts, strict=True))
    shown = ([], "") if film is None else (film.frames, film.failed)
    return RobotEpisodes(success, at_end, took, *shown)


def _side_by_side(
    robots: Sequence[GymRobot],
    controller: Generator[Array, Sequence[dict[str, Array]], None],
    control_steps: int,
    first_seed: int,
    look: Callable[[Sequence[GymRobot]], None] | None = None,
) -> tuple[Array, Array, Array]:
    """Success at any time, at the end, and when it came first, of one episode of each robot.

    Robots are looked at when they begin and after each control step.
    """
    look = look or (lambda _: None)
    next(controller)
    seen = [robot.reset(first_seed + i) for i, robot in enumerate(robots)]
    look(robots)
    told: Array = np.zeros((control_steps, len(robots)), bool)
    ended = np.zeros(len(robots), bool)
    for t in range(control_steps):
        actions = controller.send(seen)
        for i, robot in enumerate(robots):
            if ended[i]:  # it stays as it ended
                told[t, i] = told[t - 1, i]
                continue
            outcome = robot.step(actions[i])
            seen[i], told[t, i], ended[i] = outcome.fields, outcome.success, outcome.ended
        look(robots)
    any_time = np.any(told, axis=0)
    return any_time, told[-1], np.where(any_time, told.argmax(0) + 1, control_steps)
