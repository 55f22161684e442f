"""What the environments of `glocal_envs` ask of a policy, and of a CPU: what scripts and chance reach, and their speed.

    python benchmarks/environments.py [--episodes N] [--seconds S]

Two tables. Success in episodes of their own length, from the states that seeds draw, of a script that is told the
tracked state and of uniformly random actions, with 95 % Wilson intervals: at any control step and at the last one.
Control steps per CPU second under random actions: without pictures, with those of the head's camera (64 by 64), and
with frames of 96 by 96 of each other camera; medians of rounds in which all are timed in turn. Where there is no GPU
pictures are drawn by Mesa, on one thread (`MUJOCO_GL=egl`).
"""

import os
import time
from collections.abc import Callable
from statistics import median
from typing import Any

import gymnasium
import numpy as np
import tyro

os.environ.setdefault("LP_NUM_THREADS", "1")

from glocal.evaluate.intervals import in_words, wilson
from glocal.runtime.progress import Ticker
from glocal_envs import IDS
from glocal_envs.scripted import lift, push

SCRIPTS: dict[str, Callable[[Any], Any]] = {"glocal/PushCube-v0": push, "glocal/GraspLift-v0": lift}
CAMERAS = {"glocal/PushCube-v0": ("above", "chase"), "glocal/GraspLift-v0": ("side",)}
ROUNDS = 3


def success(name: str, who: str, episodes: int) -> tuple[str, str]:
    """At any control step and at the last one."""
    env, script = gymnasium.make(name), SCRIPTS[name]
    rng, came = np.random.default_rng(0), np.zeros((2, episodes), bool)
    space: Any = env.action_space
    with Ticker(f"{name} {who}", episodes, unit="episodes", per_iteration=1) as tick:
        for i in range(episodes):
            obs, _ = env.reset(seed=i)
            ended = False
            while not ended:
                action = script(obs) if who == "script" else rng.uniform(space.low, space.high)
                obs, _, terminated, truncated, info = env.step(action)
                ended, now = terminated or truncated, info["is_success"]
                came[:, i] = came[0, i] or now, now
            tick(i + 1)
    env.close()
    any_time, at_end = (in_words(wilson(int(found.sum()), episodes)) for found in came)
    return any_time, at_end


def speeds(name: str, seconds: float) -> dict[str, float]:
    """Control steps per CPU second, by what is drawn."""
    filmed = {camera: {"render_mode": "rgb_array", "camera": camera} for camera in CAMERAS[name]}
    envs = {what: gymnasium.make(name, **options) for what, options in {"": {}, "head": {"head": 64}, **filmed}.items()}
    rates: dict[str, list[float]] = {what: [] for what in envs}
    for what, env in list(envs.items()) * ROUNDS:
        rates[what].append(_rate(env, seconds))
    for env in envs.values():
        env.close()
    return {what: median(found) for what, found in rates.items()}


def _rate(env: gymnasium.Env[Any, Any], seconds: float) -> float:
    env.action_space.seed(0)
    env.reset(seed=0)
    steps, began = 0, time.process_time()
    while (spent := time.process_time() - began) < seconds or not steps:
        _, _, terminated, truncated, _ = env.step(env.action_space.sample())
        if env.render_mode:
            env.render()
        if terminated or truncated:
            env.reset(seed=steps)
        steps += 1
    return steps / spent


def main(episodes: int = 100, seconds: float = 5.0) -> None:
    """Print both tables.

    Args:
        episodes: Of each script, and of random actions.
        seconds: Of CPU time for each speed and round.
    """
    print("| environment | who acts | any time | at the end |\n| --- | --- | --- | --- |")
    for name in IDS:
        for who in ("script", "random"):
            print("| " + " | ".join((name, who, *success(name, who, episodes))) + " |")
    print("\n| environment | drawn | control steps per CPU second |\n| --- | --- | --- |")
    for name in IDS:
        for what, rate in speeds(name, seconds).items():
            drawn = f"{what}, {'64 by 64' if what == 'head' else '96 by 96'}" if what else "nothing"
            print(f"| {name} | {drawn} | {rate:,.0f} |")


if __name__ == "__main__":
    tyro.cli(main, description=__doc__)
