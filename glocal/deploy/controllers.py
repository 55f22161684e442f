"""Controllers: what is sent what is seen and answers with actions; the trained policy among them."""

from collections.abc import Callable, Generator, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from glocal.core.improve import Policy
from glocal.core.types import Belief, Codec
from glocal.deploy.preprocess import View, plain
from glocal.models.policies.cloning import ChunkActor, Ensemble
from glocal.tasks.play import PlayConfig, player
from glocal.tasks.pusht import REACH, Array

Controller = Generator[Array, Sequence[Any], None]
"""Sent what is seen in each of n environments, it yields the next actions (n, 2); its first yield is empty."""


Act = Callable[[Belief], Tensor]
"""What is done (n, a) at a belief; it may remember earlier ones, so that every batch of episodes needs its own."""


def acting(policy: Policy, forget: float) -> Act:
    """A policy's mean, or where chunks of actions are told, their ensemble over time, which forgets at this rate."""
    if not isinstance(policy.actor, ChunkActor):
        return lambda belief: policy.actor(belief).mean
    ensemble = Ensemble(forget)
    return lambda belief: ensemble(policy.actor(belief))


@torch.no_grad()
def learned(codec: Codec, policy: Policy, forget: float = 0.0, view: View = plain) -> Controller:
    """What was trained, deterministic: a controller whose belief is corrected by what is seen."""
    act = acting(policy, forget)
    device = next(policy.parameters()).device

    def look(seen: Sequence[Any], before: Tensor | None = None) -> Tensor:
        fields = recorded_fields([view(one) for one in seen], codec.reads)
        return codec.observe({name: field.to(device) for name, field in fields.items()}, before)

    nothing = np.zeros((0, 2))
    seen = yield nothing
    obs = look(seen)
    belief = policy.surrogate.initial(obs).expected()
    while True:
        action = act(belief)
        seen = yield action.cpu().numpy()
        obs = look(seen, obs)
        belief = policy.surrogate.correct(policy.surrogate.predict(belief, action), obs).expected()


def playing(cfg: PlayConfig, seed: int, reach: float = REACH) -> Controller:
    """The play that the logs were made with, for a robot of some reach."""
    nothing = np.zeros((0, 2))
    seen = yield nothing
    hands = [player(np.random.default_rng([seed, i]), cfg) for i in range(len(seen))]
    for hand in hands:
        next(hand)
    while True:
        seen = yield np.stack([hand.send(one) for hand, one in zip(hands, seen, strict=True)]) * (REACH / reach)


def aimless(seed: int, action_dim: int = 2) -> Controller:
    """Uniformly random actions."""
    rng = np.random.default_rng(seed)
    seen = yield np.zeros((0, action_dim))
    while True:
        seen = yield rng.uniform(-1, 1, (len(seen), action_dim))


def recorded_fields(seen: Sequence[Any], names: Sequence[str]) -> dict[str, Tensor]:
    """What a codec reads, of several environments at once, (n, ...)."""
    found = [one if isinstance(one, Mapping) else vars(one) for one in seen]
    fields = {name: np.stack([one[name] for one in found]) for name in names}
    return {name: torch.from_numpy(x if x.dtype == np.uint8 else x.astype(np.float32)) for name, x in fields.items()}
