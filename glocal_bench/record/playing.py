"""Play in an environment of `glocal_envs`, as a person with a joystick would record it: LeRobotDataset v3.0, 5 steps a
second.

A script holds the joystick, and sees what the environment lets be observed. It has one intent after the other; its hand
trembles and drifts, to different degrees. Every episode begins where the environment resets to, and lasts as many steps
as were asked for, or until the environment ends it. Rewards, success and ends are the environment's own. Where a camera
is recorded, what it shows takes the place of what is tracked (`observation.task`).
"""

from collections.abc import Callable, Generator, Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np
import tyro

from glocal.core.ranges import Seed
from glocal.data.dataset import Array, Feature
from glocal.data.formats.lerobot_writer import Layout, check_new, write_lerobot
from glocal.runtime.files import UserError
from glocal.runtime.progress import Ticker

FPS = 5
TREMBLES, DRIFTS = (0.05, 0.15, 0.35), (0.0, 0.0, 0.15)
"""Shares of the limits, one of which is drawn with each intent."""

Hand = Generator[Array, dict[str, Array], None]
"""Sent what is observed, it yields actions."""


Told = Literal["all", "own", "nothing"]
"""Which numbers are recorded beside a camera's pictures: all that are not tracked, those that the robot feels of itself
(not where it is), or none."""


@dataclass(frozen=True)
class Recording:
    """What is recorded, and how much."""

    episodes: int = 200
    """How many."""
    steps: int = 200
    """Of each at most, at 5 a second; fewer where the environment ends it."""
    seed: Seed = 0
    """Of everything that is drawn."""
    camera: str | None = None
    """Record what this camera shows in place of what is tracked."""
    told: Told = "all"
    """Numbers beside the camera's pictures: all that are not tracked, the robot's own, or none."""
    varied: bool = False
    """Draw the cube's size, mass and friction and the light with each episode."""


@dataclass(frozen=True)
class Intent:
    """Something that a person may be up to."""

    often: float
    """How often it is chosen; those of a `Play` add up to 1."""
    lasts: tuple[int, int]
    """Fewest control steps, and one more than the most."""
    hand: Callable[[np.random.Generator], Hand]
    trembles: bool = True


@dataclass(frozen=True)
class Play:
    """What is played with, and how."""

    env: Callable[..., Any]
    """Makes the environment, as `gymnasium.make` would; one of those of `glocal_envs`."""
    names: Mapping[str, tuple[str, ...]]
    """The numbers in each entry of its observation."""
    own: tuple[str, ...]
    """Which of these the robot feels of itself."""
    actions: Mapping[str, tuple[str, ...]]
    """The numbers of each part of its action, in their order."""
    limits: Array
    """The largest action."""
    buttons: tuple[int, ...]
    """Which of its numbers are switches: at one limit or the other, whatever the hand does."""
    sides: Mapping[str, int]
    """Of each camera's pictures, in pixels."""
    intents: Mapping[str, Intent]
    task: str
    """In words, for the data set."""

    def features(self, camera: str | None, told: Told = "all") -> dict[str, Feature]:
        """What is recorded."""
        shown = [name for name in self.names if name != "task"]
        names = list(self.names) if camera is None else {"all": shown, "own": self.own, "nothing": ()}[told]
        found = {f"observation.{name}": _numbers(self.names[name]) for name in names}
        if camera is not None:
            shape = (self.sides[camera], self.sides[camera], 3)
            picture = Feature(shape, "uint8", picture=True, names=("height", "width", "channels"))
            found[f"observation.images.{camera}"] = picture
        found |= {f"action.{name}": _numbers(words) for name, words in self.actions.items()}
        outcomes = {"next.reward": "float32", "next.success": "bool", "next.done": "bool"}
        return found | {name: Feature((1,), dtype) for name, dtype in outcomes.items()}

    def told(self, action: Array) -> Array:
        """What the joystick can say of an action."""
        told = np.clip(action, -self.limits, self.limits)
        switches = list(self.buttons)
        told[switches] = np.where(action[switches] > 0, self.limits[switches], -self.limits[switches])
        return told


def _numbers(words: tuple[str, ...]) -> Feature:
    return Feature((len(words),), "float32", names=words)


def player(play: Play, rng: np.random.Generator) -> Hand:
    """One intent after the other."""
    still, often = np.zeros(len(play.limits)), [one.often for one in play.intents.values()]
    shaken = play.limits.copy()
    shaken[list(play.buttons)] = 0.0
    obs, tremble = (yield still), still
    while True:
        intent = play.intents[rng.choice(list(play.intents), p=often)]
        hand, size = intent.hand(rng), rng.choice(TREMBLES)
        bias = rng.normal(0, rng.choice(DRIFTS), len(still))
        next(hand)
        for _ in range(int(rng.integers(*intent.lasts))):
            try:
                action = hand.send(obs)
            except StopIteration:
                break
            if intent.trembles:
                tremble = 0.7 * tremble + rng.normal(0, 1, len(still)) * size
                action = action + shaken * (tremble + bias)
            obs = yield play.told(action)


def record_episode(play: Play, what: Recording, number: int) -> dict[str, Array]:
    """An episode's features, (steps, ...), or fewer where the environment ended it."""
    camera, recorded = what.camera, play.features(what.camera, what.told)
    side = play.sides[camera] if camera else 0
    looks = {"render_mode": "rgb_array", "width": side, "height": side, "camera": camera} if camera else {}
    rng, env = np.random.default_rng([what.seed, number]), play.env(varied=what.varied, **looks)
    rows: dict[str, list[Any]] = {name: [] for name in recorded}
    hand = player(play, rng)
    next(hand)
    obs, _ = env.reset(seed=int(rng.integers(2**31)))
    ended, ends = False, np.cumsum([len(words) for words in play.actions.values()])[:-1]
    while len(rows["next.done"]) < what.steps and not ended:
        picture = env.render()
        action = hand.send(obs).astype(np.float32)
        after, reward, ended, _, info = env.step(action)
        told = {f"observation.{name}": obs[name] for name in play.names}
        told |= {f"observation.images.{camera}": picture}
        told |= {f"action.{name}": part for name, part in zip(play.actions, np.split(action, ends), strict=True)}
        told |= {"next.reward": [reward], "next.success": [info["is_success"]], "next.done": [ended]}
        for name in recorded:
            rows[name].append(told[name])
        obs = after
    env.close()
    return {name: np.array(rows[name], feature.dtype) for name, feature in recorded.items()}


def recorder(play: Play) -> Callable[..., None]:
    """What records play, and how it is called from the command line."""

    def main(
        out: tyro.conf.Positional[Path], recording: tyro.conf.OmitArgPrefixes[Recording], processes: int = 2
    ) -> None:
        """Record play.

        Args:
            out: The folder to write; it must not exist.
            recording: What is recorded.
            processes: How many record at once.
        """
        record(play, out, recording, processes)

    return main


def record(play: Play, out: Path, what: Recording, processes: int) -> None:
    """Record play into a folder, which must not exist."""
    for name, count in {"episodes": what.episodes, "steps": what.steps, "processes": processes}.items():
        if count < 1:
            raise UserError(f"--{name} is {count}, expected at least 1")
    if what.camera not in {None, *play.sides}:
        raise UserError(f"--camera is {what.camera}, expected one of {', '.join(play.sides)}")
    check_new(out)
    tick = Ticker("record", what.episodes, unit="steps", per_iteration=what.steps)
    with ProcessPoolExecutor(processes) as pool, tick:
        work = pool.map(partial(record_episode, play, what), range(what.episodes))
        write_lerobot(out, counted(work, tick), Layout(FPS, play.features(what.camera, what.told), play.task))


def counted(work: Iterator[dict[str, Array]], tick: Ticker) -> Iterator[dict[str, Array]]:
    """Episodes as they come, each of them told of."""
    for number, episode in enumerate(work):
        yield episode
        tick(number + 1)


def jerk(limits: Array, rng: np.random.Generator) -> Hand:
    """At random."""
    while True:
        action = rng.uniform(-limits, limits)
        for _ in range(int(rng.integers(1, 4))):
            yield action


def pause(limits: Array, rng: np.random.Generator) -> Hand:
    """Leave the joystick alone."""
    del rng
    while True:
        yield np.zeros(len(limits))
