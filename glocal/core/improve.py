"""Policy iteration between two models: imagine with the global one, improve with the local one's gradients.

One `iterate` is, in order: restart what has run its time, roll out, improve the actor (first order, once critics that
come first are fitted), tune the temperature, fit the critics to the world's rewards, refresh the local model around
what the policy now visits, and with it the cloned actor that the policy is held near, if any.
"""

from dataclasses import dataclass, replace
from typing import Annotated, Any, Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn

from glocal.core.ascent import departure, improved
from glocal.core.environments import Environments, Imagined, Source
from glocal.core.fitting import Partners, descend, flat, minibatches, share
from glocal.core.gradients import LINKS
from glocal.core.imitation import Imitation
from glocal.core.matching import Matching
from glocal.core.ranges import Amount, Count, Finite, Part, Positive, Range, Rate, Share, Small
from glocal.core.replay_buffer import ReplayBuffer
from glocal.core.returns import alive, discount_weights, lambda_return, weighted_mean
from glocal.core.rollout import rollout
from glocal.core.types import Belief, Segment, Surrogate, Trajectory, World, cat

Metrics = dict[str, Tensor]
SHARED = ("envs", "replay", "refresh_size")
"""Choices that count what all partners have together."""


@dataclass(frozen=True)
class ImproveConfig:
    """Choices for the policy iteration (SAPO's objective, arXiv 2412.12089; DMO's scheme, 2509.00215)."""

    link: Literal["decouple", "infer_noise", "imagine", "freeze", "bptt"] = "decouple"
    """Whose values and whose gradients: see `core.gradients`."""
    iterations: Count = 600
    envs: Annotated[int, Range(1, 1_000_000)] = 256
    horizon: Small = 8
    episode: Annotated[int, Range(1, 10_000)] = 48
    """Imagined control steps after which an environment begins anew from a recorded window."""
    warm_up: Small = 4
    """Recorded observations that an imagined environment begins with."""
    gamma: Part = 0.97
    lam: Share = 0.95
    actor_lr: Rate = 1e-3
    critic_lr: Rate = 5e-4
    final_lr: Share = 0.05
    """Share of the learning rates that is left at the end of their linear decay."""
    betas: tuple[Part, Part] = (0.9, 0.99)
    clip: Positive = 0.5
    actor_epochs: Annotated[int, Range(1, 1000)] = 4
    """Over a rollout, in each of which the actor is fitted to improved actions; with one epoch of one minibatch it
    takes a single step along its parameters' gradient, as the paper does (but for its length)."""
    actor_minibatches: Count = 4
    step: Positive = 0.1
    """Root mean square by which actions are improved."""
    longest_step: Positive = 0.5
    """None is moved by more than this."""
    critic_epochs: Annotated[int, Range(0, 1000)] = 4
    critic_minibatches: Count = 4
    imitation: Amount = 0.0
    """How strongly the policy is held to what a policy cloned from the logs would do where it is: improvement takes
    actions away from that by about `step / imitation`. For demonstrations, beside which the global model is often wrong
    (behaviour regularisation, arXiv 1911.11361); it needs a warm start."""
    critics_first: Annotated[int, Range(0, 100_000)] = 0
    """Iterations at the beginning in which actor and temperature stay as they are (schedules go on), so that critics
    that know nothing yet do not undo a warm start."""
    temperature: Positive = 0.02
    temperature_lr: Amount = 2e-2
    target_entropy: Annotated[float, Range(-1000, 0, open_high=True)] = -0.5
    """For each dimension of an action, as in SAPO (arXiv 2412.12089)."""
    final_target_entropy: Finite = -2.0
    """In the second half the target falls linearly to this: a policy paid for noise stops just short of its goal."""
    refresh_minibatches: Annotated[int, Range(0, 1000)] = 2
    refresh_size: Annotated[int, Range(1, 100_000)] = 16
    """Imagined windows, and as many recorded ones, in a refresh's minibatch."""
    refresh_lr: Rate = 3e-4
    replay: Count = 8192
    """Imagined windows that are kept for the refresh."""


class Policy(nn.Module):
    """What is deployed: the actor, and the surrogate that keeps its belief."""

    def __init__(self, surrogate: Surrogate[Any], actor: nn.Module):
        super().__init__()
        self.surrogate = surrogate
        self.actor = actor


def _shared_out(cfg: ImproveConfig, partners: Partners | None) -> ImproveConfig:
    """What is one partner's of an iteration."""
    if partners is None or partners.size == 1:
        return cfg
    assert not any(getattr(cfg, name) % partners.size for name in SHARED), "what partners share divides evenly"
    return replace(cfg, **{name: getattr(cfg, name) // partners.size for name in SHARED})


class PolicyIteration:
    """Improves a policy in imagination; owns the optimisers, the replay buffer and the imagined environments."""

    def __init__(
        self,
        cfg: ImproveConfig,
        world: World,
        policy: Policy,
        critics: nn.Module,
        starts: Source,
        recorded: Source,
        matching: Matching | None = None,
        shown: Source | None = None,
        partners: Partners | None = None,
    ):
        """Of several partners each has its share of the environments, of the replay buffer and of what the local model
        is refreshed on, and random numbers of its own. Where the policy is held to imitation, its actor as it is now
        stands for what the logs would do; it follows what `shown` draws, which without it is what `recorded` does."""
        self.whole, self.partners, self.link = cfg, partners, LINKS[cfg.link]
        self.cfg = cfg = _shared_out(cfg, partners)
        self.key = int(torch.randint(2**31, ())) if partners and partners.size > 1 else 0
        self._begin_own_numbers(0)
        self.world, self.model, self.critics = world, policy, critics
        self.surrogate, self.actor = surrogate, actor = policy.surrogate, policy.actor
        self.recorded, self.matching, self.shown = recorded, matching, shown or recorded
        self.imitation = Imitation(actor, cfg.refresh_lr, partners) if cfg.imitation else None
        self.environments = Environments(world, surrogate, starts, cfg.envs, cfg.warm_up, cfg.episode)
        device = next(actor.parameters()).device
        self.log_temperature = torch.tensor(cfg.temperature, device=device).log().requires_grad_()
        self.actor_optimizer = torch.optim.AdamW(actor.parameters(), lr=cfg.actor_lr, betas=cfg.betas)
        self.critic_optimizer = torch.optim.AdamW(critics.parameters(), lr=cfg.critic_lr, betas=cfg.betas)
        self.temperature_optimizer = torch.optim.Adam([self.log_temperature], lr=cfg.temperature_lr)
        self.surrogate_optimizer = torch.optim.AdamW(surrogate.parameters(), lr=cfg.refresh_lr)
        self.replay = ReplayBuffer(cfg.replay)
        self.iteration = 0
        self.imagined = self.environments.begin(torch.randint(cfg.episode, (cfg.envs,), device=device))
        self.action_dim = self.imagined.recent.action.shape[-1]

    @property
    def total(self) -> int:
        """Iterations from beginning to end."""
        return self.cfg.iterations

    @property
    def per_iteration(self) -> int:
        """Imagined steps in an iteration."""
        return self.whole.envs * self.cfg.horizon

    def iterate(self) -> Metrics:
        """One policy iteration: `envs` times `horizon` imagined steps."""
        self._begin_own_numbers(self.iteration + 1)
        self._decay_rates()
        self.imagined = self.environments.restart(self.imagined)
        trajectory, perturbation = self._imagine()
        improving = self.iteration >= self.cfg.critics_first
        metrics = self._improve_actor(trajectory, perturbation) if improving else {}
        metrics |= self._fit_critics(trajectory.detach()) | self._refresh()
        self.iteration += 1
        gap, lived = trajectory.gap.mean(0), alive(trajectory.cont.detach())
        steps = torch.tensor(float(self.iteration * self.per_iteration), dtype=torch.float64)
        return (
            metrics
            | {"imag/reward": weighted_mean(trajectory.seen.reward.detach(), lived), "imag/steps": steps}
            | {f"gap/step{t + 1}": gap[t] for t in range(self.cfg.horizon)}
        )

    def state(self) -> dict[str, Any]:
        """All that the next iterations depend on, besides the world and the random state."""
        return {
            "iteration": self.iteration,
            "modules": [module.state_dict() for module in self._modules()],
            "optimizers": [optimizer.state_dict() for optimizer in self._optimizers()],
            "log_temperature": self.log_temperature.detach(),
            "imagined": self.imagined.tree(),
            "replay": self.replay.tree(),
        }

    def restore(self, state: Any) -> None:
        """Go on from where `state` was taken."""
        self.iteration = state["iteration"]
        for module, kept in zip(self._modules(), state["modules"], strict=True):
            module.load_state_dict(kept)
        for optimizer, kept in zip(self._optimizers(), state["optimizers"], strict=True):
            optimizer.load_state_dict(kept)
        self.log_temperature.data.copy_(state["log_temperature"])
        first = self.partners is None or self.partners.rank == 0
        if first and len(state["imagined"]["age"]) == self.cfg.envs:  # else others were at it: theirs are not kept
            self.imagined = self.imagined.filled(state["imagined"])
            self.replay.restore(state["replay"], self.log_temperature.device)

    def _begin_own_numbers(self, turn: int) -> None:
        """Random numbers that no partner draws."""
        if self.partners and self.partners.size > 1:
            torch.manual_seed(self.key + turn * self.partners.size + self.partners.rank)

    def _modules(self) -> list[nn.Module]:
        return [self.surrogate, self.actor, self.critics, *([self.imitation.actor] if self.imitation else [])]

    def _optimizers(self) -> list[torch.optim.Optimizer]:
        owners = (self.actor_optimizer, self.critic_optimizer, self.temperature_optimizer, self.surrogate_optimizer)
        return [*owners, *([self.imitation.optimizer] if self.imitation else [])]

    def _imagine(self) -> tuple[Trajectory, Tensor]:
        """Roll out from where the environments stand, and let them run on from where they come to.

        Also returns the zeros that were added to the actions, for derivatives.
        """
        now, horizon = self.imagined, self.cfg.horizon
        perturbation = torch.zeros(self.cfg.envs, horizon, self.action_dim, device=self.log_temperature.device)
        perturbation.requires_grad_()
        context, belief, trajectory = rollout(
            self.actor, self.world, self.surrogate, now.context, now.belief, horizon, self.link, perturbation
        )
        seen = trajectory.seen.detach()
        happened = cat([now.recent, Segment(seen.obs, trajectory.action.detach(), seen.reward, seen.cont)])
        self.replay.add(happened)
        recent = happened[:, -self.cfg.warm_up :]
        age = self.environments.aged(now.age, trajectory.cont.detach())
        self.imagined = Imagined(context.detach(), belief.detach(), recent, age)
        return trajectory, perturbation

    def return_of(self, trajectory: Trajectory) -> Float[Tensor, " b"]:
        """J = sum_t gamma^t (r_t + alpha H_t) + gamma^H V(b_H), for each environment."""
        temperature = self.log_temperature.detach().exp()
        weights = discount_weights(trajectory.cont, self.cfg.gamma)
        soft = trajectory.reward + temperature * self._normalised(trajectory.entropy)
        value = self._values(trajectory.after[:, -1]).mean(0)
        return (weights[:, :-1] * soft).sum(1) + weights[:, -1] * value

    def _improve_actor(self, trajectory: Trajectory, perturbation: Tensor) -> Metrics:
        """Fit the actor to actions improved along dJ/da, and to its entropy's target."""
        return_ = self.return_of(trajectory)
        (gradient,) = torch.autograd.grad(return_.sum(), perturbation, materialize_grads=True)
        lived = alive(trajectory.cont.detach())
        wanted = improved(trajectory.action.detach(), gradient, lived, self.cfg.step, self.cfg.longest_step)
        belief, noise, wanted = trajectory.belief.detach().tensors(flat), flat(trajectory.noise), flat(wanted)
        weight, temperature, norms = flat(lived), self.log_temperature.detach().exp(), []
        for rows in minibatches(len(wanted), self.cfg.actor_epochs, self.cfg.actor_minibatches, wanted.device):
            choice = self.actor(belief[rows])
            away = departure(choice.rsample(noise[rows]), wanted[rows], weight[rows], self.cfg.step)
            if self.imitation:
                usual = self.imitation(belief[rows])
                away = away + self.cfg.imitation * departure(choice.mean, usual, weight[rows], self.cfg.step)
            loss = away - temperature * weighted_mean(self._normalised(choice.entropy()), weight[rows])
            norms.append(descend(loss, self.actor, self.actor_optimizer, self.cfg.clip, self.partners))
        entropy = weighted_mean(trajectory.entropy.detach(), lived)
        share([entropy], self.partners)
        self._tune_temperature(entropy)
        return {
            "imag/return": return_.detach().mean(),
            "policy/action_gradient": gradient.norm(dim=-1).mean(),
            "policy/entropy": entropy,
            "policy/gradient_norm": torch.stack(norms).mean(),
            "policy/temperature": temperature,
        }

    def _normalised(self, entropy: Tensor) -> Tensor:
        """(H + |H_target|) / (2 |H_target|) (arXiv 2412.12089, Sec. 4.2)."""
        scale = abs(self.cfg.target_entropy) * self.action_dim
        return (entropy + scale) / (2 * scale)

    def _tune_temperature(self, entropy: Tensor) -> None:
        """Raise the temperature where the entropy is below its target, lower it where it is above."""
        self.temperature_optimizer.zero_grad()
        (self.log_temperature * (entropy - self._entropy_target())).backward(inputs=[self.log_temperature])
        self.temperature_optimizer.step()

    def _entropy_target(self) -> float:
        """Held for half of all iterations, then falling; each dimension of an action adds its own."""
        cfg = self.cfg
        falling = max(0.0, 2 * self.iteration / cfg.iterations - 1)
        return self.action_dim * (cfg.target_entropy + falling * (cfg.final_target_entropy - cfg.target_entropy))

    def _values(self, belief: Belief) -> Float[Tensor, "..."]:
        """V(b) = R(b) / (1 - gamma) + v(b): what staying where one is would earn, and what the critics add to it.

        Nearly all of a return is what the scene as it stands is worth; critics that had to tell it would drown in it
        the little that the next actions change.
        """
        return self.critics(belief.feat) + self._staying(belief)

    def _staying(self, belief: Belief) -> Float[Tensor, "*batch"]:
        return self.surrogate.reward(belief) / (1 - self.cfg.gamma)

    def _fit_critics(self, trajectory: Trajectory) -> Metrics:
        """Regress both critics on TD(lambda) targets of the world's rewards, along the world's trajectory."""
        feat, target = self._value_targets(trajectory)
        weight, losses = flat(alive(trajectory.cont)), []
        for rows in minibatches(len(target), self.cfg.critic_epochs, self.cfg.critic_minibatches, target.device):
            loss = weighted_mean((self.critics(feat[rows]) - target[rows]).pow(2).sum(0), weight[rows])
            descend(loss, self.critics, self.critic_optimizer, self.cfg.clip, self.partners)
            losses.append(loss.detach())
        fitted = {"critic/loss": torch.stack(losses).mean()} if losses else {}
        return fitted | {"critic/target": weighted_mean(target, weight)}

    @torch.no_grad()
    def _value_targets(self, trajectory: Trajectory) -> tuple[Float[Tensor, "n f"], Float[Tensor, " n"]]:
        """The features of all beliefs, and the soft TD(lambda) returns from them on; the lesser critic bootstraps."""
        cfg = self.cfg
        value = self._values(trajectory.after).amin(0)
        soft = trajectory.reward + self.log_temperature.exp() * self._normalised(trajectory.entropy)
        target = lambda_return(soft, value, trajectory.cont, cfg.gamma, cfg.lam)
        added = target - self._staying(trajectory.belief)
        return flat(trajectory.belief.feat), added.flatten()

    def _refresh(self) -> Metrics:
        """Fit the local model to imagined and recorded windows, half and half, and the cloned actor to its beliefs."""
        losses, length = [], self.cfg.warm_up + self.cfg.horizon
        for _ in range(self.cfg.refresh_minibatches):
            loss, _ = self.surrogate.loss(self._both(self.cfg.refresh_size, length))
            if self.matching is not None:
                matched = self.matching.loss(self.surrogate, self._both(self.matching.cfg.batch // 2, length))
                loss = loss + self.matching.cfg.weight * matched
            descend(loss, self.surrogate, self.surrogate_optimizer, 1.0, self.partners)
            losses.append(loss.detach())
        if self.imitation and losses:
            self.imitation.follow(self.surrogate, self.shown(self.cfg.envs, self.cfg.warm_up + 1))
        return {"refresh/loss": torch.stack(losses).mean()} if losses else {}

    def _both(self, size: int, length: int) -> Segment:
        """As many imagined windows as recorded ones."""
        return cat([self.replay.draw(size), self.recorded(size, length)], dim=0)

    def _decay_rates(self) -> None:
        left = 1 - (1 - self.cfg.final_lr) * self.iteration / self.cfg.iterations
        self.actor_optimizer.param_groups[0]["lr"] = self.cfg.actor_lr * left
        self.critic_optimizer.param_groups[0]["lr"] = self.cfg.critic_lr * left
