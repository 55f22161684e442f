"""A robot that is known by its logs alone, and where there is one, a Gymnasium environment that stands for it."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import gymnasium
import numpy as np
from numpy.typing import NDArray

from glocal.files import UserError

Array = NDArray[Any]
PLUGINS = ("gymnasium_robotics", "metaworld")
"""Packages that add environments to Gymnasium where they are installed."""


@dataclass(frozen=True)
class Sensed:
    """Which numbers of which entry of an environment's observation a stream reads."""

    name: str
    entry: str
    """Of a dictionary; empty where the observation is one array."""
    columns: tuple[int, ...]


@dataclass(frozen=True)
class Decided:
    """What a decision led to."""

    fields: dict[str, Array]
    """What is sensed, by stream."""
    success: bool
    ended: bool
    """Whether the environment ended the episode itself."""


class GymRobot:
    """One episode after another in a Gymnasium environment: `reset`, then `step` as often as wanted."""

    def __init__(
        self,
        env: gymnasium.Env[Any, Any],
        sensed: Sequence[Sensed],
        told: Callable[[Array], Array],
        hold: int,
        success: str,
    ):
        """`told` makes of an action in [-1, 1] what the environment is told for `hold` steps; `success` is the key of
        its info that says so."""
        self.env, self.sensed, self.told, self.hold, self.success = env, sensed, told, hold, success

    def reset(self, seed: int) -> dict[str, Array]:
        """Start an episode from the initial state that the environment draws from a seed."""
        obs, _ = self.env.reset(seed=seed)
        return sense(obs, self.sensed)

    def step(self, action: Array) -> Decided:
        """Hold one decision; success at any of its steps counts, and nothing is done after the episode's end."""
        told, success, ended = self.told(action).astype(np.float32), False, False
        obs: Any = None
        for _ in range(self.hold):
            obs, _, ended, _, info = self.env.step(told)
            if self.success not in info:
                raise UserError(
                    f"the environment's info has no {self.success!r}, which is to say success; it has "
                    f"{', '.join(sorted(info)) or 'nothing'}. Name another key with --env.success"
                )
            success = success or bool(info[self.success])
            if ended:
                break
        return Decided(sense(obs, self.sensed), success, bool(ended))


def sense(obs: Any, sensed: Sequence[Sensed]) -> dict[str, Array]:
    """What an environment's observation holds for each stream."""
    rows = {one.name: obs[one.entry] if one.entry else obs for one in sensed}
    return {one.name: np.asarray(rows[one.name], np.float32).reshape(-1)[list(one.columns)] for one in sensed}


def make(name: str, **options: Any) -> gymnasium.Env[Any, Any]:
    """An environment of Gymnasium, or of the packages known to add some; its own limit on steps is lifted.

    Raises `UserError` where there is none of that name, or what it needs is not installed.
    """
    for plugin in PLUGINS:
        try:
            gymnasium.register_envs(__import__(plugin))
        except ImportError:
            continue
    try:
        return gymnasium.make(name, max_episode_steps=10**9, disable_env_checker=True, **options)
    except (gymnasium.error.Error, ImportError, TypeError) as error:
        raise UserError(
            f"there is no environment {name!r} to judge policies in ({error}); name another with --env, install the "
            "package that adds it, or leave --env out"
        ) from error


def check_spaces(env: gymnasium.Env[Any, Any], sensed: Sequence[Sensed], low: Array, high: Array) -> list[str]:
    """What of an environment does not fit what the logs' streams read and what their actions tell, in words."""
    wrong, space = [], env.observation_space
    entries: Mapping[str, Any] = dict(space.spaces) if isinstance(space, gymnasium.spaces.Dict) else {"": space}
    for one in sensed:
        entry = entries.get(one.entry)
        shape = None if entry is None else entry.shape
        if shape is None:
            wrong.append(f"stream {one.name} reads {one.entry!r} of its observation, which has {', '.join(entries)}")
        elif int(np.prod(shape)) <= max(one.columns):
            wrong.append(f"stream {one.name} reads {max(one.columns) + 1} numbers of {one.entry!r}, which has {shape}")
    action = env.action_space
    if not isinstance(action, gymnasium.spaces.Box) or action.shape != low.shape:
        wrong.append(f"its actions are {action}, those of the logs are {low.size} numbers")
    elif (low < action.low - 1e-3).any() or (high > action.high + 1e-3).any():
        beyond = "; ".join(
            f"{i}: {a:g} to {b:g}, it takes {c:g} to {d:g}"
            for i, (a, b, c, d) in enumerate(zip(low, high, action.low, action.high, strict=True))
            if a < c - 1e-3 or b > d + 1e-3
        )
        wrong.append(f"the logs' actions go beyond its own ({beyond})")
    return wrong
