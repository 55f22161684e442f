"""PPO through the adapter: it learns where there is something to learn, and goes on from where it was."""

import sys

import pytest
import torch

from glocal.agents.ppo import PPOActor, PPOConfig, PPOIteration
from glocal.core.improve import Pilot
from glocal.files import UserError
from tests.toys import LinearSurrogate, QuantisedWorld, resting

CONFIG = PPOConfig(iterations=40, envs=64, horizon=16, episode=16, warm_up=2, gamma=0.9, first_std=0.5, width=32)


def work() -> PPOIteration:
    pilot = Pilot(LinearSurrogate().requires_grad_(False), PPOActor(CONFIG, 1, 1))
    return PPOIteration(CONFIG, QuantisedWorld(), pilot, resting)


def test_it_learns_a_world_that_has_no_gradient():
    torch.manual_seed(0)
    ppo = work()
    rewards = [float(ppo.iterate()["imag/reward"]) for _ in range(40)]
    assert sum(rewards[:5]) / 5 < -0.4 and sum(rewards[-5:]) / 5 > -0.2, rewards


def test_going_on_from_a_state_changes_nothing():
    torch.manual_seed(0)
    whole = work()
    for _ in range(3):
        whole.iterate()
    state, random = whole.state(), torch.get_rng_state()
    copied = {**state, "learned": {key: _copied(value) for key, value in state["learned"].items()}}
    for _ in range(3):
        whole.iterate()
    other = work()
    other.restore(copied)
    torch.set_rng_state(random)
    for _ in range(3):
        other.iterate()
    for a, b in zip(whole.model.actor.parameters(), other.model.actor.parameters(), strict=True):
        assert torch.equal(a, b)


def _copied(tree):
    if isinstance(tree, torch.Tensor):
        return tree.clone()
    if isinstance(tree, dict):
        return {key: _copied(value) for key, value in tree.items()}
    return [_copied(value) for value in tree] if isinstance(tree, list) else tree


@pytest.mark.parametrize("horizon", [5, 16])
def test_an_environment_begins_anew_after_an_episode(horizon):
    torch.manual_seed(0)
    ppo = work()
    keys = {ppo.imagined.context.key}
    for _ in range(horizon):
        with torch.no_grad():
            ppo._act(ppo.environments.begin(torch.zeros(CONFIG.envs, dtype=torch.long)))
        keys.add(ppo.imagined.context.key)
        assert (ppo.imagined.age < CONFIG.episode).all()
    assert len(keys) == horizon + 1, "the world's noise is drawn anew at every step"


def test_without_the_library_it_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "rsl_rl.algorithms", None)
    with pytest.raises(UserError, match=r"pip install 'glocal\[ppo\]'"):
        work()
