"""The control loop of an exported policy: how long what it waits for takes, and how often it is late.

    python benchmarks/control.py out/bundle [--seconds 20] [--hz 100] [--busy 0 2]

A robot that answers at once is commanded `hz` times a second while the policy acts at its own rate, alone and beside
busy processes. A row for each: control steps; the time that the policy takes to act, resizing of pictures included, and
by how much commands are farther apart or nearer than they should be, each by its median, its 99th percentile and the
longest, in ms; and the ticks that were late by more than a tenth of the time between two.
"""

import multiprocessing
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import tyro

from glocal.deploy.control import Control, ControlConfig
from glocal.deploy.guard import Guarded
from glocal.deploy.runner import Policy

HEAD = ("busy processes", "control steps", "act p50", "p99", "longest", "late p50", "p99", "longest", "late ticks")


class Nothing:
    """A robot that sees what does not change, and notes when it was commanded."""

    def __init__(self, needs: dict[str, tuple[int, ...]]):
        kinds = {3: np.uint8}
        self.seen = {name: np.zeros(shape, kinds.get(len(shape), np.float32)) for name, shape in needs.items()}
        self.times: list[float] = []

    def observe(self) -> Any:
        return self.seen

    def command(self, told: Any) -> None:
        self.times.append(time.monotonic())

    def stop(self) -> None:
        pass


def _spin() -> None:
    while True:
        sum(range(100_000))


@contextmanager
def beside(busy: int) -> Iterator[None]:
    """While so many processes compute."""
    others = [multiprocessing.Process(target=_spin, daemon=True) for _ in range(busy)]
    for one in others:
        one.start()
    try:
        yield
    finally:
        for one in others:
            one.kill()


def row(bundle: Path, seconds: float, hz: float, busy: int) -> tuple[str, ...]:
    """Of the table, in the order of `HEAD`."""
    policy = Policy(bundle)
    robot = Nothing(policy.needs)
    policy.act(robot.seen)  # what the first call allocates is not what is measured
    control = Control(policy, Guarded(lambda: robot, 5.0), ControlConfig(hz=hz))
    steps = round(seconds * policy.rate)
    with beside(busy):
        control.episode(steps)
    timing, gaps = control.timing, np.diff(robot.times) - 1 / hz
    act = 1e3 * np.quantile(timing.act, [0.5, 0.99, 1])
    late = 1e3 * np.quantile(np.abs(gaps), [0.5, 0.99, 1])
    share = f"{timing.late} of {timing.ticks}"
    return (str(busy), str(steps), *(f"{x:.2f}" for x in (*act, *late)), share)


def control(
    bundle: tyro.conf.Positional[Path], seconds: float = 20.0, hz: float = 100.0, busy: tuple[int, ...] = (0, 2)
) -> None:
    """Latency and deadlines of the control loop.

    Args:
        bundle: A folder that `glocal export` wrote.
        seconds: For each row.
        hz: Commands a second, a multiple of the policy's own rate.
        busy: Processes that compute beside it, a row for each.
    """
    rows = [HEAD, ("---",) * len(HEAD), *(row(bundle, seconds, hz, count) for count in busy)]
    print("\n".join("| " + " | ".join(line) + " |" for line in rows))


if __name__ == "__main__":
    tyro.cli(control)
