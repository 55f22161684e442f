"""Policy iteration learns where nothing can be differentiated."""

import pytest
import torch

from glocal.agents.actor import Actor, ActorConfig, TwinCritics
from glocal.core.improve import ImproveConfig, Pilot, PolicyIteration
from glocal.core.memory import Memory
from tests.toys import LinearSurrogate, QuantisedWorld, resting

CONFIG = ImproveConfig(
    iterations=150, envs=32, horizon=8, episode=16, warm_up=2, gamma=0.9, actor_rate=3e-3, refresh_batches=4, memory=256
)


def learn(link: str, surrogate: LinearSurrogate, iterations: int) -> tuple[float, PolicyIteration]:
    """The mean imagined reward after some iterations."""
    torch.manual_seed(0)
    agent = ActorConfig(width=32)
    cfg = ImproveConfig(**{**CONFIG.__dict__, "link": link})
    actor, critics = Actor(agent, 1, 1), TwinCritics(agent, 1)
    work = PolicyIteration(cfg, QuantisedWorld(), Pilot(surrogate, actor), critics, resting, resting)
    rewards = [float(work.iterate()["imag/reward"]) for _ in range(iterations)]
    return sum(rewards[-10:]) / 10, work


@pytest.mark.parametrize("link", ["decouple", "infer_noise"])
def test_a_quantised_world_whose_true_gradient_is_zero_is_learned(link):
    before, _ = learn(link, LinearSurrogate(), 10)
    after, _ = learn(link, LinearSurrogate(), 150)
    assert before < -0.4 and after > -0.12, (before, after)


def test_backpropagation_through_the_world_learns_nothing_where_it_is_flat():
    before, _ = learn("bptt", LinearSurrogate(), 10)
    after, _ = learn("bptt", LinearSurrogate(), 100)
    assert after < -0.3, (before, after)


def test_a_wrong_surrogate_is_mended_by_the_refresh():
    after, work = learn("decouple", LinearSurrogate(slope=0.1, offset=0.3), 150)
    assert after > -0.15
    assert float(work.surrogate.get_parameter("slope").detach()) > 0.2


def test_going_on_from_a_state_changes_nothing():
    _, whole = learn("decouple", LinearSurrogate(), 12)
    _, half = learn("decouple", LinearSurrogate(), 6)
    state, random = half.state(), torch.get_rng_state()
    _, other = learn("decouple", LinearSurrogate(slope=9.0), 1)
    other.restore(state)
    torch.set_rng_state(random)
    for _ in range(6):
        other.iterate()
    for a, b in zip(whole.actor.parameters(), other.actor.parameters(), strict=True):
        assert torch.equal(a, b)


@pytest.mark.parametrize("part", ["critic_passes", "refresh_batches"])
def test_parts_can_be_left_out(part):
    surrogate, agent = LinearSurrogate(), ActorConfig(width=32)
    cfg = ImproveConfig(**{**CONFIG.__dict__, part: 0})
    pilot, critics = Pilot(surrogate, Actor(agent, 1, 1)), TwinCritics(agent, 1)
    work = PolicyIteration(cfg, QuantisedWorld(), pilot, critics, resting, resting)
    assert torch.isfinite(work.iterate()["imag/return"])


def test_memory_keeps_the_newest():
    memory = Memory(4)
    for value in range(3):
        windows = resting(2, 3)
        memory.add(windows.tensors(lambda x, value=value: torch.full_like(x, value)))
    assert set(memory.draw(64).obs.flatten().tolist()) == {1.0, 2.0}
