"""The actor cloned from the logs, which a policy is held near (behaviour regularisation, arXiv 1911.11361)."""

import copy

import torch
from jaxtyping import Float
from torch import Tensor, nn

from glocal.core.fitting import Partners, descend
from glocal.core.rollout import warm_up
from glocal.core.types import Belief, Segment, Surrogate


class Imitation:
    """A copy of a cloned actor, fitted to recorded actions again as the local model changes."""

    def __init__(self, actor: nn.Module, lr: float, partners: Partners | None = None):
        self.actor, self.partners = copy.deepcopy(actor), partners
        self.optimizer = torch.optim.AdamW(self.actor.parameters(), lr=lr)

    @torch.no_grad()
    def __call__(self, belief: Belief) -> Float[Tensor, "n a"]:
        """What the logs would do at beliefs (n, ...)."""
        return self.actor(belief).mean

    def follow(self, surrogate: Surrogate, recorded: Segment) -> None:
        """Fit it to the last action of recorded windows (B, T, ...), at what the local model now believes."""
        descend(astray(self.actor, surrogate, recorded), self.actor, self.optimizer, 1.0, self.partners)


def astray(actor: nn.Module, surrogate: Surrogate, recorded: Segment) -> Float[Tensor, ""]:
    """Squared error of the action that follows all but the last step of recorded windows (B, T, ...)."""
    with torch.no_grad():
        belief = warm_up(surrogate, recorded[:, :-1])
    return (actor(belief).mean - recorded.action[:, -1]).pow(2).mean()
