"""A global model that remembers: diffusion of the next change, told by a recurrent memory of all that was seen before
(after EDELINE, arXiv 2502.00466).

For robots whose sensors do not show everything at once: what has left the picture is remembered, rewards may depend on
it, and what comes back into view is drawn from what is likely.
"""

from dataclasses import dataclass
from typing import Annotated

import torch
from jaxtyping import Float
from torch import Tensor, nn

from glocal.core.features import FeaturesConfig, outcome_losses
from glocal.core.nets import Narrow, outcome_head
from glocal.core.ranges import Amount, Range
from glocal.core.returns import alive, weighted_mean
from glocal.core.spec import Spec
from glocal.core.types import Batched, Pairs, Segment, Step
from glocal.models.worlds.diffusion import (
    Denoiser,
    DiffusionConfig,
    context_noise,
    level_features,
    preconditioned,
    unit_noise,
)
from glocal.models.worlds.vectors import SIZES, DenoisingNet

SEEN = 2
"""The last observations that are seen as they are, and not as they are remembered."""


@dataclass(frozen=True)
class MemoryConfig(DiffusionConfig):
    """Choices for the world with a memory."""

    context: Annotated[int, Range(SEEN, 1000)] = 16
    """Observations that it begins with."""
    window: Annotated[int, Range(4, 1000)] = 48
    """Rows of the windows that it is trained on: as far back as it learns to remember."""
    scales: Annotated[int, Range(1, 16)] = 3
    """Wavelengths of the positional features, halving from one to the next."""
    context_noise: Amount = 0.05


@dataclass(frozen=True)
class Remembered(Batched):
    """The memory (B, h) of all that was seen before the last observation, the last two of these (B, 2, d), the action
    (B, a) between them, and the key of the next draw."""

    memory: Float[Tensor, "b h"]
    obs: Float[Tensor, "b 2 d"]
    action: Float[Tensor, "b a"]
    key: int


class MemoryWorld(Denoiser):
    """Each step is a draw from p(next observation | all observations and actions since it began)."""

    cfg: MemoryConfig

    def __init__(self, cfg: MemoryConfig, spec: Spec, features: FeaturesConfig):
        super().__init__(cfg, spec)
        self.features = features.build(spec, SEEN, cfg.scales)
        told, (width, blocks) = self.features.dynamics_dim(), SIZES[cfg.size]
        self.enter = nn.Sequential(Narrow(told + 1, width), nn.LayerNorm(width), nn.SiLU())
        self.recurrent = nn.GRU(width, width, batch_first=True)
        self.recall = nn.Linear(width, width, bias=False)
        self.net = DenoisingNet(width, blocks, spec.obs_dim, told + 1)
        self.head = outcome_head(spec.obs_dim + width, cfg.head_width)

    @property
    def length(self) -> int:
        """Rows of a window that its loss reads."""
        return self.cfg.window

    @property
    def acted(self) -> int:
        """Control steps that windows of its loss end with, where episodes have as many."""
        return self.cfg.window - SEEN

    @torch.no_grad()
    def fit_scales(self, pairs: Pairs) -> None:
        """Take the statistics of features from recorded control steps."""
        self.features.fit_statistics(pairs)

    def outcomes(self, segment: Segment) -> tuple[Tensor, Tensor]:
        """Rewards (B, T) and logits of continuation (B, T) of what was recorded. Before the first two rows nothing is
        remembered, which is never so in training: what is said of them counts for little."""
        told = self._told(segment.obs, segment.action, torch.zeros_like(segment.obs[:, :1, :1]))
        empty = segment.obs.new_zeros(len(segment.obs), SEEN, self.recurrent.hidden_size)
        return self.outcome(segment.obs, torch.cat([empty, self._remembered(told)], dim=1))

    def begin(self, segment: Segment, key: int) -> Remembered:
        """See `World.begin`; needs at least `context` steps."""
        latest = segment.latest(self.cfg.context)
        told = self._told(latest.obs, latest.action, torch.zeros_like(latest.obs[:, :1, :1]))
        memory = latest.obs.new_zeros(len(latest.obs), self.recurrent.hidden_size)
        if told.shape[1]:
            memory = self._remembered(told)[:, -1]
        return Remembered(memory, latest.obs[:, -SEEN:], latest.action[:, -1], key)

    def step(self, context: Remembered, action: Float[Tensor, "b a"]) -> tuple[Remembered, Step]:
        """See `World.step`."""
        noise = unit_noise(context.key, (len(action), self.spec.obs_dim), action.device)
        actions = torch.stack([context.action, action], dim=1)
        told = self._features(context.obs, actions, torch.zeros_like(action[:, :1]))
        memory = self._after(told, context.memory)
        obs = self.spec.bounded(self.drawn(context.obs[:, -1], self._seen(told, memory), noise))
        reward, cont = self.outcome(obs, memory)
        after = torch.cat([context.obs[:, 1:], obs[:, None]], dim=1)
        return Remembered(memory, after, action, context.key + 1), Step(obs, reward, cont.sigmoid())

    def loss(self, segment: Segment) -> tuple[Tensor, dict[str, Tensor]]:
        """The denoising loss of all control steps of segments (B, window, ...) but the first, and the head's losses.
        Rows in which the agent rests before an episode are seen, and not counted."""
        noise = context_noise(self.cfg, segment.obs)
        blurred = segment.obs + noise * torch.randn_like(segment.obs)
        told = self._told(blurred, segment.action, noise)
        memory = self._remembered(told)
        change = self.delta(blurred[:, SEEN - 1 : -1].flatten(0, 1), segment.obs[:, SEEN:].flatten(0, 1))
        errors = self.errors(change, self._seen(told.flatten(0, 1), memory.flatten(0, 1)))
        after, counted = segment[:, SEEN:], (alive(segment.cont) * _begun(segment))[:, SEEN:]
        diffusion = weighted_mean(errors.mean(-1).view_as(counted), counted)
        metrics = outcome_losses(self.outcome(after.obs, memory), after, counted)
        return diffusion + metrics["reward"] + metrics["cont"], {"diffusion": diffusion, **metrics}

    def outcome(self, obs: Float[Tensor, "*b d"], memory: Float[Tensor, "*b h"]) -> tuple[Tensor, Tensor]:
        """Reward (*b,) and the logit of continuation (*b,) where this is seen and that is remembered."""
        reward, cont = self.head(torch.cat([obs, memory], dim=-1)).unbind(-1)
        return reward, cont

    def denoise(self, noisy: Tensor, sigma: Tensor, seen: Tensor) -> Tensor:
        level = level_features(sigma)
        return preconditioned(lambda x: self.net(x, level, seen), noisy, sigma, self.cfg.sigma_data)

    def delta(self, before: Tensor, after: Tensor) -> Tensor:
        return self.features.delta(before, after)

    def advance(self, before: Tensor, delta: Tensor) -> Tensor:
        return self.features.advance(before, delta)

    def _told(
        self, obs: Float[Tensor, "b t d"], action: Float[Tensor, "b t a"], noise: Float[Tensor, "b 1 1"]
    ) -> Float[Tensor, "b s f"]:
        """Of each control step but the first, s = t - 2, what was seen before it, what was done, and the noise."""
        steps = obs.shape[1] - SEEN
        if steps < 1:
            return obs.new_zeros(len(obs), 0, self.features.dynamics_dim() + 1)
        pairs = obs[:, :-1].unfold(1, SEEN, 1).transpose(2, 3).flatten(0, 1)
        actions = action[:, 1:].unfold(1, SEEN, 1).transpose(2, 3).flatten(0, 1)
        told = self._features(pairs, actions, noise.expand(-1, steps, -1).flatten(0, 1))
        return told.unflatten(0, (len(obs), steps))

    def _features(
        self, obs: Float[Tensor, "b 2 d"], action: Float[Tensor, "b 2 a"], noise: Float[Tensor, "b 1"]
    ) -> Float[Tensor, "b f"]:
        return torch.cat([self.features.dynamics(obs, action, self.cfg.scales), 100 * noise], dim=-1)

    def _remembered(self, told: Float[Tensor, "b s f"]) -> Float[Tensor, "b s h"]:
        """The memory after each control step, before what came of it is seen."""
        return self.recurrent(self.enter(told))[0]

    def _after(self, told: Float[Tensor, "b f"], memory: Float[Tensor, "b h"]) -> Float[Tensor, "b h"]:
        """The same, one step on; not by cuDNN, which has no gradient for networks that are not being trained."""
        return torch.gru_cell(self.enter(told), memory, *self.recurrent.all_weights[0])

    def _seen(self, told: Float[Tensor, "b f"], memory: Float[Tensor, "b h"]) -> Float[Tensor, "b w"]:
        return self.net.seen(told) + self.recall(memory)


def _begun(segment: Segment) -> Float[Tensor, "b t"]:
    """0 in the rows that a window begins with in which the agent rests, as it does before an episode: nothing is done,
    and to the last digit the same is seen. 1 from the first other row on, whatever comes then."""
    same = (segment.obs[:, 1:] == segment.obs[:, :-1]).all(-1) & (segment.action[:, 1:] == 0).all(-1)
    return 1 - nn.functional.pad(same.float().cumprod(1), (1, 0), value=1.0)
