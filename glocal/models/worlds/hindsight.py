"""A global model of what was so, as is known afterwards, which answers with what the robot knows of it.

A robot whose cameras show a part of what matters acts on what it has seen and remembers. A global model of *that* is
wrong in two ways. It draws anew what was looked at a moment ago, since what nobody sees stands nowhere in it. And
whoever recorded the logs mostly knew where things were, and turned towards them: a model that is not told takes actions
for signs, so that wherever one turns, there things are (arXiv 2110.10819 calls these delusions).

Most of what is out of sight is seen sooner or later, so that recordings tell afterwards where it was. A model of that
has things stand where they are, looked at or not; and what its robot knows of them is made of what it is shown, as on
the real one.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from glocal.core.features import Featurizer
from glocal.core.types import Batched, Pairs, Segment, Step

Follow = Callable[[Tensor, Tensor], Tensor]
"""What a robot that knew one thing (B, d) knows when something (B, d) is so (`Codec.follow`)."""
Hindsight = Callable[[Tensor, Tensor], Tensor]
"""What was so, as is known at the end of episodes (rows, d) that begin somewhere (`Codec.hindsight`)."""


@dataclass(frozen=True)
class Known(Batched):
    """The context of the model of what is so, and what the robot knows of that."""

    within: Batched
    obs: Float[Tensor, "b d"]


class HindsightWorld(nn.Module):
    """Any global model of vectors, of what is known afterwards (`Segment.hindsight`); its robot knows less."""

    def __init__(self, within: Any, follow: Follow, hindsight: Hindsight):
        super().__init__()
        self.within, self.follow, self.hindsight = within, follow, hindsight
        self.cfg, self.spec = within.cfg, within.spec

    @property
    def features(self) -> Featurizer | None:
        """How it looks at observations, where it tells."""
        return getattr(self.within, "features", None)

    @property
    def length(self) -> int:
        """Rows of a window that its loss reads."""
        return self.within.length

    @property
    def acted(self) -> int:
        """Control steps that windows of its loss end with, where episodes have as many."""
        return self.within.acted

    def fit_statistics(self, pairs: Pairs) -> None:
        """Take statistics from recorded control steps, of what was so."""
        self.within.fit_statistics(pairs)

    def loss(self, segment: Segment) -> tuple[Tensor, dict[str, Tensor]]:
        """That of the model of what was so."""
        return self.within.loss(self._so(segment))

    def outcomes(self, segment: Segment) -> tuple[Tensor, Tensor]:
        """Rewards (B, T) and logits of continuation (B, T) of what was recorded."""
        return self.within.outcomes(self._so(segment))

    def begin(self, segment: Segment, key: int) -> Known:
        """See `World.begin`."""
        return Known(self.within.begin(self._so(segment), key), segment.obs[:, -1])

    def step(self, context: Known, action: Float[Tensor, "b a"]) -> tuple[Known, Step]:
        """See `World.step`; observations are what the robot then knows."""
        within, so = self.within.step(context.within, action)
        obs = self.follow(context.obs, so.obs)
        return Known(within, obs), replace(so, obs=obs)

    def _so(self, segment: Segment) -> Segment:
        """Experience as it was; a robot's own, of which the rest is yet to come, as it is known by its end."""
        known, (count, length) = segment.hindsight, segment.obs.shape[:2]
        if known is None:
            starts = torch.arange(0, (count + 1) * length, length, device=segment.obs.device)
            known = self.hindsight(segment.obs.flatten(0, 1), starts).unflatten(0, (count, length))
        return replace(segment, obs=known, hindsight=None)
