"""Gradients held against finite differences: every number by hand, where worlds are straight lines."""

import math

import pytest
import torch

from glocal.core.gradients import bptt, decouple, freeze
from glocal.core.types import Step
from glocal.evaluate.gradients import QUIET, STEP, Agreement, Question, acted, agreement, recommended_horizon
from tests.toys import LinearSurrogate, LinearWorld, resting


class Slanted(LinearWorld):
    """A place is worth itself, and `shaken` times a number that is drawn by the world's key."""

    def __init__(self, shaken: float = 0.0):
        self.shaken = shaken

    def step(self, context, action):
        context, seen = super().step(context, action)
        noise = torch.randn(len(action), generator=torch.Generator().manual_seed(context.key))
        x = seen.obs[:, 0]
        return context, Step(seen.obs, x + self.shaken * noise * x, seen.cont)


class SlantedSurrogate(LinearSurrogate):
    """Knows that, but for the noise."""

    def reward(self, belief):
        return belief.x[..., 0]


def question(first: int = 3, world=None, slope: float = 0.5) -> Question:
    torch.manual_seed(0)
    action = torch.rand(8, 3, 1) - 0.5
    return Question(world or Slanted(), SlantedSurrogate(slope), resting(8, 2), action, gamma=0.5, first=first)


def test_a_gradient_by_hand():
    """Action t moves all places from t on by half: 0.5 (1 + 0.5 + 0.25), 0.5 (0.5 + 0.25), 0.5 * 0.25."""
    slope, gap = question().gradient(decouple, key=0)
    assert torch.allclose(slope[..., 0], torch.tensor([0.875, 0.375, 0.125]).expand(8, 3))
    assert gap.shape == (8, 3) and gap.abs().max() < 1e-6
    assert question(first=2).gradient(decouple, key=0)[0].shape == (8, 2, 1)


def test_a_difference_is_the_slope_along_a_direction_of_the_first_actions():
    direction = torch.tensor([[1.0, -2.0]]).expand(8, 2)[..., None]
    found = question(first=2).difference(direction, key=0)
    assert torch.allclose(found, torch.full((8,), 0.875 - 2 * 0.375), atol=1e-4)


class Bent(LinearWorld):
    """A place is worth its cube."""

    def step(self, context, action):
        context, seen = super().step(context, action)
        return context, Step(seen.obs, seen.obs[:, 0] ** 3, seen.cont)


def test_differences_are_central_and_of_the_step_that_is_said():
    """(x + h)^3 - (x - h)^3 over 2 h is 3 x^2 + h^2, with h half of the step along the action."""
    q = question(first=1, world=Bent())
    q = Question(q.world, q.surrogate, q.begin, q.action[:, :1], gamma=0.5, first=1)
    x = q.begin.obs[:, -1, 0] + 0.5 * q.action[:, 0, 0]
    found = q.difference(torch.full((8, 1, 1), 20.0), key=0)  # a long one, so that the cube is felt
    h = 0.5 * STEP * 20
    assert torch.allclose(found, 20 * 0.5 * (3 * x**2 + h**2), atol=1e-3)


def test_agreement_with_the_truth_and_with_backpropagation():
    found = agreement(question(slope=0.25), {"decouple": decouple, "bptt": bptt}, directions=6)
    assert found["bptt"].cosine == pytest.approx(1.0, abs=1e-4)
    assert found["bptt"].bptt_cosine == pytest.approx(1.0) and found["bptt"].bptt_norm_ratio == pytest.approx(1.0)
    half = found["decouple"]
    assert half.norm_ratio == pytest.approx(0.5, abs=1e-3) and half.bptt_norm_ratio == pytest.approx(0.5, abs=1e-3)
    assert half.low == pytest.approx(half.high) == pytest.approx(1.0, abs=1e-4)
    assert half.median_cosine == pytest.approx(1.0, abs=1e-4) and len(half.gap) == 3
    assert agreement(question(), {"decouple": decouple}, directions=6)["decouple"].bptt_cosine is None


def test_signal_to_noise_is_the_mean_over_the_spread_of_draws():
    """With BPTT the slope of the only action is 0.5 (1 + s n), n normal: 1 over s, nearly."""
    torch.manual_seed(0)
    for shaken in (0.5, 2.0):
        q = Question(Slanted(shaken), SlantedSurrogate(), resting(100, 2), torch.rand(100, 1, 1), 0.5, 1)
        found = agreement(q, {"bptt": bptt}, draws=100, directions=1)["bptt"].signal_to_noise
        assert found == pytest.approx(1 / shaken, rel=0.15)
    assert agreement(q, {"bptt": bptt}, draws=2, directions=1)["bptt"].signal_to_noise < QUIET
    assert math.isnan(agreement(q, {"bptt": bptt}, draws=1, directions=1)["bptt"].signal_to_noise)


def test_the_interval_of_the_cosine_is_wide_where_windows_disagree():
    """Half of the windows' slopes are right and half are turned round."""

    class Turned(SlantedSurrogate):
        def predict(self, belief, action):
            sign = torch.tensor([1.0, -1.0]).repeat(len(action) // 2)[:, None]
            return type(belief)(belief.x + 0.5 * sign * action)

    torch.manual_seed(0)
    q = Question(Slanted(), Turned(), resting(8, 2), torch.rand(8, 1, 1), 0.5, 1)
    found = agreement(q, {"decouple": decouple}, directions=40)["decouple"]
    assert abs(found.cosine) < 0.25 and found.low < -0.4 and found.high > 0.4


def test_what_comes_of_acting_is_the_worlds_answer():
    start = resting(4, 2)
    happened = acted(lambda belief: 0.1 * belief.x, LinearWorld(), LinearSurrogate(slope=7.0), start, 2, key=0)
    x = start.obs[:, -1]
    assert torch.allclose(happened.action[:, 0], 0.1 * x) and torch.allclose(happened.action[:, 1], 0.1 * 1.05 * x)
    assert torch.allclose(happened.seen.obs[:, 1], 1.05**2 * x) and torch.equal(happened.entropy, torch.zeros(4, 2))
    assert not happened.reward.requires_grad


def test_nothing_flows_where_it_is_frozen():
    with pytest.raises(RuntimeError, match="does not require grad"):
        question().gradient(freeze, key=0)


def known(cosine: float, signal: float) -> Agreement:
    return Agreement(cosine, cosine, cosine, cosine, 1.0, None, None, signal, [])


@pytest.mark.parametrize(
    "found, horizon, why",
    [
        ({4: (0.9, 3.0), 8: (0.7, 1.0)}, 8, "the longest that was looked at"),
        ({8: (0.69, 3.0), 4: (0.9, 3.0)}, 4, "at 8 the cosine is 0.69 < 0.7"),
        ({4: (0.9, 0.99)}, None, "at 4 the signal-to-noise ratio is 0.99 < 1.0"),
        ({4: (0.9, 9.0), 8: (0.1, 9.0), 16: (0.9, 9.0)}, 4, "at 8 the cosine is 0.10 < 0.7"),
    ],
)
def test_a_horizon_is_recommended_up_to_the_first_that_fails(found, horizon, why):
    assert recommended_horizon({h: known(*numbers) for h, numbers in found.items()}) == (horizon, why)
