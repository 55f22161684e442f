"""PPO in the same imagined environments: the baseline that gets no derivative of anything.

Not ours: `rsl-rl-lib` learns, and this hands it the beliefs and rewards that the first-order policy sees.
"""

from dataclasses import dataclass
from typing import Annotated, Any

import torch
from torch import Tensor, nn

from glocal.agents.actor import TanhNormal
from glocal.core.environments import Environments, Imagined, Source
from glocal.core.improve import Pilot
from glocal.core.ranges import Amount, Count, Part, Positive, Range, Rate, Share, Small, Width
from glocal.core.types import Belief, Surrogate, World, where
from glocal.files import UserError

GROUPS = {"actor": ["belief"], "critic": ["belief"]}


@dataclass(frozen=True)
class PPOConfig:
    """Choices for PPO. Rate, KL, epochs, batches, clip, lambda and first spread are the library's own defaults.

    The discount and the episode's length are the first-order policy's, and so are the networks' sizes.
    """

    iterations: Count = 800
    envs: Annotated[int, Range(1, 1_000_000)] = 256
    horizon: Small = 24
    episode: Annotated[int, Range(1, 10_000)] = 48
    """Imagined decisions after which an environment begins anew from a recorded window."""
    warm_up: Small = 4
    """Recorded observations that an imagined environment begins with."""
    gamma: Part = 0.97
    lam: Share = 0.95
    rate: Rate = 1e-3
    """At the start; it is adapted so that an update moves the policy by about `desired_kl`."""
    desired_kl: Positive = 0.01
    epochs: Small = 5
    batches: Count = 4
    clip: Positive = 0.2
    entropy: Amount = 0.005
    first_std: Positive = 1.0
    width: Width = 256
    depth: Small = 2


class PPOActor(nn.Module):
    """The library's network as a policy on beliefs: its Gaussian, turned to the table's axes and squashed."""

    def __init__(self, cfg: PPOConfig, feat_dim: int, action_dim: int):
        super().__init__()
        distribution = {"class_name": "GaussianDistribution", "init_std": cfg.first_std, "std_type": "log"}
        self.network = _network(cfg, "actor", feat_dim, action_dim, distribution)

    def measure(self, feat: Tensor) -> None:
        """Take the scales of beliefs from some (n, f), before anything is learned at those scales."""
        self.network.update_normalization(_seen(feat))

    def forward(self, belief: Belief) -> TanhNormal:
        flat = belief.feat.flatten(0, -2)
        location = self.network(_seen(flat)).unflatten(0, belief.feat.shape[:-1])
        std = self.network.distribution.log_std_param.exp().expand_as(location)
        return TanhNormal(belief.turned(location), std)


class PPOIteration:
    """Improves a pilot by PPO; one `iterate` is `horizon` steps of all environments and the library's update."""

    def __init__(self, cfg: PPOConfig, world: World, pilot: Pilot, starts: Source):
        _, algorithm, storage = _library()
        self.cfg, self.world, self.model = cfg, world, pilot
        self.surrogate: Surrogate[Any] = pilot.surrogate
        device = next(pilot.actor.parameters()).device
        self.environments = Environments(world, pilot.surrogate, starts, cfg.envs, cfg.warm_up, cfg.episode)
        self.imagined = self.environments.begin(torch.randint(cfg.episode, (cfg.envs,), device=device))
        feat = self.imagined.belief.feat
        actor: Any = pilot.actor.network
        critic = _network(cfg, "critic", feat.shape[-1], 1, None).to(device)
        kept = storage("rl", cfg.envs, cfg.horizon, _seen(feat), [actor.distribution.output_dim], str(device))
        self.algorithm = algorithm(
            actor, critic, kept, num_learning_epochs=cfg.epochs, num_mini_batches=cfg.batches, clip_param=cfg.clip,
            gamma=cfg.gamma, lam=cfg.lam, entropy_coef=cfg.entropy, learning_rate=cfg.rate, desired_kl=cfg.desired_kl,
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
            self.algorithm.compute_returns(_seen(self.imagined.belief.feat))
        losses = self.algorithm.update()
        self.iteration += 1
        steps = torch.tensor(float(self.iteration * self.per_iteration), dtype=torch.float64)
        return {"imag/reward": rewards.mean(), "imag/return": rewards.sum(0).mean(), "imag/steps": steps} | {
            f"ppo/{name}": torch.tensor(loss) for name, loss in losses.items()
        }

    def _act(self, fresh: Imagined) -> Tensor:
        """One step of all environments, those that are over then standing as in `fresh`; returns the rewards (B,)."""
        now = self.imagined
        draw = self.algorithm.act(_seen(now.belief.feat))
        action = now.belief.turned(draw).tanh()
        context, seen = self.world.step(now.context, action)
        belief = self.surrogate.correct(self.surrogate.predict(now.belief, action), seen.obs)
        age = now.age + 1
        over = (age >= self.cfg.episode).float()
        done = torch.maximum(over, (seen.cont < 0.5).float())
        self.imagined = where(done == 0, Imagined(context, belief, now.recent, age), fresh)
        seen_next = _seen(self.imagined.belief.feat)
        self.algorithm.process_env_step(seen_next, seen.reward, done, {"time_outs": over})
        return seen.reward

    def state(self) -> dict[str, Any]:
        """All that the next iterations depend on, besides the world and the random state."""
        return {"iteration": self.iteration, "learned": self.algorithm.save(), "imagined": self.imagined.tree()}

    def restore(self, state: Any) -> None:
        """Go on from where `state` was taken."""
        self.iteration = state["iteration"]
        self.algorithm.load(state["learned"], None, strict=True)
        self.imagined = self.imagined.filled(state["imagined"])


def _network(cfg: PPOConfig, role: str, inputs: int, outputs: int, distribution: dict[str, Any] | None) -> Any:
    network, _, _ = _library()
    shown = _seen(torch.zeros(1, inputs))
    hidden = [cfg.width] * cfg.depth
    return network(
        shown, GROUPS, role, outputs, hidden_dims=hidden, obs_normalization=True, distribution_cfg=distribution
    )


def _seen(feat: Tensor) -> Any:
    """Beliefs as the library wants observations."""
    from tensordict import TensorDict

    return TensorDict({"belief": feat}, batch_size=[len(feat)])


def _library() -> tuple[Any, Any, Any]:
    """Network, algorithm and storage; raises `UserError` where the library is not installed."""
    try:
        from rsl_rl.algorithms import PPO
        from rsl_rl.models import MLPModel
        from rsl_rl.storage import RolloutStorage
    except ImportError as error:
        raise UserError(f"PPO needs rsl-rl-lib ({error}); install it with `pip install 'glocal[ppo]'`") from error
    return MLPModel, PPO, RolloutStorage
