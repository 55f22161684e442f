"""What `rsl-rl-lib` is handed: observations, and its models of a policy and of values around networks of our choice."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from glocal.core.nets import mlp
from glocal.models.policies.actor import Actor
from glocal.runtime.files import UserError


@dataclass(frozen=True)
class Library:
    """The parts of the library that are used."""

    model: Any
    algorithm: Any
    storage: Any


def library() -> Library:
    """Raises `UserError` where the library is not installed."""
    try:
        from rsl_rl.algorithms import PPO
        from rsl_rl.models import MLPModel
        from rsl_rl.storage import RolloutStorage
    except ImportError as error:
        raise UserError(f"PPO needs rsl-rl-lib ({error}); install it with `pip install 'glocal[ppo]'`") from error
    return Library(MLPModel, PPO, RolloutStorage)


def shown(feat: Tensor, staying: Tensor) -> Any:
    """Observations of n beliefs: their `feat` (n, f), and what staying at each would earn (n,)."""
    from tensordict import TensorDict

    return TensorDict({"belief": feat, "staying": staying[:, None]}, batch_size=[len(feat)])


def policy_model(feat_dim: int, action_dim: int, hidden: list[int], first_std: float) -> Any:
    """The library's own policy on normalised beliefs, with one standard deviation for all of them."""
    return _model(feat_dim, ["belief"], action_dim, hidden, _gaussian("GaussianDistribution", first_std, "log"))


def value_model(feat_dim: int, hidden: list[int]) -> Any:
    """The library's own value of normalised beliefs."""
    return _model(feat_dim, ["belief"], 1, hidden, None)


def around_actor(actor: Actor, feat_dim: int, action_dim: int) -> Any:
    """The library's model of the first-order policy's network, whose parameters it shares."""
    gaussian = _gaussian("HeteroscedasticGaussianDistribution", actor.cfg.first_std, "scalar")
    return _around(_Gaussian(actor), feat_dim, ["belief"], action_dim, gaussian)


def around_critic(actor: Actor, feat_dim: int) -> Any:
    """The library's model of a value as the first-order policy has it, with one network as wide and deep as `actor`."""
    return _around(ResidualValue(feat_dim, actor.cfg.width, actor.cfg.depth), feat_dim, ["belief", "staying"], 1, None)


class _Gaussian(nn.Module):
    """Location and standard deviation (n, 2, a) by an actor, as the library wants them."""

    def __init__(self, actor: Actor):
        super().__init__()
        self.actor = actor

    def forward(self, feat: Tensor) -> Tensor:
        return torch.stack(self.actor.gaussian(feat), dim=-2)


class ResidualValue(nn.Module):
    """V(b) = R(b) / (1 - gamma) + v(b), (n, 1): what staying would earn, which stands behind `feat`, and the rest."""

    def __init__(self, feat_dim: int, width: int, depth: int):
        super().__init__()
        self.body = mlp(feat_dim, width, depth, 1, last_scale=0.1)

    def forward(self, feat_and_staying: Tensor) -> Tensor:
        feat, staying = feat_and_staying[..., :-1], feat_and_staying[..., -1:]
        return staying + self.body(feat)


def _around(network: nn.Module, feat_dim: int, groups: list[str], outputs: int, gaussian: Any) -> Any:
    """The library's model with this network in the place of its own, on beliefs as they are."""
    model = _model(feat_dim, groups, outputs, [1], gaussian, normalised=False)
    model.mlp = network
    return model


def _gaussian(kind: str, first_std: float, told_as: str) -> Mapping[str, Any]:
    return {"class_name": kind, "init_std": first_std, "std_type": told_as}


def _model(
    feat_dim: int, groups: list[str], outputs: int, hidden: list[int], gaussian: Any, normalised: bool = True
) -> Any:
    seen = shown(torch.zeros(1, feat_dim), torch.zeros(1))
    told = {"hidden_dims": hidden, "obs_normalization": normalised, "distribution_cfg": gaussian}
    return library().model(seen, {"used": groups}, "used", outputs, **told)
