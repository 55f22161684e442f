"""iCEM: noise that wanders, plans that are found, kept and shifted."""

from dataclasses import replace

import pytest
import torch

from glocal.core.types import Segment
from glocal.deploy.planning import ICEM, ICEMConfig, coloured_noise
from tests.toys import EndingWorld, LinearWorld

CONFIG = ICEMConfig(samples=64, iterations=4, horizon=4, elites=8, gamma=0.9)


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


def test_it_goes_where_the_model_says_that_the_reward_is():
    """x' = x + a / 2, and the reward is highest at 1: from 0.9 an action of 0.2 is best, from -1 and 3 the largest."""
    action = ICEM(CONFIG, LinearWorld(), 1, seed=0).act(at(0.9, -1.0, 3.0))
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
