"""A robot that is known by its logs alone, and where there is one, a Gymnasium environment that stands for it."""

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import gymnasium
import numpy as np
from gymnasium.utils import seeding
from numpy.typing import NDArray

from glocal.runtime.files import UserError

Array = NDArray[Any]
PLUGINS = ("gymnasium_robotics", "metaworld", "glocal_envs")
"""Packages that add environments to Gymnasium where they are installed."""


@dataclass(frozen=True)
class Sensed:
    """Which numbers of which entry of an environment's observation a stream reads."""

    name: str
    entry: str
    """Of a dictionary; empty where the observation is one array."""
    columns: tuple[int, ...]


@dataclass(frozen=True)
class Viewed:
    """Which picture of an environment a camera stands for."""

    name: str
    entry: str
    """Of its observation; `RENDERED` for what its `render` makes."""
    shown: Callable[[Array], Array]
    """Makes of it what models see."""


RENDERED = "render()"


def picked(entry: str) -> tuple[str, tuple[int, ...] | None]:
    """An entry of an observation, and which of its numbers are meant by ENTRY[0:3,9]; None for all of them.

    Raises `UserError` where the brackets do not say so.
    """
    name, bracket, chosen = entry.partition("[")
    if not bracket:
        return entry, None
    columns: list[int] = []
    for part in chosen.removesuffix("]").split(","):
        ends = part.strip().split(":")
        if not chosen.endswith("]") or len(ends) > 2 or not all(end.isdecimal() for end in ends):
            raise UserError(f"--env.senses has {entry}, expected numbers and ranges as in {name}[0:3,9]")
        columns += range(int(ends[0]), int(ends[-1]) + (len(ends) == 1))
    if not columns:
        raise UserError(f"--env.senses has {entry}, which names no numbers; expected some, as in {name}[0:3,9]")
    return name, tuple(columns)


@dataclass(frozen=True)
class Outcome:
    """What a control step led to."""

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
        viewed: Sequence[Viewed] = (),
    ):
        """`told` makes of an action in [-1, 1] what the environment is told for `hold` steps; `success` is the key of
        its info that says so."""
        self.env, self.sensed, self.told, self.hold, self.success = env, sensed, told, hold, success
        self.viewed = viewed

    def reset(self, seed: int) -> dict[str, Array]:
        """Start an episode from the initial state that the environment draws from a seed."""
        return self._look(begin(self.env, seed))

    def step(self, action: Array) -> Outcome:
        """Hold an action for one control step; success in any of its steps counts. Nothing is done after the end.

        An episode that is truncated ends too: `make` lifts Gymnasium's limit on steps, so this one is the
        environment's own, and some cannot be stepped beyond it.
        """
        told, success, ended = self.told(action).astype(np.float32), False, False
        obs: Any = None
        for _ in range(self.hold):
            obs, _, terminated, truncated, info = self.env.step(told)
            ended = terminated or truncated
            if self.success not in info:
                raise UserError(
                    f"the environment's info has no {self.success!r}, which is to say success; it has "
                    f"{', '.join(sorted(info)) or 'nothing'}. Name another key with --env.success"
                )
            success = success or bool(info[self.success])
            if ended:
                break
        return Outcome(self._look(obs), success, bool(ended))

    def picture(self) -> Any:
        """How it looks now, (h, w, 3), where its environment was made to be filmed; raises what that raises."""
        return self.env.render()

    def _look(self, obs: Any) -> dict[str, Array]:
        """What models see: numbers, and pictures by camera."""
        return sense(obs, self.sensed) | {one.name: one.shown(self._picture(obs, one)) for one in self.viewed}

    def _picture(self, obs: Any, one: Viewed) -> Array:
        picture = self._rendered(one) if one.entry == RENDERED else obs[one.entry] if one.entry else obs
        found = np.asarray(picture)
        if found.ndim != 3 or found.shape[-1] != 3 or found.dtype != np.uint8:
            raise UserError(
                f"camera {one.name} is to read {one.entry or 'the observation'}, which gives {found.dtype} of shape "
                f"{found.shape}, expected pictures (height, width, 3) of bytes; name another with --env.senses"
            )
        return found

    def _rendered(self, one: Viewed) -> Any:
        try:
            return self.env.render()
        except Exception as error:  # of whatever draws it
            said = " ".join(str(error).split()) or type(error).__name__
            raise UserError(
                f"camera {one.name} is to show what the environment's render makes, which fails: {said}. Where there "
                "is no screen, MUJOCO_GL=egl lets environments of MuJoCo be seen (Debian: libegl1, libgl1-mesa-dri)"
            ) from error


def begin(env: gymnasium.Env[Any, Any], seed: int) -> Any:
    """What is observed in the initial state that an environment draws from a seed.

    Its generator is set as well: Meta-World draws its task from that, and ignores the seed that it is reset with.
    """
    env.unwrapped.np_random = seeding.np_random(seed)[0]
    return env.reset(seed=seed)[0]


def sense(obs: Any, sensed: Sequence[Sensed]) -> dict[str, Array]:
    """What an environment's observation holds for each stream."""
    rows = {one.name: obs[one.entry] if one.entry else obs for one in sensed}
    return {one.name: np.asarray(rows[one.name], np.float32).reshape(-1)[list(one.columns)] for one in sensed}


def make(name: str, **options: Any) -> gymnasium.Env[Any, Any]:
    """An environment of Gymnasium, or of the packages known to add some; Gymnasium's limit on its steps is lifted.

    Raises `UserError` where there is none of that name, what it needs is not installed, or it cannot be made with
    these options.
    """
    os.environ.setdefault("LP_NUM_THREADS", "1")  # Mesa's, which draws on CPUs: its threads wait for one another
    for plugin in PLUGINS:
        try:
            gymnasium.register_envs(__import__(plugin))
        except (ImportError, gymnasium.error.Error):  # gymnasium_robotics says so itself where MuJoCo is missing
            continue
    try:
        return gymnasium.make(name, max_episode_steps=10**9, disable_env_checker=True, **options)
    except (gymnasium.error.Error, ImportError) as error:
        raise UserError(
            f"there is no environment {name!r} to judge policies in ({error}); name another with --env, install the "
            "package that adds it (`pip install -e '.[tasks]'` for those of glocal's own presets), or leave --env out"
        ) from error
    except Exception as error:  # what is wrong with its options it says as it likes
        given = " ".join(f"{key}={value}" for key, value in options.items()) or "no options"
        said = " ".join(str(error).split()) or type(error).__name__
        raise UserError(f"{name} cannot be made with {given} ({said}); name its options with --env.options") from error


def make_filmed(name: str, **options: Any) -> gymnasium.Env[Any, Any]:
    """The same, to be filmed where it says that it can be."""
    env = make(name, **options)
    if "rgb_array" not in (env.metadata or {}).get("render_modes", ()):
        return env
    env.close()
    return make(name, **{"render_mode": "rgb_array", **options})


def check_spaces(
    env: gymnasium.Env[Any, Any], sensed: Sequence[Sensed], viewed: Sequence[Viewed], low: Array, high: Array
) -> list[str]:
    """What of an environment does not fit what the logs' streams read and what their actions tell, in words."""
    wrong, space = [], env.observation_space
    entries: Mapping[str, Any] = dict(space.spaces) if isinstance(space, gymnasium.spaces.Dict) else {"": space}
    for one in sensed:
        entry = entries.get(one.entry)
        shape = None if entry is None else entry.shape
        if shape is None and list(entries) == [""]:
            wrong.append(
                f"stream {one.name} reads {one.entry!r} of its observation, which is one array of "
                f"{int(np.prod(space.shape or ()))} numbers; --env.senses FEATURE= names the whole of it"
            )
        elif shape is None:
            wrong.append(f"stream {one.name} reads {one.entry!r} of its observation, which has {', '.join(entries)}")
        elif int(np.prod(shape)) <= max(one.columns):
            wrong.append(f"stream {one.name} reads {max(one.columns) + 1} numbers of {one.entry!r}, which has {shape}")
    for one in viewed:
        if one.entry != RENDERED and one.entry not in entries:
            wrong.append(
                f"camera {one.name} reads {one.entry!r} of its observation, which has {', '.join(entries)}; "
                f"--env.senses FEATURE={RENDERED} takes what its render shows"
            )
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
