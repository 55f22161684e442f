"""Which way a policy iteration goes: signs, temperatures and targets, by hand and by what comes of them."""

from dataclasses import replace

import pytest
import torch

from glocal.core.improve import ImproveConfig, Policy, PolicyIteration
from glocal.core.matching import Matching, MatchingConfig
from glocal.core.types import Segment, Step, Trajectory, cat, stack
from glocal.models.policies.actor import Actor, ActorConfig, TwinCritics
from tests.toys import LinearSurrogate, LinearWorld, PlaceBelief, resting

CONFIG = ImproveConfig(
    iterations=100, envs=16, horizon=3, episode=6, warm_up=2, gamma=0.5, actor_lr=1e-2, refresh_minibatches=0,
    replay=64, temperature=1e-4, temperature_lr=1e-6,
)  # fmt: skip


class Worth(LinearSurrogate):
    """A place is worth `sign` times how far right it lies."""

    def __init__(self, sign: float):
        super().__init__()
        self.sign = sign

    def reward(self, belief):
        return self.sign * belief.x[..., 0]


class WorthWorld(LinearWorld):
    """The same rewards."""

    def __init__(self, sign: float):
        self.sign = sign

    def step(self, context, action):
        context, seen = super().step(context, action)
        return context, Step(seen.obs, self.sign * seen.obs[..., 0], seen.cont)


def iteration(
    sign: float = 0.0, matching: Matching | None = None, recorded=resting, std: float = 0.4, **choices
) -> PolicyIteration:
    torch.manual_seed(0)
    agent = ActorConfig(width=16, first_std=std)
    policy, critics = Policy(Worth(sign), Actor(agent, 1, 1)), TwinCritics(agent, 1)
    return PolicyIteration(replace(CONFIG, **choices), WorthWorld(sign), policy, critics, resting, recorded, matching)


def mean_action(work: PolicyIteration) -> float:
    return float(work.actor(PlaceBelief(torch.linspace(-1, 1, 21)[:, None])).mean.mean().detach())


@pytest.mark.parametrize("sign", [1.0, -1.0])
@pytest.mark.parametrize("link", ["decouple", "infer_noise", "imagine", "bptt"])
def test_actions_go_where_the_reward_is(sign, link):
    work = iteration(sign, link=link)
    before = mean_action(work)
    for _ in range(6):
        work.iterate()
    assert sign * (mean_action(work) - before) > 0.1


@pytest.mark.parametrize("std, rises", [(0.05, True), (0.4, False)])
def test_the_temperature_rises_where_entropy_is_below_its_target_and_falls_where_it_is_above(std, rises):
    """With a spread of 0.05 a policy's entropy is about 1.4 + ln 0.05 = -1.6, with one of 0.4 about 0.4."""
    work = iteration(std=std, temperature=0.1, temperature_lr=0.05, target_entropy=-0.5)
    found = [float(work.iterate()["policy/temperature"]) for _ in range(4)]
    assert found[0] == pytest.approx(0.1) and (found[-1] > 0.1) is rises and (found[-1] < 0.1) is not rises


def test_where_nothing_is_worth_more_a_policy_that_is_paid_for_noise_gets_noisier():
    work = iteration(std=0.05, temperature=3.0, critic_epochs=0)
    found = [float(work.iterate()["policy/entropy"]) for _ in range(8)]
    assert found[-1] > found[0] + 0.3


def trajectory(entropy: list[float], reward: list[float], places: list[float]) -> Trajectory:
    """One environment that goes from place to place; the world says that it goes on."""
    at = [PlaceBelief(torch.tensor([[x]])) for x in places]
    told, rewards, ones = torch.tensor([entropy]), torch.tensor([reward]), torch.ones(1, len(reward))
    seen = Step(torch.zeros(1, len(reward), 1), 100 * rewards, ones)
    zeros = torch.zeros(1, len(reward), 1)
    return Trajectory(stack(at[:-1]), zeros, zeros, told, rewards, ones, stack(at[1:]), seen, zeros[..., 0])


class Critics(torch.nn.Module):
    """The first critic says x, the second x + 2."""

    def __init__(self):
        super().__init__()
        self.more = torch.nn.Parameter(torch.tensor([0.0, 2.0]))

    def forward(self, feat):
        return feat[..., 0] + self.more.view(2, *[1] * (feat.ndim - 1))


def judged(**choices) -> PolicyIteration:
    torch.manual_seed(0)
    choices = {"temperature": 0.1, "target_entropy": -2.0, "lam": 0.75} | choices
    work = iteration(1.0, **choices)
    work.critics = Critics()
    return work


MOVED = trajectory(entropy=[2.0, -2.0], reward=[3.0, 5.0], places=[0.0, 1.0, 4.0])
"""With a target of -2 the entropies count (2 + 2) / 4 = 1 and 0, times the temperature 0.1."""


def test_a_return_is_what_is_earned_and_how_it_ends():
    """V(4) is what staying earns, 4 / (1 - 0.5), and the mean of the critics, 5: (3 + 0.1) + 0.5 * 5 + 0.25 * 13."""
    poorer = trajectory(entropy=[2.0, -2.0], reward=[2.0, 5.0], places=[0.0, 1.0, 4.0])
    both = cat([MOVED, poorer], dim=0)
    assert judged().return_of(both).tolist() == pytest.approx([3.1 + 2.5 + 3.25, 2.1 + 2.5 + 3.25])


def test_critics_are_fitted_to_what_follows_beyond_staying_by_the_lesser_of_them():
    """Values after: 1 + 2 and 4 + 8. G1 = 5 + 0.5 * 12 = 11; G0 = 3.1 + 0.5 (0.25 * 3 + 0.75 * 11) = 7.6."""
    feat, target = judged()._value_targets(MOVED)
    assert feat.tolist() == [[0.0], [1.0]]
    assert target.tolist() == pytest.approx([7.6 - 0.0, 11.0 - 2.0])  # less what staying at 0 and at 1 would earn


def test_critics_come_nearer_to_the_targets_of_a_rollout():
    work = iteration(critic_lr=1e-2)
    happened = work._imagine()[0].detach()
    happened = replace(happened, reward=torch.ones_like(happened.reward))
    found = [float(work._fit_critics(happened)["critic/loss"]) for _ in range(15)]
    assert found[-1] < 0.5 * found[0]
    assert work.critics(happened.belief.feat).mean() > 0.5  # on the way to 1 + 0.5 + 0.25


def test_learning_rates_fall_linearly_to_their_final_share():
    work, found = iteration(iterations=4, actor_lr=1e-2, critic_lr=4e-3, final_lr=0.2), []
    for _ in range(4):
        work.iterate()
        found.append([o.param_groups[0]["lr"] for o in (work.actor_optimizer, work.critic_optimizer)])
    shares = [1.0, 0.8, 0.6, 0.4]
    assert found == [pytest.approx([1e-2 * share, 4e-3 * share]) for share in shares]
    assert work.surrogate_optimizer.param_groups[0]["lr"] == CONFIG.refresh_lr


def test_what_an_iteration_tells():
    work = iteration()
    for count in (1, 2):
        found = work.iterate()
        assert float(found["imag/steps"]) == count * 16 * 3 and work.per_iteration == 48 and work.total == 100
        assert {f"gap/step{t}" for t in (1, 2, 3)} <= set(found) and "gap/step4" not in found
        assert "refresh/loss" not in found


def test_gaps_are_told_step_by_step_as_means_over_environments():
    work = iteration()
    imagine, seen = work._imagine, []

    def kept():
        seen.append(imagine())
        return seen[-1]

    work._imagine = kept  # pyright: ignore[reportAttributeAccessIssue]
    metrics = work.iterate()
    by_step = seen[0][0].gap.mean(0)
    assert [float(metrics[f"gap/step{t + 1}"]) for t in range(len(by_step))] == pytest.approx(by_step.tolist())
    assert len(by_step) == work.cfg.horizon and "gap/step0" not in metrics


def test_a_refresh_mixes_imagined_and_recorded_windows_half_and_half():
    asked, lost = [], []

    def recorded(count: int, length: int) -> Segment:
        asked.append((count, length))
        return resting(count, length).tensors(lambda x: x + 50)

    work = iteration(recorded=recorded, refresh_minibatches=2, refresh_size=7)
    loss = work.surrogate.loss
    work.surrogate.loss = lambda windows: (lost.append(windows.reward), loss(windows))[1]
    work.iterate()
    assert asked == [(7, 5)] * 2  # two to begin with and three imagined
    for rewards in lost:
        assert rewards.shape == (14, 5) and (rewards > 40).all(1).tolist() == [False] * 7 + [True] * 7


def test_derivative_matching_weighs_as_much_as_it_is_told():
    """The world's slope is 0.5, the surrogate's 0.9: 0.5 * 0.4^2 is added, times the weight."""
    found = []
    for weight in (0.0, 10.0):
        cfg = MatchingConfig(weight=weight, batch=6, action=0.1, state=0.0)
        work = iteration(
            matching=Matching(cfg, LinearWorld(), torch.ones(1), torch.tensor([0]), 3),
            refresh_minibatches=1,
            refresh_lr=1e-9,
        )
        work.surrogate.slope.data.fill_(0.9)  # pyright: ignore[reportAttributeAccessIssue]
        work.surrogate.loss = lambda windows, slope=work.surrogate.slope: (0 * slope, {})
        found.append(float(work.iterate()["refresh/loss"]))
    assert found == pytest.approx([0.0, 10 * 0.5 * 0.4**2], abs=1e-3)


def test_a_rollout_goes_on_where_the_one_before_came_to():
    work = iteration(episode=1000)
    work.imagined = replace(work.imagined, age=torch.zeros(16, dtype=torch.long))
    before = work.imagined.context.x.clone()
    work.iterate()
    kept = work.replay.windows.obs[:16, :, 0]
    assert torch.equal(kept[:, 1], before[:, 0]) and torch.equal(kept[:, -1], work.imagined.context.x[:, 0])
    assert torch.equal(work.imagined.recent.obs[..., 0], kept[:, -2:]) and (work.imagined.age == 3).all()
    assert torch.equal(work.imagined.belief.x[:, 0], kept[:, -1])
    assert torch.allclose(kept[:, 1:] - kept[:, :-1], 0.5 * work.replay.windows.action[:16, 1:, 0], atol=1e-6)
