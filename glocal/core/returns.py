"""Returns of windows of experience: (B, T) in, (B, T) out, nothing but arithmetic."""

import torch
from jaxtyping import Float
from torch import Tensor


def discount_weights(cont: Float[Tensor, "b t"], gamma: float) -> Float[Tensor, "b t+1"]:
    """w[t] = gamma^t * product of cont[:t]: what a reward at t counts for, seen from the window's start.

    The last column is the weight of what follows the window.
    """
    steps = torch.cat([torch.ones_like(cont[:, :1]), gamma * cont], dim=1)
    return torch.cumprod(steps, dim=1)


def alive(cont: Float[Tensor, "b t"]) -> Float[Tensor, "b t"]:
    """1 for steps that are taken before the episode has ended, the one that ends it included, and 0 after it.

    A continuation below one half counts as the end.
    """
    goes_on = (cont >= 0.5).to(cont.dtype)
    return torch.cumprod(torch.cat([torch.ones_like(goes_on[:, :1]), goes_on[:, :-1]], dim=1), dim=1)


def weighted_mean(x: Float[Tensor, "*batch"], weight: Float[Tensor, "*batch"]) -> Float[Tensor, ""]:
    """The mean of `x` in which each element counts by its weight; 0 where none counts."""
    return (weight * x).sum() / weight.sum().clamp_min(1e-6)


def lambda_return(
    reward: Float[Tensor, "b t"],
    value: Float[Tensor, "b t"],
    cont: Float[Tensor, "b t"],
    gamma: float,
    lam: float,
) -> Float[Tensor, "b t"]:
    """TD(lambda) targets; `value[t]` is the value *after* step t (Sutton & Barto, Eq. 12.20).

    G[t] = reward[t] + gamma cont[t] ((1 - lam) value[t] + lam G[t+1]),  G[T] = value[T-1].
    """
    return_ = value[:, -1]
    returns = []
    for t in reversed(range(reward.shape[1])):
        return_ = reward[:, t] + gamma * cont[:, t] * ((1 - lam) * value[:, t] + lam * return_)
        returns.append(return_)
    return torch.stack(returns[::-1], dim=1)
