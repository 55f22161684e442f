"""Rewards that somebody tells: a feature of the logs, a table, or a Python function."""

import importlib.util
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from glocal.data.dataset import Array
from glocal.files import UserError
from glocal.labelling.job import Common, Shown, finish, open_logs, read_table, ticking


def column(job: Common, name: str, success: str = "", success_above: float | None = None) -> None:
    """Take a feature that the logs have already for the reward that came of each step.

    Args:
        job: What all ways of labelling need to know.
        name: The feature.
        success: Another one, that says success; without it, see --success-above.
        success_above: Rewards above this count as success.
    """
    dataset = open_logs(job)
    for one in filter(None, (name, success)):
        if one not in dataset.features:
            raise UserError(f"{job.path} has no {one!r}; it has {', '.join(dataset.features)}")
    shown = []
    for number in ticking(dataset):
        found = dataset.episode(number, [one for one in (name, success) if one])
        reward = found[name].reshape(dataset.lengths[number], -1)[:, 0].astype(np.float32)
        good = found[success].reshape(-1) if success else _above(reward, success_above)
        # rows of frames: the first frame has no step before it
        shown.append(Shown(np.r_[reward[:1], reward], np.r_[good[:1], good].astype(np.float32)))
    finish(job, dataset, shown, {"way": "column", "column": name, "success": success or success_above})


def table(job: Common, file: Path, success_above: float | None = None) -> None:
    """Take rewards of frames from a csv with the columns episode, frame, reward and, if there is one, success.

    Args:
        job: What all ways of labelling need to know.
        file: The csv.
        success_above: Rewards above this count as success, where the file has no such column.
    """
    dataset = open_logs(job)
    told = read_table(file, dataset.lengths)
    if "reward" not in told:
        raise UserError(f"{file} has no column reward")
    success = told.get("success", [_above(reward, success_above) for reward in told["reward"]])
    shown = [Shown(*pair) for pair in zip(told["reward"], success, strict=True)]
    finish(job, dataset, shown, {"way": "table", "file": str(file), "success_above": success_above})


def function(job: Common, name: str, success_above: float | None = None) -> None:
    """Ask a Python function, which is given a frame's features and answers with a reward, or with (reward, success).

    Args:
        job: What all ways of labelling need to know.
        name: FILE.py:FUNCTION.
        success_above: Rewards above this count as success, where the function does not say.
    """
    dataset, answer = open_logs(job), _function(name)
    shown = []
    for number in ticking(dataset):
        episode = dataset.episode(number, list(dataset.features))
        frames = ({key: values[t] for key, values in episode.items()} for t in range(dataset.lengths[number]))
        answers = np.array([_answered(answer, frame, name, number) for frame in frames], np.float32)
        said = ~np.isnan(answers[:, 1])
        shown.append(Shown(answers[:, 0], np.where(said, answers[:, 1], _above(answers[:, 0], success_above))))
    finish(job, dataset, shown, {"way": "function", "function": name, "success_above": success_above})


def _above(reward: Array, limit: float | None) -> Array:
    return np.zeros(len(reward), np.float32) if limit is None else (reward > limit).astype(np.float32)


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
