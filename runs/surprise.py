"""How often, and how soon, an exported policy's surprise rings when something goes wrong, and how rarely otherwise.

    python runs/surprise.py out/pusht_images/bundle --episodes 50 --kinds none moved recoloured delayed hand

A row for each thing that goes wrong in the middle of episodes, in the environment that the policy was judged in: how
many rang before that (false alarms), how many within 5 s of it and until the end, with 95 % Wilson intervals, and how
many control steps the first alarm took, the median. Success is counted, too. Whatever goes wrong is done to what the
policy sees or tells, so that it works with any robot: `moved` shifts pictures by a twelfth of their side, `recoloured`
swaps red and blue, `dark` halves their light, `hand` puts a skin-coloured disc into them that moves about, `frozen`
shows the last picture again, `delayed` carries out actions 0.6 s later, and `weak` carries out half of them.
"""

import sys
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import tyro

from glocal.deploy.control import Control, ControlConfig
from glocal.deploy.guard import Guarded
from glocal.deploy.robots import Features, Judged
from glocal.deploy.runner import BundleError, Policy
from glocal.evaluate.intervals import in_words, wilson
from glocal.pipeline.rollout import environment_of
from glocal.runtime.files import UserError
from glocal.runtime.progress import Ticker

SOON, LATER = 5.0, 0.6
"""Seconds within which an alarm is soon, and by which actions are late."""
SKIN = np.array([224, 172, 140], np.uint8)
HEAD = ("what goes wrong", "rang before", "rang within 5 s", "rang by the end", "control steps to it", "success")


def moved(picture: np.ndarray, first: np.ndarray, t: int) -> np.ndarray:
    """As a camera sees that was knocked."""
    return np.roll(picture, picture.shape[1] // 12, axis=1)


def recoloured(picture: np.ndarray, first: np.ndarray, t: int) -> np.ndarray:
    """Red where blue was."""
    return np.ascontiguousarray(picture[..., ::-1])


def dark(picture: np.ndarray, first: np.ndarray, t: int) -> np.ndarray:
    """With half of the light."""
    return picture // 2


def frozen(picture: np.ndarray, first: np.ndarray, t: int) -> np.ndarray:
    """Of a camera that hangs."""
    return first


def hand(picture: np.ndarray, first: np.ndarray, t: int) -> np.ndarray:
    """With a hand that moves about."""
    height, width = picture.shape[:2]
    y, x = np.mgrid[:height, :width]
    middle = (0.5 + 0.25 * np.sin(0.3 * t)) * height, (0.5 + 0.25 * np.cos(0.2 * t)) * width
    inside = (y - middle[0]) ** 2 + (x - middle[1]) ** 2 < (0.14 * height) ** 2
    return np.where(inside[..., None], SKIN, picture)


PICTURED: dict[str, Callable[[np.ndarray, np.ndarray, int], np.ndarray]] = {
    "moved": moved, "recoloured": recoloured, "dark": dark, "frozen": frozen, "hand": hand,
}  # fmt: skip
KINDS = ("none", *PICTURED, "delayed", "weak")


class Wrong:
    """A robot with which something goes wrong from the control step `since` of an episode on."""

    def __init__(self, robot: Judged, kind: str, since: int, policy: Policy):
        self.robot, self.kind, self.since, self.policy = robot, kind, since, policy

    success = property(lambda self: self.robot.success)
    over = property(lambda self: self.robot.over)

    def reset(self, seed: int) -> None:
        self.robot.reset(seed)
        self.control_step, self.pictures = -1, {}
        self.waiting: deque[Features] = deque()

    def observe(self) -> Features:
        seen = self.robot.observe()
        self.control_step += 1
        if self.control_step < self.since or self.kind not in PICTURED:
            self.pictures = {name: x for name, x in seen.items() if np.ndim(x) == 3}
            return seen
        change = PICTURED[self.kind]
        return {**seen, **{n: change(seen[n], self.pictures[n], self.control_step) for n in self.pictures}}

    def command(self, told: Features) -> None:
        wrong = self.control_step >= self.since
        if self.kind == "delayed":
            self.waiting.append(told)
            late = round(LATER * self.policy.rate * self.policy.hold)
            told = self.waiting.popleft() if len(self.waiting) > late else self.waiting[0]
            told = told if wrong else self.waiting[-1]
        if self.kind == "weak" and wrong:
            moves = {name: self.policy.deltas[name] | self.policy.velocities[name] for name in told}
            told = {name: np.where(moves[name], 0.5 * x, x) for name, x in told.items()}
        self.robot.command(told)

    def stop(self) -> None:
        self.robot.stop()


def row(bundle: Path, kind: str, episodes: int, first_seed: int, on_alarm: str) -> tuple[str, ...]:
    """Of the table, in the order of `HEAD`."""
    policy = Policy(bundle)
    steps = int(policy.spec["origin"]["control_steps"])
    since = steps // 4
    robot = Guarded(lambda: Wrong(environment_of(policy.spec, bundle), kind, since, policy), None)
    control = Control(policy, robot, ControlConfig(realtime=False, on_alarm=on_alarm))  # pyright: ignore
    before, took, success = 0, [], 0
    with Ticker(kind, episodes, unit="steps", per_iteration=steps) as tick:
        for i in range(episodes):
            found = control.episode(steps, first_seed + i)
            rang = np.flatnonzero(found.alarm)
            before += bool(len(rang) and rang[0] < since)
            after = rang[rang >= since]
            took.append(int(after[0]) - since if len(after) else None)
            success += any(found.success)
            tick(i + 1)
    rang = [one for one in took if one is not None]
    soon = sum(one < SOON * policy.rate for one in rang)
    counts = (before, soon, len(rang))
    median = f"{np.median(rang):.0f}" if rang else "-"
    return (kind, *(in_words(wilson(k, episodes)) for k in counts), median, in_words(wilson(success, episodes)))


def surprise(
    bundle: tyro.conf.Positional[Path],
    kinds: tuple[str, ...] = KINDS,
    episodes: int = 50,
    first_seed: int = 1_000_000,
    on_alarm: str = "warn",
) -> None:
    """How often and how soon the surprise of an exported policy rings.

    Args:
        bundle: A folder that `glocal export` wrote, of a run with an environment.
        kinds: What goes wrong.
        episodes: Of each.
        first_seed: Initial states are those of this seed and the following ones.
        on_alarm: What is done: warn, slow or stop.
    """
    if unknown := [kind for kind in kinds if kind not in KINDS]:
        raise UserError(f"there is no {unknown[0]!r}; expected some of {', '.join(KINDS)}")
    try:
        policy = Policy(bundle)
    except BundleError as error:
        raise UserError(str(error)) from error
    if not policy.spec["cameras"] and (blind := [kind for kind in kinds if kind in PICTURED]):
        raise UserError(f"this policy sees no pictures, which {', '.join(blind)} is done to; choose other --kinds")
    rows: list[Any] = [HEAD, ("---",) * len(HEAD)]
    rows += [row(bundle, kind, episodes, first_seed, on_alarm) for kind in kinds]
    print("\n".join("| " + " | ".join(line) + " |" for line in rows))


if __name__ == "__main__":
    try:
        tyro.cli(surprise)
    except UserError as error:
        sys.exit(f"surprise: {error}")
