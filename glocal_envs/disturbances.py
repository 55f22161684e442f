"""What goes wrong while a robot is at work: a wrapper in which that begins in the middle of an episode."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import gymnasium
import numpy as np


@dataclass(frozen=True)
class Disturbance:
    """Something that goes wrong, and stays so until the next reset."""

    about: str
    begins: str = ""
    """What is called once, of the environment below all wrappers."""
    shown: Callable[[np.ndarray, np.ndarray], np.ndarray] | None = None
    """Makes a picture that is observed of what the camera sees now, and of the last picture before it began."""

    @property
    def pictured(self) -> bool:
        """Whether it is one of pictures alone."""
        return self.shown is not None


def _brighter(share: float) -> Callable[[np.ndarray, np.ndarray], np.ndarray]:
    def shown(now: np.ndarray, before: np.ndarray) -> np.ndarray:
        del before
        return np.clip(now * share, 0, 255).astype(np.uint8)

    return shown


DISTURBANCES = {
    "none": Disturbance("nothing goes wrong"),
    "no-cube": Disturbance("the cube is taken away", begins="take_cube"),
    "frozen": Disturbance("cameras go on showing their last picture", shown=lambda now, before: before),
    "dark": Disturbance("pictures are four tenths as bright", shown=_brighter(0.4)),
    "bright": Disturbance("pictures are half as bright again", shown=_brighter(1.5)),
}
"""By name what may go wrong."""


@dataclass
class Past:
    """What came of an episode."""

    effort: list[float] = field(default_factory=list)
    """Of each step since it was disturbed: the root mean square of the action, as a share of the largest."""
    terminated: bool = False


class Disturbed(gymnasium.Wrapper[Any, Any, Any, Any]):
    """An environment in which something goes wrong when `since` of an episode's steps are done.

    Pictures are what observations have of shape (h, w, 3) and bytes, and what `render` makes where `rendered` says that
    the robot sees that; numbers stay as they are. `past` keeps what came of each episode, the present one among them.
    """

    def __init__(self, env: gymnasium.Env[Any, Any], kind: str, since: int, rendered: bool = False) -> None:
        super().__init__(env)
        if kind not in DISTURBANCES:
            raise ValueError(f"there is no disturbance {kind!r}; expected one of {', '.join(DISTURBANCES)}")
        if (begins := DISTURBANCES[kind].begins) and not hasattr(env.unwrapped, begins):
            made = type(env.unwrapped).__name__
            raise ValueError(f"{made} has no cube that could be taken away; expected one of glocal_envs")
        if since < 1:
            raise ValueError(f"a disturbance begins after at least 1 step, not {since}")
        if not isinstance(env.action_space, gymnasium.spaces.Box):
            raise ValueError(f"actions are {env.action_space}, expected numbers within limits")
        self.disturbance, self.since, self.rendered = DISTURBANCES[kind], since, rendered
        self.middle = (env.action_space.high + env.action_space.low) / 2
        self.largest = (env.action_space.high - env.action_space.low) / 2
        self.steps = 0
        self.before: dict[str, np.ndarray] = {}
        self.past: list[Past] = []

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        """Begin an episode in which nothing is wrong yet."""
        self.steps, self.before = 0, {}
        self.past.append(Past())
        obs, info = self.env.reset(seed=seed, options=options)
        return self._observed(obs), info

    def step(self, action: Any) -> tuple[Any, Any, bool, bool, dict[str, Any]]:
        """One step, before which it may begin."""
        if self.steps == self.since and self.disturbance.begins:
            getattr(self.env.unwrapped, self.disturbance.begins)()
        if self.steps >= self.since:
            share = (np.asarray(action) - self.middle) / self.largest
            self.past[-1].effort.append(float(np.sqrt(np.mean(share**2))))
        self.steps += 1
        obs, reward, terminated, truncated, info = self.env.step(action)
        self.past[-1].terminated = bool(terminated)
        return self._observed(obs), reward, terminated, truncated, info

    def render(self) -> Any:
        """What the camera shows."""
        picture = self.env.render()
        return self._shown("render()", picture) if self.rendered else picture

    def _observed(self, obs: Any) -> Any:
        if isinstance(obs, dict):
            return {name: self._shown(name, entry) for name, entry in obs.items()}
        return self._shown("", obs)

    def _shown(self, name: str, entry: Any) -> Any:
        if not (isinstance(entry, np.ndarray) and entry.ndim == 3 and entry.dtype == np.uint8):
            return entry
        if self.steps <= self.since:
            self.before[name] = entry.copy()
            return entry
        shown = self.disturbance.shown
        return entry if shown is None else shown(entry, self.before.get(name, entry))
