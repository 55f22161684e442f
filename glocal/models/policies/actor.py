"""The policy and its critics."""

from dataclasses import dataclass
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn

from glocal.core.nets import mlp
from glocal.core.ranges import Positive, Small, Width
from glocal.core.types import Belief


class TanhNormal(NamedTuple):
    """A Gaussian squashed into (-1, 1) (arXiv 1801.01290, App. C); both fields (*batch, a)."""

    location: Float[Tensor, "*batch a"]
    std: Float[Tensor, "*batch a"]

    @property
    def mean(self) -> Tensor:
        """The squashed location: what is done when nothing is to be explored."""
        return self.location.tanh()

    def rsample(self, noise: Float[Tensor, "*batch a"]) -> Float[Tensor, "*batch a"]:
        return (self.location + self.std * noise).tanh()

    def entropy(self) -> Float[Tensor, "*batch"]:
        """An unbiased one-draw estimate: the Gaussian's entropy plus E[log(1 - tanh^2)]."""
        draw = self.location + self.std * torch.randn_like(self.location)
        squash = 2 * (0.6931471805599453 - draw - nn.functional.softplus(-2 * draw))
        return (1.4189385332046727 + self.std.log() + squash).sum(-1)


@dataclass(frozen=True)
class ActorConfig:
    """Choices for the policy's and the critics' networks."""

    width: Width = 256
    depth: Small = 2
    least_std: Positive = 0.03
    first_std: Positive = 0.4


class Actor(nn.Module):
    """pi(a | b): a tanh-Gaussian on the belief's `feat`, its location told in the belief's own axes."""

    def __init__(self, cfg: ActorConfig, feat_dim: int, action_dim: int):
        super().__init__()
        self.cfg = cfg
        self.body = mlp(feat_dim, cfg.width, cfg.depth, 2 * action_dim, last_scale=0.1)

    def forward(self, belief: Belief) -> TanhNormal:
        location, std = self.gaussian(belief.feat)
        return TanhNormal(belief.to_action(location), std)

    def gaussian(self, feat: Float[Tensor, "*batch f"]) -> tuple[Float[Tensor, "*batch a"], Float[Tensor, "*batch a"]]:
        """Location, in the axes of `feat`, and standard deviation, before squashing."""
        location, spread = self.body(feat).chunk(2, dim=-1)
        scale = self.cfg.first_std - self.cfg.least_std
        return location, self.cfg.least_std + scale * nn.functional.softplus(spread + 0.5413)


class TwinCritics(nn.Module):
    """Two values of a belief, (2, *batch)."""

    def __init__(self, cfg: ActorConfig, feat_dim: int):
        super().__init__()
        self.first = mlp(feat_dim, cfg.width, cfg.depth, 1, last_scale=0.1)
        self.second = mlp(feat_dim, cfg.width, cfg.depth, 1, last_scale=0.1)

    def forward(self, feat: Float[Tensor, "*batch f"]) -> Float[Tensor, "..."]:
        return torch.stack([self.first(feat), self.second(feat)]).squeeze(-1)
