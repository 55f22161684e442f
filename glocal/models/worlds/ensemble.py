"""The Robotic World Model (arXiv 2501.10100) as a global model: a recurrent network trained on its own predictions.

Several heads on its memory, begun differently and shown different windows, make an ensemble. Where they do not agree,
little was recorded, and imagined rewards can be made to pay for it (RWM-U, arXiv 2504.16680).
"""

from dataclasses import dataclass
from typing import Annotated, Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn

from glocal.core.features import FeaturesConfig, outcome_losses
from glocal.core.nets import Narrow
from glocal.core.ranges import Amount, Part, Range, Small, Width
from glocal.core.returns import alive, weighted_mean
from glocal.core.spec import Spec
from glocal.core.types import Batched, Pairs, Segment, Step
from glocal.models.worlds.diffusion import unit_noise

SIZES = (16, 128, 256, 384, 512)
"""Width by `size`."""
LEAST_LOG_STD, LARGEST_LOG_STD = -5.0, 1.0


@dataclass(frozen=True)
class EnsembleConfig:
    """Choices for the ensemble."""

    context: Small = 8
    """Observations that it begins with; the paper's M."""
    forecast: Small = 8
    """Steps of its own predictions that it is trained on; the paper's N."""
    members: Annotated[int, Range(2, 64)] = 5
    size: Literal[0, 1, 2, 3, 4] = 2
    """0 (for tests) to 4: the width of the networks."""
    scales: Annotated[int, Range(1, 16)] = 3
    """Wavelengths of the positional features, halving from one to the next."""
    left_out: Part = 0.2
    """Share of the windows of a minibatch that each member does not see, so that members stay apart."""
    penalty: Amount = 0.0
    """What a reward is lowered by for each unit of the members' disagreement about the next observation."""
    head_width: Width = 128


@dataclass(frozen=True)
class Hidden(Batched):
    """The memory (B, h), the last observation (B, d), and the key of the next draw."""

    h: Float[Tensor, "b h"]
    obs: Float[Tensor, "b d"]
    key: int


class Members(nn.Module):
    """K heads, each a network of one hidden layer: the Gaussians of the next change, from what is remembered and seen.

    They see for themselves because a memory is bounded: of far observations that nobody recorded it says the same to
    all of them, and they agree.
    """

    def __init__(self, count: int, inputs: int, width: int, obs_dim: int):
        super().__init__()
        first = [nn.Linear(inputs, width) for _ in range(count)]
        last = [nn.Linear(width, 2 * obs_dim) for _ in range(count)]
        self.first, self.first_bias = _stacked(first)
        self.last, self.last_bias = _stacked(last)

    def forward(self, x: Float[Tensor, "b f"]) -> tuple[Float[Tensor, "b k d"], Float[Tensor, "b k d"]]:
        """Means and log standard deviations of the change."""
        hidden = nn.functional.silu(torch.einsum("bf,kwf->bkw", x, self.first[..., : x.shape[1]]) + self.first_bias)
        mean, log_std = (torch.einsum("bkw,kdw->bkd", hidden, self.last) + self.last_bias).chunk(2, dim=-1)
        return mean, log_std.clamp(LEAST_LOG_STD, LARGEST_LOG_STD)


def _stacked(layers: list[nn.Linear]) -> tuple[nn.Parameter, nn.Parameter]:
    """Weights (K, out, in) and biases (K, out) of K layers of one shape."""
    stacked = (torch.stack([getattr(layer, name).detach() for layer in layers]) for name in ("weight", "bias"))
    weight, bias = (nn.Parameter(one) for one in stacked)
    return weight, bias


class EnsembleWorld(nn.Module):
    """Answers actions by the members' mean prediction, with the noise that they expect."""

    def __init__(self, cfg: EnsembleConfig, spec: Spec, features: FeaturesConfig):
        super().__init__()
        self.cfg, self.spec, self.width = cfg, spec, SIZES[cfg.size]
        self.features = features.build(spec, 1, cfg.scales)
        inputs = self.features.dynamics_dim()
        self.enter = nn.Sequential(Narrow(inputs, self.width), nn.LayerNorm(self.width), nn.SiLU())
        self.cell = nn.GRUCell(self.width, self.width)
        self.members = Members(cfg.members, self.width + inputs, self.width // 2, spec.obs_dim)
        self.head = self.features.outcome(cfg.head_width)

    @property
    def length(self) -> int:
        """Rows of a window that its loss reads."""
        return self.cfg.context + self.cfg.forecast

    @property
    def acted(self) -> int:
        """Control steps that windows of its loss end with, where episodes have as many."""
        return self.cfg.forecast

    @torch.no_grad()
    def fit_statistics(self, pairs: Pairs) -> None:
        """Take the statistics of features and head from recorded control steps."""
        self.features.fit_statistics(pairs)
        self.head.fit_statistics(pairs.after, pairs.reward)

    def outcome(self, obs: Tensor) -> tuple[Tensor, Tensor]:
        """Reward (*batch,) and the logit of continuation (*batch,) of observations (*batch, d)."""
        return self.head(obs)

    def outcomes(self, segment: Segment) -> tuple[Tensor, Tensor]:
        """Rewards (B, T) and logits of continuation (B, T) of what was recorded."""
        return self.outcome(segment.obs)

    def begin(self, segment: Segment, key: int) -> Hidden:
        """See `World.begin`; needs at least `context` steps."""
        latest = segment.latest(self.cfg.context)
        obs, action = latest.obs, latest.action
        h = obs.new_zeros(len(obs), self.width)
        for t in range(1, obs.shape[1]):
            h, _, _ = self._predict(obs[:, t - 1], action[:, t], h)
        return Hidden(h, obs[:, -1], key)

    def step(self, context: Hidden, action: Float[Tensor, "b a"]) -> tuple[Hidden, Step]:
        """See `World.step`. What is drawn is as wide as the members disagree: they forecast by their means in training,
        and the tails of a member's likelihood, of changes that have heavy ones, lead where nothing was recorded."""
        h, mean, _ = self._predict(context.obs, action, context.h)
        noise = unit_noise(context.key, (len(action), self.spec.obs_dim), action.device)
        obs = self.features.advance(context.obs, mean.mean(1) + mean.std(1, correction=0) * noise)
        reward, cont = self.outcome(obs)
        reward = reward - self.cfg.penalty * disagreement(mean)
        return Hidden(h, obs, context.key + 1), Step(obs, reward, cont.sigmoid())

    def loss(self, segment: Segment) -> tuple[Tensor, dict[str, Tensor]]:
        """Negative log likelihoods of the changes in segments (B, length, ...): step by step through the context, then
        from observations of its own, by the members' mean; and the head's losses."""
        count, lived = len(segment.obs), alive(segment.cont)
        h, now = segment.obs.new_zeros(count, self.width), segment.obs[:, 0]
        seen = (torch.rand(count, self.cfg.members, device=h.device) >= self.cfg.left_out).to(h)
        losses = []
        for t in range(1, segment.obs.shape[1]):
            now = segment.obs[:, t - 1] if t <= self.cfg.context else now
            h, mean, log_std = self._predict(now, segment.action[:, t], h)
            target = self.features.delta(now, segment.obs[:, t])[:, None]
            likelihood = (0.5 * ((target - mean) / log_std.exp()).pow(2) + log_std).mean(-1)
            losses.append(weighted_mean(likelihood, seen * lived[:, t, None]))
            now = self.features.advance(now, mean.mean(1))
        prediction = torch.stack(losses).mean()
        metrics = outcome_losses(self.outcome(segment.obs[:, 1:]), segment[:, 1:], lived[:, 1:])
        loss = prediction + metrics["reward"] + metrics["cont"]
        return loss, {"likelihood": prediction, "forecast": losses[-1], **metrics}

    def _predict(
        self, obs: Float[Tensor, "b d"], action: Float[Tensor, "b a"], h: Float[Tensor, "b h"]
    ) -> tuple[Float[Tensor, "b h"], Float[Tensor, "b k d"], Float[Tensor, "b k d"]]:
        """The memory after what is seen and done, and the members' means and log standard deviations of the change."""
        seen = self.features.dynamics(obs[:, None], action[:, None], self.cfg.scales)
        h = self.cell(self.enter(seen), h)
        return h, *self.members(torch.cat([h, seen], dim=-1))


def disagreement(mean: Float[Tensor, "b k d"]) -> Float[Tensor, " b"]:
    """How far the members' means are apart, in typical changes: the mean over numbers of their standard deviation."""
    return mean.std(1, correction=0).mean(-1)
