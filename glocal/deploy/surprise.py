"""Surprise: how far what is seen is from what the local model expects, by how far it usually is.

A run-time check that asks nothing of the task. It is calibrated on recorded episodes that no model was trained on: the
alarm is what the most surprising of n of them came to, so that another episode like them is more surprising with a
chance of one in n + 1 (split conformal prediction).
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor, nn

from glocal.core.types import Segment, Surrogate

MEMORY = 0.7
"""Of the moving average over control steps."""
LEAST = 0.02
"""Usual errors are taken for no less than this share of a number's deviation."""
MOST = 100.0
"""Of one number, in usual errors: what is broken altogether does not hide what else is wrong."""


@dataclass(frozen=True)
class Calibration:
    """What is usual, and what is too much."""

    usual: Float[Tensor, " d"]
    """Root mean square error of what is expected of each number."""
    alarm: float
    """The largest surprise of any calibration episode."""
    episodes: int
    """That it was calibrated on."""


class Surprise(nn.Module):
    """The logarithm of the root mean square error, in usual errors, (*batch,)."""

    usual: Tensor

    def __init__(self, usual: Float[Tensor, " d"]):
        super().__init__()
        self.register_buffer("usual", usual)

    def forward(self, expected: Float[Tensor, "*batch d"], seen: Float[Tensor, "*batch d"]) -> Float[Tensor, "*batch"]:
        off = ((seen - expected) / self.usual).square().clamp_max(MOST**2)
        return 0.5 * off.mean(-1).clamp_min(1e-6).log()


def smoothed(before: float, now: float) -> float:
    """The moving average of surprise; it begins at zero, which is what is usual."""
    return MEMORY * before + (1 - MEMORY) * now


@torch.no_grad()
def errors(surrogate: Surrogate, episode: Segment) -> Float[Tensor, "t d"]:
    """What was seen less what was expected, along an episode (T, ...), of all control steps but the first."""
    belief, found = surrogate.initial(episode.obs[:1]).expected(), []
    for t in range(1, len(episode.obs)):
        prior = surrogate.predict(belief, episode.action[t : t + 1]).expected()
        found.append(episode.obs[t] - surrogate.observe(prior)[0])
        belief = surrogate.correct(prior, episode.obs[t : t + 1]).expected()
    return torch.stack(found)


def calibrate(surrogate: Surrogate, trained: Iterable[Segment], held_out: Iterable[Segment]) -> Calibration:
    """By recorded episodes (T, ...) that models were trained on, and others."""
    known = list(trained)
    off = torch.cat([errors(surrogate, one) for one in known])
    deviation = torch.cat([one.obs for one in known]).std(0)
    usual = off.square().mean(0).sqrt().maximum(LEAST * deviation).clamp_min(1e-6)
    largest = [max(_along(usual, errors(surrogate, one))) for one in held_out]
    return Calibration(usual, max(0.0, *largest), len(largest))  # in their first control steps all are at zero


def _along(usual: Tensor, off: Float[Tensor, "t d"]) -> Iterator[float]:
    """The moving average along an episode's errors."""
    at = 0.0
    for now in Surprise(usual)(torch.zeros_like(off), off).tolist():
        at = smoothed(at, now)
        yield at
