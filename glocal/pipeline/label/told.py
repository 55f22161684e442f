"""Rewards that somebody tells: a feature of the logs, a table, or a Python function."""

import importlib.util
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from glocal.data.dataset import Array
from glocal.data.mapping import Column
from glocal.pipeline.label.job import Common, Logs, Shown, open_logs, read_table, ticking
from glocal.pipeline.label.labelled import finish
from glocal.pipeline.label.numbers import Columns, count_of, read_numbers, unseen
from glocal.runtime.files import UserError


def column(
    job: Common, name: str, number: Column | None = None, success: str = "", success_above: float | None = None
) -> None:
    """Take a feature that the logs have already for the reward that came of each step.

    Args:
        job: What all ways of labelling need to know.
        name: The feature.
        number: Which of its numbers, where it holds several.
        success: Another one, that says success; without it, see --success-above.
        success_above: Rewards above this count as success.
    """
    logs = open_logs(job)
    wanted = [_one_of(logs, name, number), *([_one_of(logs, success, None)] if success else [])]
    logs = unseen(logs, [feature for feature, _ in wanted])
    shown = []
    for episode in ticking(logs.dataset):
        reward, *says = (rows[:, 0].astype(np.float32) for rows in read_numbers(logs, episode, wanted))
        good = says[0] if says else _above(reward, success_above)
        if logs.known.outcomes_at == "action":  # rows of frames: the first frame has no step before it
            reward, good = np.r_[reward[:1], reward], None if good is None else np.r_[good[:1], good]
        shown.append(Shown(reward, good))
    how = {"way": "column", "column": name, "number": number, "success": success or success_above}
    finish(logs, shown, how)


def _one_of(logs: Logs, name: str, number: int | None) -> Columns:
    """A feature and which of its numbers is meant; raises `UserError` where that is not said, or not there."""
    count = count_of(logs, name)
    if number is None and count > 1:
        raise UserError(f"{name} holds {count} numbers; say which one is meant with --number")
    if (number or 0) >= count:
        raise UserError(f"--number is {number}, but {name} holds {count} numbers, counted from 0")
    return name, (number or 0,)


def table(job: Common, file: Path, success_above: float | None = None) -> None:
    """Take rewards of frames from a csv with the columns episode, frame, reward and, if there is one, success.

    Args:
        job: What all ways of labelling need to know.
        file: The csv.
        success_above: Rewards above this count as success, where the file has no such column.
    """
    logs = open_logs(job)
    told = read_table(file, logs.dataset.lengths)
    if "reward" not in told:
        raise UserError(f"{file} has no column reward")
    success = told.get("success", [_above(reward, success_above) for reward in told["reward"]])
    shown = [Shown(*pair) for pair in zip(told["reward"], success, strict=True)]
    finish(logs, shown, {"way": "table", "file": str(file), "success_above": success_above})


def function(job: Common, name: str, success_above: float | None = None) -> None:
    """Ask a Python function, which is given a frame's features and answers with a reward, or with (reward, success).

    Args:
        job: What all ways of labelling need to know.
        name: FILE.py:FUNCTION.
        success_above: Rewards above this count as success, where the function does not say.
    """
    logs, answer = open_logs(job), _function(name)
    dataset, answers = logs.dataset, []
    for number in ticking(dataset):
        episode = dataset.episode(number, list(dataset.features))
        frames = ({key: values[t] for key, values in episode.items()} for t in range(dataset.lengths[number]))
        answers.append(np.array([_answered(answer, frame, name, number) for frame in frames], np.float32))
    says = success_above is not None or not np.isnan(np.concatenate(answers)[:, 1]).all()
    shown = [Shown(one[:, 0], _said(one, success_above) if says else None) for one in answers]
    finish(logs, shown, {"way": "function", "function": name, "success_above": success_above})


def _said(answers: Array, limit: float | None) -> Array:
    """Success of frames, by their rewards where the function does not say."""
    reward, success = answers.T
    by_reward = np.zeros(len(reward)) if limit is None else reward > limit
    return np.where(np.isnan(success), by_reward, success).astype(np.float32)


def _above(reward: Array, limit: float | None) -> Array | None:
    return None if limit is None else (reward > limit).astype(np.float32)


def _function(name: str) -> Callable[..., Any]:
    file, _, function = name.rpartition(":")
    spec = importlib.util.spec_from_file_location("labels", file) if file else None
    if spec is None or spec.loader is None or not Path(file).is_file():
        raise UserError(f"{name!r} names no Python function; expected FILE.py:FUNCTION")
    module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        raise UserError(f"{name} cannot be loaded: {error!r}") from error
    found = vars(module).get(function)
    if not callable(found):
        known = [one for one, value in vars(module).items() if callable(value) and not one.startswith("_")]
        raise UserError(f"{file} has no function {function!r}; it has {', '.join(known) or 'none'}")
    return found


def _answered(answer: Callable[..., Any], frame: Mapping[str, Array], name: str, number: int) -> tuple[float, float]:
    """A function's reward and success (NaN where it does not say) of a frame."""
    try:
        told = answer(frame)
        reward, success = told if isinstance(told, tuple) else (told, np.nan)
        found = float(reward), float(success)
    except Exception as error:
        raise UserError(f"{name} failed at a frame of episode {number}: {error!r}") from error
    if not np.isfinite(found[0]):
        raise UserError(f"{name} says {found[0]} of a frame of episode {number}; expected a finite number")
    return found
