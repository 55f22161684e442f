"""The recurrent state-space model (arXiv 1811.04551; 2301.04104) as a local model: a recurrent and a stochastic part.

Gaussian latents by default: a straight-through categorical would bias the policy's gradient a second time.
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass, replace
from typing import Annotated, Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn

from glocal.core.gradients import Draw, Latent
from glocal.core.nets import mlp, outcome_head
from glocal.core.ranges import Amount, Positive, Range, Width
from glocal.core.returns import alive, weighted_mean
from glocal.core.spec import Spec
from glocal.core.types import Belief, Segment, Surrogate, stack


@dataclass(frozen=True)
class Choice(Latent):
    """One-hot samples of several categoricals, flattened, with straight-through gradient, and their logits."""

    logits: Float[Tensor, "*batch z"]
    """Of one categorical behind the other."""
    classes: int
    """Of each."""

    def expected(self) -> "Choice":
        likeliest = self.logits.unflatten(-1, (-1, self.classes)).argmax(-1)
        return replace(self, sample=nn.functional.one_hot(likeliest, self.classes).flatten(-2).to(self.logits))


class LatentSpace(ABC):
    """How the stochastic part is drawn from a network's output, and compared with another draw's distribution."""

    sample_dim: int
    parameter_dim: int

    @abstractmethod
    def draw(self, parameters: Float[Tensor, "*batch p"]) -> Latent:
        """A reparameterised draw."""

    @abstractmethod
    def kl(self, posterior: Latent, prior: Latent) -> Float[Tensor, "*batch"]:
        """KL(posterior || prior) of the distributions drawn from."""


class GaussianSpace(LatentSpace):
    """Diagonal Gaussians."""

    def __init__(self, size: int):
        self.sample_dim, self.parameter_dim = size, 2 * size

    def draw(self, parameters: Tensor) -> Draw:
        mean, spread = parameters.chunk(2, dim=-1)
        std = 0.02 + nn.functional.softplus(spread)
        return Draw(mean + std * torch.randn_like(mean), mean, std)

    def kl(self, posterior: Latent, prior: Latent) -> Tensor:
        assert isinstance(posterior, Draw) and isinstance(prior, Draw)
        ratio = posterior.std / prior.std
        offset = (posterior.mean - prior.mean) / prior.std
        return (0.5 * (ratio.pow(2) + offset.pow(2) - 1) - ratio.log()).sum(-1)


class CategoricalSpace(LatentSpace):
    """Several categoricals of `classes` each, mixed with 1 % uniform (arXiv 2301.04104, Sec. 3)."""

    def __init__(self, size: int, classes: int):
        self.classes, self.sample_dim, self.parameter_dim = classes, size * classes, size * classes

    def draw(self, parameters: Tensor) -> Choice:
        probability = 0.99 * self._split(parameters).softmax(-1) + 0.01 / self.classes
        index = torch.multinomial(probability.flatten(0, -2), 1).view(probability.shape[:-1])
        hard = nn.functional.one_hot(index, self.classes).to(probability)
        sample = hard + (probability - probability.detach())
        return Choice(sample.flatten(-2), probability.log().flatten(-2), self.classes)

    def kl(self, posterior: Latent, prior: Latent) -> Tensor:
        assert isinstance(posterior, Choice) and isinstance(prior, Choice)
        logp, logq = self._split(posterior.logits), self._split(prior.logits)
        return (logp.exp() * (logp - logq)).sum((-2, -1))

    def _split(self, x: Tensor) -> Tensor:
        return x.unflatten(-1, (-1, self.classes))


@dataclass(frozen=True)
class Recurrent(Belief):
    """b = (h, z)."""

    h: Float[Tensor, "*batch h"]
    z: Latent

    @property
    def feat(self) -> Tensor:
        return torch.cat([self.h, self.z.sample], dim=-1)

    def expected(self) -> "Recurrent":
        return replace(self, z=self.z.expected())


@dataclass(frozen=True)
class RSSMConfig:
    """Choices for the recurrent state-space model."""

    latent: Literal["gaussian", "categorical"] = "gaussian"
    recurrent: Width = 256
    stochastic: Width = 32
    classes: Annotated[int, Range(2, 1024)] = 16
    """Of each categorical."""
    width: Width = 256
    obs_std: Positive = 0.03
    """The noise that the reconstruction allows for, in observation units: smaller keeps more of what is seen."""
    dynamics_scale: Amount = 0.8
    representation_scale: Amount = 0.2
    free_nats: Amount = 1.0


class RSSM(Surrogate[Recurrent]):
    """Predicts with a GRU and a prior; corrects with a posterior that sees the observation."""

    def __init__(self, cfg: RSSMConfig, spec: Spec):
        super().__init__()
        self.cfg, self.spec = cfg, spec
        gaussian = cfg.latent == "gaussian"
        self.space = GaussianSpace(cfg.stochastic) if gaussian else CategoricalSpace(cfg.stochastic, cfg.classes)
        sample, width = self.space.sample_dim, cfg.width
        self.enter = nn.Sequential(nn.Linear(sample + spec.action_dim, width), nn.LayerNorm(width), nn.SiLU())
        self.cell = nn.GRUCell(width, cfg.recurrent)
        self.prior = mlp(cfg.recurrent, width, 1, self.space.parameter_dim)
        self.posterior = mlp(cfg.recurrent + spec.obs_dim, width, 2, self.space.parameter_dim)
        self.decoder = mlp(self.feat_dim, width, 2, spec.obs_dim)
        self.outcome = outcome_head(self.feat_dim, width)

    @property
    def feat_dim(self) -> int:
        """The length of a belief's `feat`."""
        return self.cfg.recurrent + self.space.sample_dim

    def initial(self, obs: Float[Tensor, "b d"]) -> Recurrent:
        h = obs.new_zeros(obs.shape[0], self.cfg.recurrent)
        return self._look(h, obs)

    def predict(self, belief: Recurrent, action: Float[Tensor, "b a"]) -> Recurrent:
        h = self.cell(self.enter(torch.cat([belief.z.sample, action], dim=-1)), belief.h)
        return Recurrent(h, self.space.draw(self.prior(h)))

    def correct(self, prior: Recurrent, obs: Float[Tensor, "b d"]) -> Recurrent:
        return self._look(prior.h, obs)

    def reward(self, belief: Recurrent) -> Float[Tensor, "*batch"]:
        return self.outcome(belief.feat)[..., 0]

    def cont(self, belief: Recurrent) -> Float[Tensor, "*batch"]:
        return self.outcome(belief.feat)[..., 1].sigmoid()

    def observe(self, belief: Recurrent) -> Float[Tensor, "*batch d"]:
        return self.decoder(belief.feat)

    def loss(self, segment: Segment) -> tuple[Tensor, dict[str, Tensor]]:
        """Reconstruction, outcome and balanced KL (arXiv 2301.04104, Eqs. 4 and 5) on segments (B, T, ...)."""
        posterior, prior = self._unroll(segment)
        weight = alive(segment.cont)[:, 1:]
        error = (self.decoder(posterior.feat) - segment.obs[:, 1:]) / self.cfg.obs_std
        reconstruction = 0.5 * weighted_mean(error.pow(2).sum(-1), weight)
        reward, cont = self.outcome(posterior.feat).unbind(-1)
        reward_loss = weighted_mean((reward - segment.reward[:, 1:]).pow(2), weight)
        surprise = nn.functional.binary_cross_entropy_with_logits(cont, segment.cont[:, 1:], reduction="none")
        cont_loss = weighted_mean(surprise, weight)
        dynamics = self._free(self.space.kl(posterior.z.detach(), prior.z), weight)
        representation = self._free(self.space.kl(posterior.z, prior.z.detach()), weight)
        loss = reconstruction + 100 * reward_loss + cont_loss
        loss = loss + self.cfg.dynamics_scale * dynamics + self.cfg.representation_scale * representation
        metrics = {"reconstruction": reconstruction, "reward": reward_loss, "cont": cont_loss, "kl": dynamics}
        return loss, metrics

    def _unroll(self, segment: Segment) -> tuple[Recurrent, Recurrent]:
        """Posteriors and priors (B, T - 1, ...) along recorded experience."""
        belief, posteriors, priors = self.initial(segment.obs[:, 0]), [], []
        for t in range(1, segment.obs.shape[1]):
            prior = self.predict(belief, segment.action[:, t])
            belief = self.correct(prior, segment.obs[:, t])
            posteriors.append(belief)
            priors.append(prior)
        return stack(posteriors), stack(priors)

    def _look(self, h: Tensor, obs: Tensor) -> Recurrent:
        return Recurrent(h, self.space.draw(self.posterior(torch.cat([h, obs], dim=-1))))

    def _free(self, kl: Tensor, weight: Tensor) -> Tensor:
        return weighted_mean(kl, weight).clamp_min(self.cfg.free_nats)
