"""iCEM and MPPI: noise that wanders, plans that are found, kept and shifted, or begun with what a policy would do."""

from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch

from glocal.core.types import Segment
from glocal.deploy.planning import ICEM, MPPI, Guide, ICEMConfig, MPPIConfig, coloured_noise
from tests.toys import EndingWorld, LinearWorld

CONFIG = ICEMConfig(samples=64, iterations=4, horizon=4, elites=8, gamma=0.9)
PATHS = MPPIConfig(samples=256, iterations=6, horizon=4, temperature=0.1, gamma=0.9)


def at(*places: float) -> Segment:
    x = torch.tensor(places)[:, None, None].expand(-1, 2, 1)
    flat = torch.zeros(len(places), 2)
    return Segment(x.clone(), torch.zeros_like(x), flat, flat + 1)


@pytest.mark.parametrize("horizon", [2, 5, 10])
@pytest.mark.parametrize("colour", [0.0, 2.0])
def test_noise_has_unit_variance_and_wanders_as_told(horizon, colour):
    noise = coloured_noise(20_000, horizon, 2, colour, torch.Generator().manual_seed(0))
    assert noise.shape == (20_000, horizon, 2)
    assert torch.allclose(noise.std(0), torch.ones(horizon, 2), atol=0.05)
    together = (noise[:, 0] * noise[:, 1]).mean()
    assert (together > 0.2) == (colour > 0 and horizon > 2)


@pytest.mark.parametrize("planner", [ICEM(CONFIG, LinearWorld(), 1, seed=0), MPPI(PATHS, LinearWorld(), 1, seed=0)])
def test_it_goes_where_the_model_says_that_the_reward_is(planner):
    """x' = x + a / 2, and the reward is highest at 1: from 0.9 an action of 0.2 is best, from -1 and 3 the largest."""
    action = planner.act(at(0.9, -1.0, 3.0))
    assert action[0].item() == pytest.approx(0.2, abs=0.1)
    assert action[1].item() > 0.7 and action[2].item() < -0.7


def test_the_next_control_step_begins_with_the_plan_of_this_one():
    planner = ICEM(replace(CONFIG, iterations=1, samples=2, elites=2), LinearWorld(), 1, seed=0)
    planner.mean = torch.tensor([[[0.1], [0.2], [0.3], [0.4]]])
    planner.again = torch.tensor([[[[0.5], [0.6], [0.7], [0.8]]]])
    tried = []
    drawn = planner._drawn
    planner._drawn = lambda *told: tried.append(drawn(*told)) or tried[-1]  # pyright: ignore
    planner.act(at(0.0))
    assert torch.allclose(tried[0][0, -2:, :, 0], torch.tensor([[0.2, 0.3, 0.4, 0.4], [0.6, 0.7, 0.8, 0.8]]))


def test_what_follows_an_end_counts_for_nothing():
    """Every step earns 1, and an episode ends beyond 1: those who stay earn more than those who hurry."""
    planner = ICEM(CONFIG, EndingWorld(), 1, seed=0)
    stay, hurry = torch.zeros(1, 1, 4, 1), torch.ones(1, 1, 4, 1)
    value = planner._value(at(0.9), torch.cat([stay, hurry], 1))
    assert value[0].tolist() == pytest.approx([1 + 0.9 + 0.81 + 0.729, 1.0])


def test_the_same_seed_finds_the_same():
    first, again, other = (ICEM(CONFIG, LinearWorld(), 1, seed).act(at(0.3)) for seed in (0, 0, 1))
    assert torch.equal(first, again) and not torch.equal(first, other)


def test_a_mean_of_plans_weighs_them_by_what_they_are_worth():
    """Of plans that are worth 0, 1 and 1 more each, in units of their deviation and of the temperature."""
    planner = MPPI(replace(PATHS, iterations=1, samples=2, temperature=0.5), LinearWorld(), 1, seed=0)
    plans = torch.tensor([-0.5, 0.1, 0.8])[None, :, None, None].expand(1, 3, 4, 1)
    value = torch.tensor([[0.0, 1.0, 2.0]])
    planner._drawn, planner._value = lambda *_: plans, lambda *_: value  # pyright: ignore[reportAttributeAccessIssue]
    weight = (value / (0.5 * value.std())).softmax(1)
    assert planner.act(at(0.0)).item() == pytest.approx((weight * plans[..., 0, 0]).sum().item())


@pytest.mark.parametrize("kind", [ICEM, MPPI])
def test_a_guide_is_planned_about_and_the_last_plan_tried_beside_it(kind):
    cfg = replace(CONFIG if kind is ICEM else PATHS, iterations=1, samples=2, **({"elites": 2} if kind is ICEM else {}))
    planner = kind(cfg, LinearWorld(), 1, seed=0)
    planner.mean, tried = torch.tensor([[[0.1], [0.2], [0.3], [0.4]]]), []
    drawn = planner._drawn
    planner._drawn = lambda *told: tried.append(drawn(*told)) or tried[-1]  # pyright: ignore
    guide = torch.tensor([[[0.9], [-0.9], [0.9], [-0.9]]])
    planner.act(at(0.0), guide)
    assert torch.equal(tried[0][0, 2:, :, 0], torch.stack([guide[0, :, 0], torch.tensor([0.2, 0.3, 0.4, 0.4])]))
    assert (tried[0][0, :2, :, 0] - guide[0, :, 0]).abs().mean() < (tried[0][0, :2, :, 0]).abs().mean()


def test_a_guide_is_what_a_policy_does_as_the_model_imagines_it():
    """x' = x + a / 2 by an actor that says -x / 2: three quarters of the way are left after each step. What it
    believes after all that it saw, x = 0.8, is where it begins."""
    guide = Guide(Halving(), LinearWorld(), 3)  # pyright: ignore[reportArgumentType]
    guide.see(torch.tensor([[0.4]]))
    guide.see(torch.tensor([[0.8]]), torch.tensor([[0.1]]))
    plan = guide.plan(at(0.8), 0)
    assert torch.allclose(plan[0, :, 0], torch.tensor([-0.4, -0.3, -0.225]))
    assert torch.equal(plan, guide.plan(at(0.8), 0))  # imagining changes nothing


class Halving:
    """A policy that sees x as it is, and does -x / 2."""

    class surrogate:  # noqa: N801
        @staticmethod
        def initial(obs):
            return Seen(obs)

        @staticmethod
        def predict(belief, action):
            return belief

        @staticmethod
        def correct(belief, obs):
            return Seen(obs)

    @staticmethod
    def actor(belief):
        return SimpleNamespace(mean=-0.5 * belief.feat)


class Seen(SimpleNamespace):
    def __init__(self, feat):
        super().__init__(feat=feat)

    def expected(self):
        return self
