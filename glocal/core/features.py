"""How models look at observations, and at their changes: what a robot's geometry may be brought in by.

The default, `Standard`, knows nothing but the typical size of every number's change.
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from itertools import takewhile
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor, nn

from glocal.core.bearings import Bearings
from glocal.core.nets import harmonics, outcome_head
from glocal.core.relations import Relations
from glocal.core.returns import weighted_mean
from glocal.core.spec import Part, Spec
from glocal.core.types import Pairs, Segment

POLICY_SCALES = 1
"""Harmonics that policies and critics see: the gradient of a critic on shorter waves is mostly noise."""


class Outcome(nn.Module, ABC):
    """A head that tells reward and continuation of an observation."""

    def fit_statistics(self, after: Float[Tensor, "n d"], reward: Float[Tensor, " n"]) -> None:
        """Take what it needs from recorded observations and their rewards; by default nothing."""

    @abstractmethod
    def forward(self, obs: Float[Tensor, "*batch d"]) -> tuple[Tensor, Tensor]:
        """Reward (*batch,) and the logit of continuation (*batch,)."""


class PlainOutcome(Outcome):
    """Told from the numbers as they are."""

    def __init__(self, obs_dim: int, width: int):
        super().__init__()
        self.body = outcome_head(obs_dim, width)

    def forward(self, obs: Tensor) -> tuple[Tensor, Tensor]:
        reward, cont = self.body(obs).unbind(-1)
        return reward, cont


def outcome_losses(
    found: tuple[Tensor, Tensor], happened: Segment, weight: Float[Tensor, "*batch"] | None = None
) -> dict[str, Tensor]:
    """How wrong a head's reward and logit of continuation, (*batch,) each, are about what happened (*batch, ...);
    `weight` says what counts."""
    reward, cont = found
    errors = {
        "reward": nn.functional.smooth_l1_loss(reward, happened.reward, beta=0.02, reduction="none"),
        "cont": nn.functional.binary_cross_entropy_with_logits(cont, happened.cont, reduction="none"),
    }
    if weight is None:
        return {name: error.mean() for name, error in errors.items()}
    return {name: weighted_mean(error, weight) for name, error in errors.items()}


class Featurizer(nn.Module, ABC):
    """Features and changes of observations, `window` of which are looked at; fitted to recorded pairs before use."""

    def __init__(self, spec: Spec, window: int, scales: int):
        super().__init__()
        self.spec, self.window, self.scales = spec, window, scales

    @abstractmethod
    def fit_statistics(self, pairs: Pairs) -> None:
        """Take statistics from recorded control steps."""

    @abstractmethod
    def dynamics(self, obs: Float[Tensor, "b w d"], action: Float[Tensor, "b w a"], scales: int) -> Tensor:
        """What a model of motion sees, (B, f): the last observations and the action that follows each of them. Where
        positions matter, they are told in `scales` waves as well. Once fitted it may tell less than before."""

    @abstractmethod
    def policy(self, obs: Float[Tensor, "b w d"], action: Float[Tensor, "b w a"]) -> Tensor:
        """What a policy sees, (B, f)."""

    @abstractmethod
    def delta(self, before: Float[Tensor, "b d"], after: Float[Tensor, "b d"]) -> Float[Tensor, "b d"]:
        """What happened between two observations, in units of the typical change."""

    @abstractmethod
    def advance(self, before: Float[Tensor, "b d"], delta: Float[Tensor, "b d"]) -> Float[Tensor, "b d"]:
        """The observation after a change: the inverse of `delta`."""

    def to_action(self, obs: Float[Tensor, "b d"], vector: Float[Tensor, "b n"]) -> Float[Tensor, "b n"]:
        """Vectors from the axes that `policy` tells of observations in to those of actions; here they are the same."""
        return vector

    def shifts(self, like: Float[Tensor, "b d"]) -> Float[Tensor, "b d"]:
        """Unit noise on where the robot seems to be, beside observations: what a contact is blurred by in training."""
        return torch.randn_like(like)

    def found(self) -> str:
        """What it found in recorded control steps, in words for those who train on them; by default nothing."""
        return ""

    def outcome(self, width: int) -> Outcome:
        """An untrained head of reward and continuation for observations of this kind."""
        return PlainOutcome(self.spec.obs_dim, width)

    def dynamics_dim(self) -> int:
        """The number of features of `dynamics`; before it is fitted, the most that it could tell."""
        return self.dynamics(*self._nothing(), self.scales).shape[-1]

    def policy_dim(self) -> int:
        """The number of features of `policy`."""
        return self.policy(*self._nothing()).shape[-1]

    def _nothing(self) -> tuple[Tensor, Tensor]:
        """One window of zeros: observations and actions."""
        device = next(self.buffers()).device
        obs = torch.zeros(1, self.window, self.spec.obs_dim, device=device)
        return obs, torch.zeros(1, self.window, self.spec.action_dim, device=device)


@runtime_checkable
class FeaturesConfig(Protocol):
    """Choices for a featurizer."""

    def build(self, spec: Spec, window: int, scales: int) -> Featurizer:
        """The featurizer for models that see `window` observations."""
        ...


@dataclass(frozen=True)
class StandardConfig:
    """Plain vectors: nothing is known of what their numbers mean."""

    def build(self, spec: Spec, window: int, scales: int) -> "Standard":
        return Standard(spec, window, scales)


class Standard(Featurizer):
    """Numbers as they are, and their changes in units of the typical one, which the cells of a grid share.

    Where numbers tell a heading in the plane, or a place that moves as it heads, their changes are told in its axes
    (`Bearings`). Numbers that others move are told as they are seen from these, too (`Relations`). Both are found in
    what was recorded, among the vectors that an observation begins with.

    Changes have heavy tails: most numbers rest most of the time, and move by many times their typical change when they
    do. What models predict is asinh(change / scale), which is linear for small changes and logarithmic for large ones,
    so that noise of a few units covers all of them.
    """

    scale: Tensor
    largest: Tensor
    """Of recorded deltas; `advance` goes no farther than half as far again."""

    def __init__(self, spec: Spec, window: int, scales: int, numbers: int | None = None):
        """Headings, places and relations are looked for among the first `numbers`, or all vectors."""
        super().__init__(spec, window, scales)
        vectors = takewhile(lambda part: len(part.shape) == 1, spec.parts)
        self.numbers = sum(part.size for part in vectors) if numbers is None else numbers
        self.bearings, self.relations = Bearings(self.numbers), Relations(self.numbers)
        self.register_buffer("scale", torch.ones(spec.obs_dim))
        self.register_buffer("largest", torch.ones(spec.obs_dim))

    @torch.no_grad()
    def fit_statistics(self, pairs: Pairs) -> None:
        before, after = pairs.before, pairs.after
        self._find_bearings(pairs)
        self.relations.find(before[:, : self.numbers], after[:, : self.numbers])
        squared = self.spec.split(self._change(before, after).pow(2).mean(0))
        self.scale.copy_(self.spec.join({name: _typical(x) for name, x in squared.items()}))
        self.largest.copy_(self.delta(before, after).abs().amax(0))

    def dynamics(self, obs: Tensor, action: Tensor, scales: int) -> Tensor:
        now = obs[:, -1]
        past = self.delta(obs[:, :-1].flatten(0, 1), obs[:, 1:].flatten(0, 1)).view(len(obs), -1)
        seen = self.relations(now[:, : self.numbers], scales)
        return torch.cat([now, harmonics(now / 4, scales), past, action.flatten(1), seen], dim=-1)

    def policy(self, obs: Tensor, action: Tensor) -> Tensor:
        return self.dynamics(obs, action, POLICY_SCALES)

    def delta(self, before: Tensor, after: Tensor) -> Tensor:
        return (self._change(before, after) / self.scale).asinh()

    def advance(self, before: Tensor, delta: Tensor) -> Tensor:
        limit = 1.5 * self.largest
        change = delta.clamp(-limit, limit).sinh() * self.scale
        after = before + change
        if self.bearings.any:
            numbers = self.bearings.changed(before[:, : self.numbers], change[:, : self.numbers])
            after = torch.cat([numbers, after[:, self.numbers :]], dim=1)
        return after

    def found(self) -> str:
        names = [name for part in self.spec.parts for name in _names(part)]
        found = (self.bearings.headings, self.bearings.places)
        headings, places = ([f"{names[i]} and {names[j]}" for i, j in pairs] for pairs in found)
        told = [*(f"{pair} tell a heading" for pair in headings), *(f"{pair} a place" for pair in places)]
        return ", ".join([*told, *self.relations.found(names)])

    def _find_bearings(self, pairs: Pairs) -> None:
        self.bearings.find(pairs.before[:, : self.numbers], pairs.action, pairs.after[:, : self.numbers])

    def _change(self, before: Tensor, after: Tensor) -> Tensor:
        """What happened between two observations (B, d)."""
        told = after - before
        if self.bearings.any:
            numbers = self.bearings.change(before[:, : self.numbers], after[:, : self.numbers])
            told = torch.cat([numbers, told[:, self.numbers :]], dim=1)
        return told


def _names(part: Part) -> list[str]:
    """Of each of its numbers."""
    if len(part.shape) == 2:
        return [f"{axis} of {part.name} {i}" for i in range(part.shape[0]) for axis in "xy"]
    return [f"{part.name} {i}" for i in range(part.size)]


def _typical(squared: Tensor) -> Tensor:
    """The typical size of changes from their mean squares; the cells of a grid (c, h, w) share each channel's."""
    shared = squared.mean((1, 2), keepdim=True).expand_as(squared) if squared.ndim == 3 else squared
    return shared.sqrt().clamp_min(1e-3)
