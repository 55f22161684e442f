"""A classifier of success that a few marked frames are enough for: success is nearness, in some embedding."""

import torch
from jaxtyping import Float
from torch import Tensor, nn

from glocal.runtime.files import UserError

STEPS = 100
"""Of L-BFGS."""
PENALTY = 1e-2
"""On how far the logarithms of weights lie apart, which keeps few marks from being explained by a single number; how
sharp success is bounded as a whole is free."""


class Nearness(nn.Module):
    """The logit of success, bias - d^2, with d^2 = sum_i w_i (z_i - goal_i)^2.

    It has 2 d + 1 numbers: a prototype and a diagonal metric, as in logistic regression on a Gaussian's logarithm.
    """

    mean: Tensor
    spread: Tensor

    def __init__(self, dim: int):
        super().__init__()
        self.register_buffer("mean", torch.zeros(dim))
        self.register_buffer("spread", torch.ones(dim))
        self.goal = nn.Parameter(torch.zeros(dim))
        self.weight = nn.Parameter(torch.zeros(dim))
        self.bias = nn.Parameter(torch.zeros(()))

    def forward(self, z: Float[Tensor, "n d"]) -> Float[Tensor, " n"]:
        """The logit of success."""
        away = (z - self.mean) / self.spread - self.goal
        return self.bias - (self.weight.exp() * away.pow(2)).sum(-1)


def fit(z: Float[Tensor, "n d"], success: Float[Tensor, " n"]) -> Nearness:
    """The classifier that explains marked frames best; raises `UserError` where all of them are marked alike."""
    if len(success.unique()) < 2:
        raise UserError(f"all {len(success)} marked frames are marked alike; mark successes and failures")
    model = Nearness(z.shape[1])
    good = z[success > 0.5]
    model.mean.copy_(z.mean(0))
    model.spread.copy_(z.std(0).clamp_min(1e-6))
    with torch.no_grad():
        model.goal.copy_(((good - model.mean) / model.spread).mean(0))
    optimizer = torch.optim.LBFGS(model.parameters(), max_iter=STEPS, line_search_fn="strong_wolfe")

    def closure() -> Tensor:
        optimizer.zero_grad()
        penalty = PENALTY * (model.weight.var(correction=0) + model.goal.pow(2).mean())
        loss = nn.functional.binary_cross_entropy_with_logits(model(z), success) + penalty
        loss.backward()
        return loss

    optimizer.step(closure)  # pyright: ignore[reportArgumentType]
    return model.requires_grad_(False)
