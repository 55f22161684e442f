"""Fitting networks to a rollout: its rows in minibatches, and steps down a loss."""

import torch
from torch import Tensor, nn


def minibatches(count: int, passes: int, batches: int, device: torch.device) -> list[Tensor]:
    """Rows in random order, `passes` times over, each time in `batches` parts."""
    return [rows for _ in range(passes) for rows in torch.randperm(count, device=device).chunk(batches)]


def descend(loss: Tensor, module: nn.Module, optimizer: torch.optim.Optimizer, clip: float) -> Tensor:
    """One step of a module's own parameters down a loss; returns the length of its gradient before clipping."""
    parameters = list(module.parameters())
    optimizer.zero_grad()
    loss.backward(inputs=parameters)
    norm = nn.utils.clip_grad_norm_(parameters, clip)
    optimizer.step()
    return norm


def flat(x: Tensor) -> Tensor:
    """(B, T, ...) -> (B T, ...)."""
    return x.flatten(0, 1)
