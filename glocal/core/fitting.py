"""Fitting networks to a rollout: its rows in minibatches, and steps down a loss."""

import torch
from torch import Tensor, nn


def minibatches(count: int, epochs: int, parts: int, device: torch.device) -> list[Tensor]:
    """Rows in random order, `epochs` times over, each time in `parts` minibatches."""
    return [rows for _ in range(epochs) for rows in torch.randperm(count, device=device).chunk(parts)]


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
