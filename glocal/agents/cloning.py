"""Behaviour cloning: the baseline that asks what imagination adds. The same network, the same logs, no world model."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from glocal.agents.actor import Actor
from glocal.core.rollout import warm_up
from glocal.core.types import Segment, Surrogate


@dataclass(frozen=True)
class CloningConfig:
    """Choices for behaviour cloning."""

    window: int = 5
    """Steps: all but the last are seen, the last one's action is to be told."""


def cloning_loss(actor: Actor, surrogate: Surrogate[Any], segment: Segment) -> tuple[Tensor, dict[str, Tensor]]:
    """Squared error of the action that follows all but the last step of recorded windows (B, T, ...)."""
    with torch.no_grad():
        belief = warm_up(surrogate, segment[:, :-1])
    error = (actor(belief).mean - segment.action[:, -1]).pow(2).mean()
    return error, {"squared": error}
