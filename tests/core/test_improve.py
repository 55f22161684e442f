"""Policy iteration learns where nothing can be differentiated."""

from dataclasses import replace

import pytest
import torch

from glocal.core.improve import ImproveConfig, Policy, PolicyIteration
from glocal.core.replay_buffer import ReplayBuffer
from glocal.core.types import Segment, Step, Trajectory, stack
from glocal.models.policies.actor import Actor, ActorConfig, TwinCritics
from tests.toys import EndingSurrogate, EndingWorld, LinearSurrogate, QuantisedWorld, resting

CONFIG = ImproveConfig(
    iterations=150,
    envs=32,
    horizon=8,
    episode=16,
    warm_up=2,
    gamma=0.9,
    actor_lr=3e-3,
    refresh_minibatches=4,
    replay=256,
)


def learn(link: str, surrogate: LinearSurrogate, iterations: int, **choices: object) -> tuple[float, PolicyIteration]:
    """The mean imagined reward after some iterations."""
    torch.manual_seed(0)
    agent = ActorConfig(width=32)
    cfg = ImproveConfig(**{**CONFIG.__dict__, "link": link, **choices})
    actor, critics = Actor(agent, 1, 1), TwinCritics(agent, 1)
    work = PolicyIteration(cfg, QuantisedWorld(), Policy(surrogate, actor), critics, resting, resting)
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


@pytest.mark.parametrize("choices", [{}, {"imitation": 1.0, "critics_first": 8}])
def test_going_on_from_a_state_changes_nothing(choices):
    _, whole = learn("decouple", LinearSurrogate(), 12, **choices)
    _, half = learn("decouple", LinearSurrogate(), 6, **choices)
    state, random = half.state(), torch.get_rng_state()
    _, other = learn("decouple", LinearSurrogate(slope=9.0), 1, **choices)
    other.restore(state)
    torch.set_rng_state(random)
    for _ in range(6):
        other.iterate()
    for a, b in zip(whole.actor.parameters(), other.actor.parameters(), strict=True):
        assert torch.equal(a, b)
    if choices:
        assert whole.imitation is not None and other.imitation is not None
        for a, b in zip(whole.imitation.actor.parameters(), other.imitation.actor.parameters(), strict=True):
            assert torch.equal(a, b)


def done_at(work: PolicyIteration, x: float) -> float:
    return float(work.actor(work.surrogate.initial(torch.tensor([[x]]))).mean.detach())


def test_a_policy_that_is_held_to_imitation_strays_by_about_step_over_imitation():
    """Nothing is done in the logs; without imitation the point moves to 1 as fast as it can."""
    _, free = learn("decouple", LinearSurrogate(), 60)
    _, held = learn("decouple", LinearSurrogate(), 60, imitation=1.0)
    _, tied = learn("decouple", LinearSurrogate(), 60, imitation=10.0)
    assert done_at(free, -0.5) > 0.8
    assert 0.05 < done_at(held, -0.5) < 0.4
    assert 0.0 < done_at(tied, -0.5) < 0.05


def pushed(count: int, length: int) -> Segment:
    """Points at rest that were last told 0.5."""
    segment = resting(count, length)
    segment.action[:, -1] = 0.5
    return segment


def test_what_is_imitated_is_what_is_shown_and_not_what_else_was_recorded():
    torch.manual_seed(0)
    cfg = ImproveConfig(**{**CONFIG.__dict__, "imitation": 10.0, "refresh_lr": 1e-2})
    agent, surrogate = ActorConfig(width=32), LinearSurrogate()
    policy, critics = Policy(surrogate, Actor(agent, 1, 1)), TwinCritics(agent, 1)
    work = PolicyIteration(cfg, QuantisedWorld(), policy, critics, resting, resting, None, pushed)
    for _ in range(60):
        work.iterate()
    assert done_at(work, 0.5) == pytest.approx(0.5, abs=0.1)


def test_the_actor_stays_as_it_is_while_critics_come_first():
    _, work = learn("decouple", LinearSurrogate(), 0, critics_first=2)
    before = [each.detach().clone() for each in work.actor.parameters()]
    value = [each.detach().clone() for each in work.critics.parameters()]
    work.iterate()
    work.iterate()
    assert all(torch.equal(a, b) for a, b in zip(before, work.actor.parameters(), strict=True))
    assert not all(torch.equal(a, b) for a, b in zip(value, work.critics.parameters(), strict=True))
    work.iterate()
    assert not all(torch.equal(a, b) for a, b in zip(before, work.actor.parameters(), strict=True))


@pytest.mark.parametrize("part", ["critic_epochs", "refresh_minibatches"])
def test_parts_can_be_left_out(part):
    surrogate, agent = LinearSurrogate(), ActorConfig(width=32)
    cfg = ImproveConfig(**{**CONFIG.__dict__, part: 0})
    policy, critics = Policy(surrogate, Actor(agent, 1, 1)), TwinCritics(agent, 1)
    work = PolicyIteration(cfg, QuantisedWorld(), policy, critics, resting, resting)
    assert torch.isfinite(work.iterate()["imag/return"])


def ending(**choices: object) -> PolicyIteration:
    """In a world whose episodes end beyond 1."""
    torch.manual_seed(0)
    cfg, agent = ImproveConfig(**{**CONFIG.__dict__, **choices}), ActorConfig(width=32)
    policy, critics = Policy(EndingSurrogate(), Actor(agent, 1, 1)), TwinCritics(agent, 1)
    return PolicyIteration(cfg, EndingWorld(), policy, critics, resting, resting)


def test_episodes_that_end_begin_anew():
    work = ending()
    work.imagined = replace(work.imagined, context=work.imagined.context.map(lambda x: torch.full_like(x, 5.0)))
    work.iterate()
    assert (work.imagined.age == CONFIG.episode).all() and (work.imagined.context.x > 1).all()
    work.iterate()
    assert (work.imagined.context.x < 3).all()


def test_a_policy_learns_not_to_end_its_episode_from_the_continuation_alone():
    work = ending(temperature=1e-6, temperature_lr=0.0)
    for _ in range(60):
        work.iterate()
    assert float(work.actor(work.surrogate.initial(torch.tensor([[0.8]]))).mean.detach()) < -0.2


def test_the_return_slopes_by_the_continuation_it_is_linked_to():
    work, cont = ending(gamma=0.5), torch.tensor([[1.0, 0.8]], requires_grad=True)
    belief = work.surrogate.initial(torch.zeros(1, 1))
    two = stack([belief, belief])
    seen = Step(torch.zeros(1, 2, 1), torch.ones(1, 2), torch.ones(1, 2))
    zeros = torch.zeros(1, 2)
    trajectory = Trajectory(two, zeros[..., None], zeros[..., None], zeros, zeros + 1, cont, two, seen, zeros)
    (gradient,) = torch.autograd.grad(work.return_of(trajectory).sum(), cont)
    soft = 1 + 0.5 * float(work.log_temperature.detach().exp())  # entropies of 0 count half when normalised
    value = float(work._values(belief).mean(0).detach())
    assert gradient[0].tolist() == pytest.approx([0.5 * soft + 0.25 * 0.8 * value, 0.25 * value])


@pytest.mark.parametrize("dimensions", [1, 3])
def test_the_entropy_target_adds_up_over_dimensions_and_falls_in_the_second_half(dimensions):
    work = ending(iterations=100, target_entropy=-0.5, final_target_entropy=-2.0)
    work.action_dim, found = dimensions, []
    for iteration in (0, 50, 75, 100):
        work.iteration = iteration
        found.append(work._entropy_target())
    assert found == [dimensions * each for each in (-0.5, -0.5, -1.25, -2.0)]


def test_the_imagined_reward_is_that_of_steps_before_an_end():
    """Every environment stands beyond 1, so that the first of the steps, which earns 1, ends it."""
    work = ending()
    work.world = Counting()
    beyond = work.imagined.context.map(lambda x: torch.full_like(x, 5.0))
    work.imagined = replace(work.imagined, context=beyond, age=torch.zeros_like(work.imagined.age))
    assert float(work.iterate()["imag/reward"]) == 1.0


class Counting(EndingWorld):
    """The first step earns 1, the second 2, and so on."""

    def __init__(self):
        self.steps = 0

    def step(self, context, action):
        after, seen = super().step(context, action)
        self.steps += 1
        return after, Step(seen.obs, torch.full_like(seen.reward, self.steps), seen.cont)


def test_entropy_is_normalised_by_the_target_of_all_dimensions():
    work = ending(target_entropy=-0.5)
    work.action_dim = 3
    assert work._normalised(torch.tensor([-1.5, 0.0, 1.5])).tolist() == [0.0, 0.5, 1.0]


def test_steps_after_an_end_are_fitted_by_neither_actor_nor_critics():
    work, other = ending(), ending()
    for one, strange in ((work, 0.0), (other, 3.0)):
        torch.manual_seed(1)
        trajectory, perturbation = one._imagine()
        cont = torch.zeros_like(trajectory.cont)
        belief = trajectory.belief.map(lambda x, s=strange: torch.cat([x[:, :1], x[:, 1:] + s], 1))
        action = torch.cat([trajectory.action[:, :1], trajectory.action[:, 1:] * (1 - strange / 4)], 1)
        ended = replace(trajectory, belief=belief, action=action, cont=cont)
        torch.manual_seed(2)
        one._improve_actor(ended, perturbation)
        one._fit_critics(ended.detach())
    for module in ("actor", "critics"):
        for a, b in zip(work_parameters(work, module), work_parameters(other, module), strict=True):
            assert torch.allclose(a, b, atol=1e-6)


def work_parameters(work: PolicyIteration, module: str) -> list[torch.Tensor]:
    return list(getattr(work, module).parameters())


def test_with_an_episode_of_one_horizon_every_rollout_begins_from_a_recorded_window():
    torch.manual_seed(0)
    cfg, agent = replace(CONFIG, link="imagine", episode=CONFIG.horizon), ActorConfig(width=32)
    policy, critics = Policy(LinearSurrogate(), Actor(agent, 1, 1)), TwinCritics(agent, 1)
    work = PolicyIteration(cfg, QuantisedWorld(), policy, critics, nailed, resting)
    for _ in range(3):
        work.iterate()
    kept = work.replay.windows
    assert kept is not None and work.replay.written == 3 * CONFIG.envs
    assert (kept.obs[: work.replay.written, : CONFIG.warm_up] == 0.625).all()


def nailed(count: int, length: int) -> Segment:
    """Windows that all rest at the same place."""
    windows = resting(count, length)
    return replace(windows, obs=torch.full_like(windows.obs, 0.625))


def test_memory_keeps_the_newest():
    memory = ReplayBuffer(4)
    for value in range(3):
        windows = resting(2, 3)
        memory.add(windows.tensors(lambda x, value=value: torch.full_like(x, value)))
    assert set(memory.draw(64).obs.flatten().tolist()) == {1.0, 2.0}
