"""Gates: whether the models deserve that a policy is trained in them, measured on held-out episodes."""

from collections.abc import Callable, Mapping
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

HORIZONS = (1, 5, 10, 20)


class Pose(NamedTuple):
    """Where agent and block are: pixels (..., 2) each, and the block's angle (...,)."""

    agent: NDArray[np.floating]
    block: NDArray[np.floating]
    angle: NDArray[np.floating]


Reader = Callable[[Tensor], Pose]
"""Reads poses off observations (*batch, d)."""


def drift(read: Reader, obs: Tensor, truth: Pose) -> dict[str, dict[str, float]]:
    """Median and mean errors of open-loop observations (B, H, d) against the recorded poses, by horizon."""
    found = read(obs)
    errors = {
        "agent_px": np.linalg.norm(found.agent - truth.agent, axis=-1),
        "block_px": np.linalg.norm(found.block - truth.block, axis=-1),
        "angle_rad": np.abs((found.angle - truth.angle + np.pi) % (2 * np.pi) - np.pi),
    }
    return {
        str(h): {k: float(np.median(e[:, h - 1])) for k, e in errors.items()}
        | {f"{k}_mean": float(np.mean(e[:, h - 1])) for k, e in errors.items()}
        for h in HORIZONS
    }


def shuffled(action: Tensor, seed: int = 0) -> Tensor:
    """Other windows' actions: each window gets those of another one, drawn from a seed."""
    order = torch.randperm(len(action), generator=torch.Generator().manual_seed(seed))
    return action[order.roll(1)][order.argsort()]


def moving(truth: Pose, pixels: float = 10.0, radians: float = 0.15) -> NDArray[np.bool_]:
    """Windows (B,) in whose course the block moves by more than a little."""
    way = np.linalg.norm(truth.block[:, -1] - truth.block[:, 0], axis=-1)
    turn = np.abs((truth.angle[:, -1] - truth.angle[:, 0] + np.pi) % (2 * np.pi) - np.pi)
    return (way > pixels) | (turn > radians)


def table(rows: Mapping[str, Mapping[str, Mapping[str, float]]]) -> list[str]:
    """The gates as lines of text: for each row the median errors by horizon."""
    lines = [f"{'':28}" + "".join(f"{f'after {h}':>24}" for h in HORIZONS)]
    for name, by_horizon in rows.items():
        cells = [by_horizon[str(h)] for h in HORIZONS]
        shown = (f"{c['agent_px']:.1f} {c['block_px']:.1f} px {c['angle_rad']:.3f} rad" for c in cells)
        lines.append(f"{name:28}" + "".join(f"{cell:>24}" for cell in shown))
    return lines
