"""Imagined environments: many at once, that begin from recorded windows, run for an episode and begin anew."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from glocal.core.rollout import warm_up
from glocal.core.types import Batched, Belief, Segment, Surrogate, World, where

Source = Callable[[int, int], Segment]
"""(count, length) -> recorded windows (count, length, ...)."""


@dataclass(frozen=True)
class Imagined(Batched):
    """Where environments stand: the world's context, the belief, the last rows seen, and each one's age in steps."""

    context: Batched
    belief: Belief
    recent: Segment
    age: Tensor


class Environments:
    """`count` of them, each begun from `window` recorded steps, and begun anew where its episode has ended or been
    `episode` imagined steps long."""

    def __init__(self, world: World, surrogate: Surrogate[Any], starts: Source, count: int, window: int, episode: int):
        self.world, self.surrogate, self.starts = world, surrogate, starts
        self.count, self.window, self.episode = count, window, episode

    def begin(self, age: Tensor) -> Imagined:
        """Environments that begin now and count as `age` steps old; their random key is drawn anew."""
        recent = self.starts(self.count, self.window)
        context = self.world.begin(recent, int(torch.randint(2**62, ())))
        with torch.no_grad():
            belief = warm_up(self.surrogate, recent)
        return Imagined(context, belief, replace(recent, pictures=None, hindsight=None), age)

    def aged(self, age: Tensor, cont: Float[Tensor, "b t"]) -> Tensor:
        """Ages after further steps with these continuations; one that has ended has run its time."""
        ended = (cont < 0.5).any(1)
        return torch.where(ended, torch.full_like(age, self.episode), age + cont.shape[1])

    def restart(self, imagined: Imagined) -> Imagined:
        """Begin anew those that have run their time."""
        fresh, over = self.begin(torch.zeros_like(imagined.age)), imagined.age >= self.episode
        return where(over, fresh, imagined)
