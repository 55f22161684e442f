"""One control step of a policy as a function of tensors alone, as it is exported: from what is sensed, and what is
remembered of the control step before, to the action, and to what is remembered."""

from collections.abc import Mapping
from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from glocal.core.improve import Policy
from glocal.core.types import Belief, Codec, where
from glocal.deploy.surprise import Surprise

State = dict[str, Tensor]
"""What is remembered, by name, (1, ...) each."""


class PolicyStep(nn.Module):
    """What `deploy.controllers.learned` does at a control step, for one robot."""

    def __init__(self, codec: Codec, policy: Policy, surprise: Surprise):
        super().__init__()
        self.codec, self.policy, self.surprise = codec, policy, surprise

    @torch.no_grad()
    def nothing(self, fields: Mapping[str, Tensor]) -> State:
        """What is handed over where nothing is remembered, for fields (1, ...) of some shapes: zeros."""
        obs = self.codec.observe(fields)
        belief = self.policy.surrogate.initial(obs).expected()
        return {name: torch.zeros_like(x) for name, x in self._state(obs, self._act(belief), belief).items()}

    def forward(
        self, fields: dict[str, Tensor], state: State, begun: Bool[Tensor, " 1"]
    ) -> tuple[Float[Tensor, "1 a"], Float[Tensor, " 1"], State]:
        """The action in [-1, 1], how surprising what is sensed is, and what is remembered of this control step; `begun`
        where there was one before."""
        surrogate = self.policy.surrogate
        first = self.codec.observe(fields)
        obs = torch.where(begun[:, None], self.codec.observe(fields, state["obs"]), first)
        fresh = surrogate.initial(first).expected()
        before = fresh.filled(_nested({name: x for name, x in state.items() if name not in ("obs", "action")}))
        prior = surrogate.predict(before, state["action"]).expected()
        belief = where(begun, surrogate.correct(prior, obs).expected(), fresh)
        action, surprise = self._act(belief), self.surprise(surrogate.observe(prior), obs)
        return action, torch.where(begun, surprise, torch.zeros_like(surprise)), self._state(obs, action, belief)

    def _act(self, belief: Belief) -> Tensor:
        return self.policy.actor(belief).mean

    def _state(self, obs: Tensor, action: Tensor, belief: Belief) -> State:
        return {"obs": obs, "action": action} | _flat(belief.tree(), "belief")


def _flat(tree: Mapping[str, object], prefix: str) -> State:
    """The tensors of a nested mapping by their dotted names."""
    flat: State = {}
    for name, value in tree.items():
        path = f"{prefix}.{name}"
        flat |= _flat(value, path) if isinstance(value, Mapping) else {path: value} if torch.is_tensor(value) else {}
    return flat


def _nested(flat: State) -> dict[str, Any]:
    """The nested mapping of which these are the tensors, less the first part of their names."""
    tree: dict[str, Any] = {}
    for path, value in flat.items():
        _, *parents, name = path.split(".")
        at = tree
        for parent in parents:
            at = at.setdefault(parent, {})
        at[name] = value
    return tree
