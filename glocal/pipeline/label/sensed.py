"""Rewards by what a robot senses: how near its numbers are to those that are wanted."""

from collections.abc import Sequence

import numpy as np

from glocal.core.ranges import Finite, Positive
from glocal.data.dataset import Array
from glocal.data.mapping import Column
from glocal.pipeline.label.camera import frame_of
from glocal.pipeline.label.job import WITHIN, Common, Logs, Shown, open_logs, shaped, ticking, typical_of
from glocal.pipeline.label.labelled import finish
from glocal.pipeline.label.numbers import Columns, meant, read_numbers
from glocal.runtime.files import UserError


def near(
    job: Common, stream: str, columns: tuple[Column, ...] = (), goal: tuple[Finite, ...] = (),
    frames: tuple[str, ...] = (), goal_stream: str = "", goal_columns: tuple[Column, ...] = (),
    success_within: Positive | None = None,
) -> None:  # fmt: skip
    """Reward nearness of a stream's numbers to what is wanted: to a goal's numbers, to what frames of the logs show, or
    to another stream, which says at each step where the first one is to be. Distances are in the stream's own units.

    Args:
        job: What all ways of labelling need to know.
        stream: A stream of the mapping, or a feature of the logs.
        columns: Which of its feature's numbers; by default all that the stream reads.
        goal: The numbers that are wanted.
        frames: Frames of the logs that show what is wanted (EPISODE:FRAME); the nearest one counts.
        goal_stream: The stream, or the feature, that says what is wanted.
        goal_columns: Which of its feature's numbers.
        success_within: Distance within which a frame counts as success; by default a sixteenth of the typical one.
    """
    logs = open_logs(job)
    seen = meant(logs, stream, columns)
    other = meant(logs, goal_stream, goal_columns) if goal_stream else None
    fixed = _wanted(logs, seen, goal, frames, other)
    distance = []
    for episode in ticking(logs.dataset):
        rows, *goals = read_numbers(logs, episode, [seen] if other is None else [seen, other], final=True)
        away = rows[:, None] - fixed if fixed is not None else (rows - goals[0])[:, None]
        distance.append(np.linalg.norm(away, axis=-1).min(1))
    typical = typical_of([distance[number] for number in logs.used])
    within = WITHIN * typical if success_within is None else success_within
    shown = [Shown(shaped(d, typical), (d < within).astype(np.float32)) for d in distance]
    how = {"way": "near", "stream": stream, "columns": seen[1], "goal": goal or frames or goal_stream}
    finish(logs, shown, how | {"typical_distance": typical, "success_within": within})


def _wanted(
    logs: Logs, seen: Columns, goal: Sequence[float], frames: Sequence[str], other: Columns | None
) -> Array | None:
    """What is wanted, (goals, d), or None where another stream says it; raises `UserError` where it is not said."""
    said = [option for option, one in (("--goal", goal), ("--frames", frames), ("--goal-stream", other)) if one]
    if len(said) != 1:
        found = " and ".join(said) or "none of them"
        raise UserError(f"say what is wanted by one of --goal, --frames and --goal-stream; found {found}")
    count = len(seen[1])
    if other is not None and len(other[1]) != count:
        raise UserError(
            f"the goal is {len(other[1])} numbers of {other[0]}, and {count} of {seen[0]} are to be near it; choose as "
            "many with --columns and --goal-columns"
        )
    if goal and len(goal) != count:
        raise UserError(f"--goal has {len(goal)} numbers, expected {count}: of {seen[0]} {_listed(seen[1])}")
    if frames:
        return np.stack([_shown_at(logs, seen, one) for one in frames])
    return np.array([goal], np.float64) if goal else None


def _shown_at(logs: Logs, seen: Columns, told: str) -> Array:
    """The numbers in a frame of the logs, (d,)."""
    place = frame_of(told, logs.dataset)
    if place is None:
        raise UserError(f"--frames is {told}, expected EPISODE:FRAME")
    return read_numbers(logs, place[0], [seen])[0][place[1]]


def _listed(columns: Sequence[int]) -> str:
    return ", ".join(map(str, columns))
