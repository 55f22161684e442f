"""The nouns: what experience is, and the four things an algorithm is made of."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any, Generic, Protocol, TypeVar, runtime_checkable

import torch
from jaxtyping import Bool, Float, Int, UInt8
from torch import Tensor, nn

B = TypeVar("B", bound="Batched")


class Batched:
    """A frozen dataclass of tensors (or of further bundles) that share their leading dimensions.

    Fields that are neither, a random key for instance, are carried along unchanged.
    """

    def map(self: B, fn: Callable[..., Any], *others: B) -> B:
        """Apply `fn` to each field, together with the same field of each of `others`."""
        mapped = {}
        for field in fields(self):  # pyright: ignore[reportArgumentType]
            values = [getattr(bundle, field.name) for bundle in (self, *others)]
            mapped[field.name] = fn(*values) if isinstance(values[0], Tensor | Batched) else values[0]
        return type(self)(**mapped)

    def tensors(self: B, fn: Callable[..., Tensor], *others: B) -> B:
        """Apply `fn` to each tensor at any depth, together with its counterparts in `others`."""
        return self.map(lambda *x: x[0].tensors(fn, *x[1:]) if isinstance(x[0], Batched) else fn(*x), *others)

    def __getitem__(self: B, index: Any) -> B:
        """Index the leading dimensions of every tensor."""
        return self.tensors(lambda x: x[index])

    def tree(self) -> dict[str, Any]:
        """Tensors and numbers as nested mappings, for a checkpoint."""
        values = {field.name: getattr(self, field.name) for field in fields(self)}  # pyright: ignore[reportArgumentType]
        kept = {name: value for name, value in values.items() if isinstance(value, Tensor | Batched | int)}
        return {name: value.tree() if isinstance(value, Batched) else value for name, value in kept.items()}

    def filled(self: B, tree: Mapping[str, Any]) -> B:
        """A bundle of this one's kind with the values of a `tree`; what a tree does not hold stays as it is."""
        values = {field.name: getattr(self, field.name) for field in fields(self)}  # pyright: ignore[reportArgumentType]
        filled = {name: _fill(values[name], part) for name, part in tree.items()}
        return type(self)(**{**values, **filled})

    def detach(self: B) -> B:
        """The same values, cut from their graph."""
        return self.tensors(lambda x: x.detach())


def _fill(value: Any, part: Any) -> Any:
    if isinstance(value, Batched):
        return value.filled(part)
    return part.to(value.device) if isinstance(value, Tensor) else part


def stack(bundles: Sequence[B], dim: int = 1) -> B:
    """Stack bundles along a new dimension; by default time, behind the batch."""
    return bundles[0].tensors(lambda *x: torch.stack(x, dim), *bundles[1:])


def cat(bundles: Sequence[B], dim: int = 1) -> B:
    """Concatenate bundles along a dimension; by default time."""
    return bundles[0].tensors(lambda *x: torch.cat(x, dim), *bundles[1:])


def where(mask: Bool[Tensor, " b"], yes: B, no: B) -> B:
    """Element i of the batch from `yes` where `mask[i]`, else from `no`; what is no tensor, a key, is that of `yes`."""
    return yes.tensors(lambda a, b: torch.where(mask.view(-1, *[1] * (a.ndim - 1)), a, b), no)


@dataclass(frozen=True)
class Step(Batched):
    """What one action does to the world; carries no gradient but in BPTT. `cont` is 0 where the episode ended."""

    obs: Float[Tensor, "*batch d"]
    reward: Float[Tensor, "*batch"]
    cont: Float[Tensor, "*batch"]


@dataclass(frozen=True)
class Pairs(Batched):
    """Single control steps: what was seen before and after, the action between, and the reward afterwards."""

    before: Float[Tensor, "n d"]
    action: Float[Tensor, "n a"]
    after: Float[Tensor, "n d"]
    reward: Float[Tensor, " n"]


@dataclass(frozen=True)
class Segment(Batched):
    """Consecutive experience, (B, T, ...): `obs[t]`, `reward[t]` and `cont[t]` are what came of `action[t]`.

    Before an episode's first control step the agent rests: its first observation, with an action of zero, stands there.
    `pictures`, for worlds that draw them, are the bytes of what all cameras recorded, one behind the other;
    `hindsight`, for worlds of that, is what was so where `obs` is what the robot knew.
    """

    obs: Float[Tensor, "*batch d"]
    action: Float[Tensor, "*batch a"]
    reward: Float[Tensor, "*batch"]
    cont: Float[Tensor, "*batch"]
    pictures: UInt8[Tensor, "*batch p"] | None = None
    hindsight: Float[Tensor, "*batch d"] | None = None

    def latest(self, steps: int) -> "Segment":
        """The last steps; raises `ValueError` where there are fewer."""
        if self.obs.shape[1] < steps:
            raise ValueError(f"the world needs {steps} observations to begin, found {self.obs.shape[1]}")
        return self[:, -steps:]


class Belief(Batched, ABC):
    """What a surrogate believes about the present; policy and critics see its `feat`, (*batch, f)."""

    @property
    @abstractmethod
    def feat(self) -> Tensor:
        """The belief as one row of numbers."""

    def expected(self: B) -> B:
        """The belief at the mean of what is uncertain in it, as a deployed policy has it: nothing is drawn."""
        return self

    def to_action(self, vector: Tensor) -> Tensor:
        """Vectors (*batch, n) from the axes that `feat` is told in to those of actions; here they are the same."""
        return vector


S = TypeVar("S", bound=Belief)


@dataclass(frozen=True)
class Trajectory(Batched):
    """Imagined experience, (B, T, ...), differentiable in the actions.

    `belief[t]` is what `action[t]` was chosen on, by `noise[t]` and with `entropy[t]` to choose from, and `after[t]`
    what followed; `reward[t]` and `cont[t]` are the linked reward and continuation, `seen[t]` the world's own answer,
    whose gradient is kept in BPTT alone, and `gap[t]` how far the posterior was from the prior.
    """

    belief: Belief
    action: Float[Tensor, "*batch a"]
    noise: Float[Tensor, "*batch a"]
    entropy: Float[Tensor, "*batch"]
    reward: Float[Tensor, "*batch"]
    cont: Float[Tensor, "*batch"]
    after: Belief
    seen: Step
    gap: Float[Tensor, "*batch"]


@runtime_checkable
class World(Protocol):
    """A global model: answers actions. Pure: equal contexts and actions give equal answers."""

    def begin(self, segment: Segment, key: int) -> Any:
        """The context after recorded experience (B, T, ...), pictures included where the world draws some; all
        randomness to come follows from `key`."""
        ...

    def step(self, context: Any, action: Tensor) -> tuple[Any, Step]:
        """The next context and what the action (B, a) did."""
        ...


class Surrogate(nn.Module, ABC, Generic[S]):
    """A local model: predicts what an action does (prior) and corrects it by what was seen (posterior)."""

    @abstractmethod
    def initial(self, obs: Tensor) -> S:
        """The belief of an agent at rest that has seen nothing but `obs` (B, d)."""

    @abstractmethod
    def predict(self, belief: S, action: Tensor) -> S:
        """The prior: the belief after `action` (B, a), before anything is seen."""

    @abstractmethod
    def correct(self, prior: S, obs: Tensor) -> S:
        """The posterior: the prior corrected by the observation (B, d)."""

    @abstractmethod
    def reward(self, belief: S) -> Tensor:
        """The reward (*batch,) for having arrived at a belief."""

    @abstractmethod
    def cont(self, belief: S) -> Tensor:
        """The probability (*batch,) that the episode goes on at a belief."""

    @abstractmethod
    def observe(self, belief: S) -> Tensor:
        """The observation (*batch, d) that the belief expects."""

    @abstractmethod
    def loss(self, segment: Segment) -> tuple[Tensor, dict[str, Tensor]]:
        """A scalar to minimise on experience (B, T, ...), and metrics. Rows after an episode's end do not count."""


class Distribution(Protocol):
    """What a policy chooses actions from."""

    @property
    def mean(self) -> Tensor:
        """The action taken when deployed, (*batch, a)."""
        ...

    def rsample(self, noise: Tensor) -> Tensor:
        """The draw (*batch, a) that unit normal numbers (*batch, a) make, reparameterised."""
        ...

    def entropy(self) -> Tensor:
        """The entropy, (*batch,), or an unbiased estimate of it."""
        ...


ActorLike = Callable[[Belief], Distribution]


class Codec(nn.Module, ABC):
    """Between what is recorded and what the models see.

    `reads` names the recorded fields that it may look at: nothing else passes from the logs to training but actions
    and reward labels.
    """

    reads: tuple[str, ...]
    draws: bool = True
    """Whether it gives back the pictures among these."""

    @abstractmethod
    def encode(self, fields: Mapping[str, Tensor]) -> Tensor:
        """Observations (*batch, d) of recorded fields, each (*batch, ...)."""

    @abstractmethod
    def decode(self, obs: Tensor) -> dict[str, Tensor]:
        """The recorded fields that observations (*batch, d) stand for, as far as they are known."""

    def unseen(self, fields: Mapping[str, Tensor]) -> Bool[Tensor, "*batch d"] | None:
        """Which numbers of observations recorded fields do not show, because something is in the way; None where all
        are always seen."""
        return None

    def observe(self, fields: Mapping[str, Tensor], before: Tensor | None = None) -> Tensor:
        """Observations (*batch, d) of recorded fields; what nothing shows stays as it was in those `before`, if any."""
        obs, unseen = self.encode(fields), None if before is None else self.unseen(fields)
        return obs if before is None or unseen is None else torch.where(unseen, before, obs)

    def hindsight(self, obs: Float[Tensor, "n d"], starts: Int[Tensor, " e"]) -> Float[Tensor, "n d"]:
        """What was so, as is known when the episodes are over of which `obs` is remembered; by default no more than
        the robot knew."""
        return obs

    def follow(self, before: Float[Tensor, "b d"], so: Float[Tensor, "b d"]) -> Float[Tensor, "b d"]:
        """What a robot observes that observed `before`, where something (as `hindsight` tells it) is so; by default all
        of it."""
        return so

    def remembered(self, obs: Float[Tensor, "n d"], starts: Int[Tensor, " e"]) -> Float[Tensor, "n d"]:
        """Recorded observations of episodes that begin at `starts`, the last of which is where all end, as a robot has
        them that remembers what it saw before; by default as they are."""
        return obs

    def begun(self, obs: Float[Tensor, "*batch t d"]) -> Float[Tensor, "*batch t d"]:
        """Windows of what is remembered, as a robot has them that was switched on at their first control step; by
        default as they are."""
        return obs


class FittedCodec(Codec):
    """A codec that takes statistics from recorded fields before use."""

    @abstractmethod
    def fit_statistics(self, fields: Mapping[str, Tensor]) -> None:
        """Take statistics from recorded fields, each (n, ...)."""


class LearnedCodec(FittedCodec):
    """A codec that is trained on recorded fields before use."""

    @abstractmethod
    def loss(self, fields: Mapping[str, Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
        """A scalar to minimise on recorded fields, each (B, ...), and metrics."""
