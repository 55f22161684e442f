"""Links: what a value is forward, and whose derivative it has backward. An estimator is a choice of link."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from jaxtyping import Float
from torch import Tensor

from glocal.core.types import Batched

Link = Callable[[Any, Any], Any]


@dataclass(frozen=True)
class Latent(Batched, ABC):
    """The stochastic part of a belief: a sample, and in subclasses what it was drawn from."""

    sample: Float[Tensor, "*batch z"]

    @abstractmethod
    def expected(self) -> "Latent":
        """The same with the mean, or the likeliest choice, in place of a sample."""


@dataclass(frozen=True)
class Draw(Latent):
    """A sample together with the Gaussian that it is a draw of."""

    mean: Float[Tensor, "*batch z"]
    std: Float[Tensor, "*batch z"]

    def expected(self) -> "Draw":
        return replace(self, sample=self.mean)


def decouple(value: Any, gradient: Any) -> Any:
    """Forward, `value`; backward, `gradient` (arXiv 2602.06219, Sec. III). Tensors of one shape, or bundles of them."""
    if isinstance(value, Batched):
        return value.map(decouple, gradient)
    assert value.shape == gradient.shape, (value.shape, gradient.shape)
    return value.detach() + (gradient - gradient.detach())  # the brackets matter: x - x is exactly 0


def imagine(value: Any, gradient: Any) -> Any:
    """Forward and backward, `gradient`: the surrogate is the world (Dreamer; the paper's *No Diffusion* ablation)."""
    return gradient


def freeze(value: Any, gradient: Any) -> Any:
    """Forward, `value`; backward, nothing: no gradient through the dynamics."""
    return value.detach()


def infer_noise(value: Any, gradient: Any) -> Any:
    """Like `decouple`, but a draw's derivative is taken at the value itself, as in SVG (arXiv 1510.09142, Sec. 4.2).

    The noise with which the prior would have drawn the posterior's sample is read off, and held:
    eps = sg((z - mean) / std), z = mean + std * eps.
    """
    if isinstance(value, Draw):
        noise = ((value.sample - gradient.mean) / gradient.std).detach()
        explained = gradient.mean + gradient.std * noise
        return decouple(value, Draw(explained, gradient.mean, gradient.std))
    if isinstance(value, Batched):
        return value.map(infer_noise, gradient)
    return decouple(value, gradient)


def bptt(value: Any, gradient: Any) -> Any:
    """Forward and backward, `value`: backpropagation through the world's own sampler, the reference for the others.

    It is the one link for which a rollout keeps the world's graph: as costly as the world is deep.
    """
    return value


LINKS: dict[str, Link] = {link.__name__: link for link in (decouple, imagine, freeze, infer_noise, bptt)}
