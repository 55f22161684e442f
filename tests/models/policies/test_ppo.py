"""PPO through the adapter: it learns where there is something to learn, and goes on from where it was."""

import sys
from dataclasses import dataclass, replace
from typing import Literal

import pytest
import torch
from torch import Tensor, nn

from glocal.core.improve import Policy
from glocal.core.types import Step
from glocal.models.policies.actor import Actor, ActorConfig
from glocal.models.policies.ppo import NETWORKS, PPOConfig, PPOIteration
from glocal.runtime.files import UserError
from tests.toys import LinearSurrogate, LinearWorld, Place, PlaceBelief, QuantisedWorld, resting

CONFIG = PPOConfig(iterations=40, envs=64, horizon=16, episode=16, warm_up=2, gamma=0.9, first_std=0.5, width=32)
AGENT = ActorConfig(width=32)
both = pytest.mark.parametrize("networks", ["library", "policy"])


def work(networks: Literal["library", "policy"] = "library", cfg: PPOConfig = CONFIG, world=None) -> PPOIteration:
    cfg = replace(cfg, networks=networks)
    policy = Policy(LinearSurrogate().requires_grad_(False), NETWORKS[networks].actor(cfg, AGENT, 1, 1))
    return PPOIteration(cfg, world or QuantisedWorld(), policy, resting)


@both
def test_it_learns_a_world_that_has_no_gradient(networks):
    torch.manual_seed(0)
    ppo = work(networks)
    rewards = [float(ppo.iterate()["imag/reward"]) for _ in range(40)]
    assert sum(rewards[:5]) / 5 < -0.4 and sum(rewards[-5:]) / 5 > -0.2, rewards


@both
def test_going_on_from_a_state_changes_nothing(networks):
    torch.manual_seed(0)
    whole = work(networks)
    for _ in range(3):
        whole.iterate()
    state, random = whole.state(), torch.get_rng_state()
    copied = {**state, "learned": {key: _copied(value) for key, value in state["learned"].items()}}
    for _ in range(3):
        whole.iterate()
    other = work(networks)
    other.restore(copied)
    torch.set_rng_state(random)
    for _ in range(3):
        other.iterate()
    learned = [[*ppo.model.actor.parameters(), *ppo.algorithm.critic.parameters()] for ppo in (whole, other)]
    assert all(torch.equal(a, b) for a, b in zip(*learned, strict=True))


def _copied(tree):
    if isinstance(tree, torch.Tensor):
        return tree.clone()
    if isinstance(tree, dict):
        return {key: _copied(value) for key, value in tree.items()}
    return [_copied(value) for value in tree] if isinstance(tree, list) else tree


class KeyedWorld(QuantisedWorld):
    """The same, which remembers the keys that its noise would be drawn by."""

    def __init__(self):
        self.keys: list[int] = []

    def step(self, context: Place, action: Tensor) -> tuple[Place, Step]:
        self.keys.append(context.key)
        return super().step(context, action)


@pytest.mark.parametrize("horizon", [5, 16])
def test_an_environment_begins_anew_after_an_episode(horizon):
    torch.manual_seed(0)
    world = KeyedWorld()
    ppo = work(cfg=replace(CONFIG, horizon=horizon), world=world)
    for _ in range(3):
        ppo.iterate()
        assert (ppo.imagined.age < CONFIG.episode).all()
    assert len(set(world.keys)) == 3 * horizon, "the world's noise is drawn anew at every step"


def test_without_the_library_it_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "rsl_rl.algorithms", None)
    with pytest.raises(UserError, match=r"pip install 'glocal\[ppo\]'"):
        work()


@dataclass(frozen=True)
class TurnedBelief(PlaceBelief):
    """A belief whose axis points the other way than the table's."""

    def to_action(self, vector: Tensor) -> Tensor:
        return -vector


def test_what_is_deployed_is_the_mean_of_what_the_library_draws_from():
    torch.manual_seed(0)
    ppo = work("policy")
    for _ in range(2):
        ppo.iterate()
    assert type(ppo.model.actor) is Actor
    x = torch.randn(5, 1)
    with torch.no_grad():
        location = ppo.algorithm.actor(ppo._shown(PlaceBelief(x)))
        assert torch.equal(ppo.model.actor(PlaceBelief(x)).mean, location.tanh())
        assert torch.equal(ppo.model.actor(TurnedBelief(x)).mean, (-location).tanh())


def test_the_library_draws_with_the_policys_own_spread():
    torch.manual_seed(0)
    ppo, x = work("policy"), torch.randn(5, 1)
    ppo.model.actor.body[-1].weight.data.mul_(20)
    with torch.no_grad():
        ppo.algorithm.actor(ppo._shown(PlaceBelief(x)), stochastic_output=True)
        std = ppo.model.actor(PlaceBelief(x)).std
    assert torch.equal(ppo.algorithm.actor.output_std, std) and len(std.unique()) > 1


def test_before_it_has_learned_a_value_is_what_staying_would_earn():
    ppo, x = work("policy"), torch.tensor([[-1.0], [0.0], [1.0]])
    nn.init.zeros_(ppo.algorithm.critic.mlp.body[-1].weight)
    values = ppo.algorithm.critic(ppo._shown(PlaceBelief(x)))
    assert values.squeeze(-1).tolist() == pytest.approx([-40.0, -10.0, 0.0])  # -(x - 1)^2 / (1 - 0.9)


class EndingWorld(LinearWorld):
    """It pays 1, and ends for the second environment and the third."""

    def step(self, context: Place, action: Tensor) -> tuple[Place, Step]:
        after, seen = super().step(context, action)
        return after, Step(seen.obs, torch.ones(4), torch.tensor([1.0, 0.0, 0.0, 1.0]))


def test_what_has_run_its_time_is_worth_its_value_still_and_what_has_ended_nothing():
    torch.manual_seed(0)
    ppo = work("policy", replace(CONFIG, envs=4, horizon=1, episode=3), EndingWorld())
    old = ppo.cfg.episode - 1
    ppo.imagined = replace(ppo.imagined, age=torch.tensor([old, 0, old, 0]))  # over, ended, both, neither
    with torch.no_grad():
        before = ppo.algorithm.critic(ppo._shown(ppo.imagined.belief))[:, 0]
        ppo._act(ppo.environments.begin(torch.zeros(4, dtype=torch.long)))
        after = ppo.algorithm.critic(ppo._shown(ppo.imagined.belief))[:, 0]
        ppo.algorithm.compute_returns(ppo._shown(ppo.imagined.belief))
    expected = [1 + 0.9 * float(before[0]), 1.0, 1.0, 1 + 0.9 * float(after[3])]
    assert ppo.algorithm.storage.returns[0, :, 0].tolist() == pytest.approx(expected, rel=1e-5)
    assert ppo.imagined.age.tolist() == [0, 0, 0, 1]


def test_what_has_ended_begins_anew():
    torch.manual_seed(0)
    ppo = work("policy", replace(CONFIG, envs=4), EndingWorld())
    fresh = ppo.environments.begin(torch.zeros(4, dtype=torch.long))
    with torch.no_grad():
        ppo._act(fresh)
    begun = (ppo.imagined.belief.feat == fresh.belief.feat).squeeze(-1)
    assert begun[1:3].all() and not begun[3]
