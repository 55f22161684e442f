"""PPO in the same imagined environments: the baseline that gets no derivative of anything.

Not ours: `rsl-rl-lib` learns, and this hands it the beliefs and rewards that the first-order policy sees.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal, NamedTuple

import torch
from torch import Tensor, nn

from glocal.core.environments import Environments, Imagined, Source
from glocal.core.improve import Policy
from glocal.core.ranges import Amount, Count, Part, Positive, Range, Rate, Share, Small, Width
from glocal.core.types import Belief, Surrogate, World, where
from glocal.models.policies import rsl
from glocal.models.policies.actor import Actor, ActorConfig, TanhNormal


@dataclass(frozen=True)
class PPOConfig:
    """Choices for PPO. Learning rate, KL, epochs, minibatches, clip, lambda and first spread are the library's own.

    The discount and the episode's length are the first-order policy's, and so are the networks' sizes.
    """

    networks: Literal["library", "policy"] = "library"
    """The library's (ELU on normalised beliefs, one spread for all beliefs), of the sizes below; or the first-order
    policy's (LayerNorm, SiLU, a spread that depends on the belief, values on top of what staying would earn), by the
    choices for these."""
    iterations: Count = 800
    envs: Annotated[int, Range(1, 1_000_000)] = 256
    horizon: Small = 24
    episode: Annotated[int, Range(1, 10_000)] = 48
    """Imagined control steps after which an environment begins anew from a recorded window."""
    warm_up: Small = 4
    """Recorded observations that an imagined environment begins with."""
    gamma: Part = 0.97
    lam: Share = 0.95
    lr: Rate = 1e-3
    """At the start; it is adapted so that an update moves the policy by about `desired_kl`."""
    desired_kl: Positive = 0.01
    epochs: Small = 5
    minibatches: Count = 4
    clip: Positive = 0.2
    entropy: Amount = 0.005
    first_std: Positive = 1.0
    width: Width = 256
    depth: Small = 2


class PPOActor(nn.Module):
    """The library's network as a policy on beliefs: its Gaussian, turned to the table's axes and squashed."""

    def __init__(self, cfg: PPOConfig, feat_dim: int, action_dim: int):
        super().__init__()
        self.network = rsl.policy_model(feat_dim, action_dim, [cfg.width] * cfg.depth, cfg.first_std)

    def fit_statistics(self, feat: Tensor) -> None:
        """Take the scales of beliefs from some (n, f), before anything is learned at those scales."""
        self.network.update_normalization(_plain(feat))

    def forward(self, belief: Belief) -> TanhNormal:
        flat = belief.feat.flatten(0, -2)
        location = self.network(_plain(flat)).unflatten(0, belief.feat.shape[:-1])
        std = self.network.distribution.log_std_param.exp().expand_as(location)
        return TanhNormal(belief.to_action(location), std)


def _plain(feat: Tensor) -> Any:
    """Beliefs for networks that do not ask what staying would earn."""
    return rsl.shown(feat, torch.zeros_like(feat[:, 0]))


class Networks(NamedTuple):
    """Whose networks PPO trains: how the deployed policy is made, and the library's models of it and of its value."""

    actor: Callable[[PPOConfig, ActorConfig, int, int], nn.Module]
    models: Callable[[PPOConfig, Any, int, int], tuple[Any, Any]]


def _library_actor(cfg: PPOConfig, agent: ActorConfig, feat_dim: int, action_dim: int) -> nn.Module:
    return PPOActor(cfg, feat_dim, action_dim)


def _library_models(cfg: PPOConfig, actor: PPOActor, feat_dim: int, action_dim: int) -> tuple[Any, Any]:
    return actor.network, rsl.value_model(feat_dim, [cfg.width] * cfg.depth)


def _policy_actor(cfg: PPOConfig, agent: ActorConfig, feat_dim: int, action_dim: int) -> nn.Module:
    return Actor(agent, feat_dim, action_dim)


def _policy_models(cfg: PPOConfig, actor: Actor, feat_dim: int, action_dim: int) -> tuple[Any, Any]:
    return rsl.around_actor(actor, feat_dim, action_dim), rsl.around_critic(actor, feat_dim)


NETWORKS: Mapping[str, Networks] = {
    "library": Networks(_library_actor, _library_models),
    "policy": Networks(_policy_actor, _policy_models),
}


class PPOIteration:
    """Improves a policy by PPO; one `iterate` is `horizon` steps of all environments and the library's update."""

    def __init__(self, cfg: PPOConfig, world: World, policy: Policy, starts: Source):
        rsl_rl = rsl.library()
        self.cfg, self.world, self.model = cfg, world, policy
        self.surrogate: Surrogate[Any] = policy.surrogate
        device = next(policy.actor.parameters()).device
        self.environments = Environments(world, policy.surrogate, starts, cfg.envs, cfg.warm_up, cfg.episode)
        self.imagined = self.environments.begin(torch.randint(cfg.episode, (cfg.envs,), device=device))
        feat_dim, action_dim = self.imagined.belief.feat.shape[-1], self.imagined.recent.action.shape[-1]
        actor, critic = NETWORKS[cfg.networks].models(cfg, policy.actor, feat_dim, action_dim)
        seen = self._shown(self.imagined.belief)
        kept = rsl_rl.storage("rl", cfg.envs, cfg.horizon, seen, [action_dim], str(device))
        self.algorithm = rsl_rl.algorithm(
            actor, critic, kept, num_learning_epochs=cfg.epochs, num_mini_batches=cfg.minibatches, clip_param=cfg.clip,
            gamma=cfg.gamma, lam=cfg.lam, entropy_coef=cfg.entropy, learning_rate=cfg.lr, desired_kl=cfg.desired_kl,
            device=str(device),
        )  # fmt: skip
        self.iteration = 0

    @property
    def total(self) -> int:
        """Iterations from beginning to end."""
        return self.cfg.iterations

    @property
    def per_iteration(self) -> int:
        """Imagined steps in an iteration."""
        return self.cfg.envs * self.cfg.horizon

    def iterate(self) -> dict[str, Tensor]:
        """One iteration: `envs` times `horizon` imagined steps, and the update on them."""
        with torch.no_grad():
            fresh = self.environments.begin(torch.zeros_like(self.imagined.age))
            rewards = torch.stack([self._act(fresh) for _ in range(self.cfg.horizon)])
            self.algorithm.compute_returns(self._shown(self.imagined.belief))
        losses = self.algorithm.update()
        self.iteration += 1
        steps = torch.tensor(float(self.iteration * self.per_iteration), dtype=torch.float64)
        return {"imag/reward": rewards.mean(), "imag/return": rewards.sum(0).mean(), "imag/steps": steps} | {
            f"ppo/{name}": torch.tensor(loss) for name, loss in losses.items()
        }

    def _act(self, fresh: Imagined) -> Tensor:
        """One step of all environments, those that are over then standing as in `fresh`; returns the rewards (B,)."""
        now = self.imagined
        draw = self.algorithm.act(self._shown(now.belief))
        action = now.belief.to_action(draw).tanh()
        context, seen = self.world.step(now.context, action)
        belief = self.surrogate.correct(self.surrogate.predict(now.belief, action), seen.obs)
        age = now.age + 1
        ended, over = seen.cont < 0.5, age >= self.cfg.episode
        done = ended | over
        self.imagined = where(~done, Imagined(context, belief, now.recent, age), fresh)  # whose key goes on
        # Time-outs are bootstrapped, by the value before the last action; what has ended earns nothing more.
        told = {"time_outs": (over & ~ended).float()}
        self.algorithm.process_env_step(self._shown(self.imagined.belief), seen.reward, done.float(), told)
        return seen.reward

    @torch.no_grad()
    def _shown(self, belief: Belief) -> Any:
        """Beliefs (n) as the library is shown them."""
        return rsl.shown(belief.feat, self.surrogate.reward(belief) / (1 - self.cfg.gamma))

    def state(self) -> dict[str, Any]:
        """All that the next iterations depend on, besides the world and the random state."""
        return {"iteration": self.iteration, "learned": self.algorithm.save(), "imagined": self.imagined.tree()}

    def restore(self, state: Any) -> None:
        """Go on from where `state` was taken."""
        self.iteration = state["iteration"]
        self.algorithm.load(state["learned"], None, strict=True)
        self.imagined = self.imagined.filled(state["imagined"])
