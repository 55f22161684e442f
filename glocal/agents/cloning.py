"""Behaviour cloning: the baseline that asks what imagination adds. The same network, the same logs, no world model."""

from dataclasses import dataclass

import torch
from torch import Tensor

from glocal.core.improve import Pilot
from glocal.core.rollout import warm_up
from glocal.core.types import Segment


@dataclass(frozen=True)
class CloningConfig:
    """Choices for behaviour cloning."""

    window: int = 5
    """Steps: all but the last are seen, the last one's action is to be told."""


def cloning_loss(pilot: Pilot, segment: Segment) -> tuple[Tensor, dict[str, Tensor]]:
    """Squared error of the action that follows all but the last step of recorded windows (B, T, ...)."""
    with torch.no_grad():
        belief = warm_up(pilot.surrogate, segment[:, :-1])
    error = (pilot.actor(belief).mean - segment.action[:, -1]).pow(2).mean()
    return error, {"squared": error}
