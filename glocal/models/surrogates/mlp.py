"""A feed-forward local model: the belief is what was last seen."""

from dataclasses import dataclass
from typing import Annotated

import torch
from jaxtyping import Float
from torch import Tensor, nn

from glocal.core.features import FeaturesConfig, Featurizer
from glocal.core.nets import Narrow, Residual
from glocal.core.ranges import Amount, Range, Small, Width
from glocal.core.returns import alive, weighted_mean
from glocal.core.spec import Spec
from glocal.core.types import Belief, Pairs, Segment, Surrogate

WINDOW = 2


@dataclass(frozen=True)
class Observed(Belief):
    """The last two observations and the action between them; `features` says how to look at them."""

    obs: Float[Tensor, "*batch d"]
    previous: Float[Tensor, "*batch d"]
    action: Float[Tensor, "*batch a"]
    features: Featurizer

    @property
    def feat(self) -> Tensor:
        window = torch.stack([self.previous, self.obs], dim=-2).flatten(0, -3)
        action = torch.stack([self.action, torch.zeros_like(self.action)], dim=-2).flatten(0, -3)
        return self.features.policy(window, action).unflatten(0, self.obs.shape[:-1])

    def to_action(self, vector: Tensor) -> Tensor:
        return self.features.to_action(self.obs.flatten(0, -2), vector.flatten(0, -2)).view(vector.shape)


@dataclass(frozen=True)
class MLPSurrogateConfig:
    """Choices for the feed-forward local model."""

    width: Width = 256
    blocks: Small = 2
    scales: Annotated[int, Range(1, 16)] = 4
    head_width: Width = 128
    smoothing: Amount = 0.025
    """Standard deviation of the noise on where the robot seems to be in training, in observation units.

    It makes the local model one of contacts as they are on average nearby (randomised smoothing, arXiv 2205.02363): its
    gradient tells of a contact before there is one. The values are the global model's, and stay sharp.
    """


class MLPSurrogate(Surrogate[Observed]):
    """Predicts the change that an action makes; corrects by believing what is seen."""

    def __init__(self, cfg: MLPSurrogateConfig, spec: Spec, features: FeaturesConfig):
        super().__init__()
        self.features = features.build(spec, WINDOW, cfg.scales)
        self.cfg, self.spec = cfg, spec
        self.body = nn.Sequential(
            Narrow(self.features.dynamics_dim(), cfg.width),
            *[Residual(cfg.width) for _ in range(cfg.blocks)],
            nn.LayerNorm(cfg.width),
            nn.Linear(cfg.width, spec.obs_dim),
        )
        self.outcome = self.features.outcome(cfg.head_width)

    @property
    def feat_dim(self) -> int:
        """The length of a belief's `feat`."""
        return self.features.policy_dim()

    @torch.no_grad()
    def fit_statistics(self, pairs: Pairs) -> None:
        """Take the statistics of features and head from recorded control steps."""
        self.features.fit_statistics(pairs)
        self.outcome.fit_statistics(pairs.after, pairs.reward)

    def initial(self, obs: Float[Tensor, "b d"]) -> Observed:
        return Observed(obs, obs, obs.new_zeros(obs.shape[0], self.spec.action_dim), self.features)

    def predict(self, belief: Observed, action: Float[Tensor, "b a"]) -> Observed:
        change = self._change(belief.previous, belief.obs, belief.action, action)
        return Observed(self.features.advance(belief.obs, change), belief.obs, action, self.features)

    def correct(self, prior: Observed, obs: Float[Tensor, "b d"]) -> Observed:
        return Observed(obs, prior.previous, prior.action, self.features)

    def reward(self, belief: Observed) -> Float[Tensor, "*batch"]:
        return self.outcome(belief.obs)[0]

    def cont(self, belief: Observed) -> Float[Tensor, "*batch"]:
        return self.outcome(belief.obs)[1].sigmoid()

    def observe(self, belief: Observed) -> Float[Tensor, "*batch d"]:
        return belief.obs

    def loss(self, segment: Segment) -> tuple[Tensor, dict[str, Tensor]]:
        """Huber loss of every one-step change in the segments (B, T >= 3, ...), and the outcomes' losses."""
        weight = alive(segment.cont)[:, 2:].flatten()
        previous, before, after = (segment.obs[:, i : i - 2 or None].flatten(0, 1) for i in range(3))
        last, action = (segment.action[:, i : i - 2 or None].flatten(0, 1) for i in (1, 2))
        shift = self.cfg.smoothing * self.features.shifts(before)
        predicted = self._change(previous + shift, before + shift, last, action)
        error = nn.functional.huber_loss(predicted, self.features.delta(before, after), reduction="none")
        reward, cont = self.outcome(after)
        off = nn.functional.smooth_l1_loss(reward, segment.reward[:, 2:].flatten(), beta=0.02, reduction="none")
        surprise = nn.functional.binary_cross_entropy_with_logits(cont, segment.cont[:, 2:].flatten(), reduction="none")
        metrics = {"change": error.mean(1), "reward": off, "cont": surprise}
        metrics = {name: weighted_mean(loss, weight) for name, loss in metrics.items()}
        return metrics["change"] + metrics["reward"] + metrics["cont"], metrics

    def _change(self, previous: Tensor, obs: Tensor, last: Tensor, action: Tensor) -> Tensor:
        window, actions = torch.stack([previous, obs], 1), torch.stack([last, action], 1)
        return self.body(self.features.dynamics(window, actions, self.features.scales))
