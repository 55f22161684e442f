"""Trust: when the alarm rings, and what counts as strange."""

import pytest
import torch

from glocal.core.improve import Policy
from glocal.evaluate.gradients import Given
from glocal.evaluate.trust import Grounds, alarm, strangeness, trust
from tests.toys import LinearSurrogate, LinearWorld, QuantisedWorld, resting


def look(own: float, judge: float, error: float = 0.01) -> dict[str, float]:
    return {"own": own, "judge": judge, "optimism": own - judge, "optimism_error": error}


@pytest.mark.parametrize(
    "looks, rings",
    [
        ([look(0.3, 0.3)], False),
        ([look(0.3, 0.3), look(0.5, 0.5)], False),
        ([look(0.3, 0.3), look(0.5, 0.29)], True),
        ([look(0.3, 0.3), look(0.5, 0.29, error=0.2)], False),
        ([look(0.3, 0.3), look(0.5, 0.35)], False),
        ([look(0.3, 0.3), look(0.25, 0.25)], False),
        ([look(0.3, 0.2), look(0.6, 0.5), look(0.61, 0.3)], True),
        ([look(0.3, 0.2), look(0.6, 0.3), look(0.7, 0.6)], False),
    ],
    ids=[
        "one look says nothing", "both rise", "only its own rises", "within the error", "the judge follows a little",
        "both fall", "compared with the best look", "the judge has caught up",
    ],
)  # fmt: skip
def test_the_alarm_rings_when_optimism_grows_and_the_judge_is_no_happier(looks, rings):
    assert alarm(looks) is rings


def test_strangeness_is_the_distance_to_the_nearest_in_spreads():
    recorded = torch.tensor([[0.0, 0.0], [2.0, 20.0]])  # spreads sqrt 2 and 10 sqrt 2
    found = strangeness(torch.tensor([[2.0, 20.0], [0.0, 10.0]]), recorded)
    assert torch.allclose(found, torch.tensor([0.0, 10 / 200**0.5]), atol=1e-6)


def test_strangeness_in_what_was_never_varied_is_in_thousandths():
    recorded = torch.tensor([[0.0, 5.0], [2.0, 5.0]])
    found = strangeness(torch.tensor([[0.0, 5.002]]), recorded)
    assert torch.allclose(found, torch.tensor([2.0]), atol=1e-2)


class Still(torch.nn.Module):
    """Does nothing."""

    def forward(self, belief):
        return Given(torch.zeros_like(belief.x))


class Kind(LinearWorld):
    """The same, but everything is worth one more."""

    def step(self, context, action):
        context, seen = super().step(context, action)
        return context, type(seen)(seen.obs, seen.reward + 1, seen.cont)


@pytest.mark.parametrize("own, optimism", [(LinearWorld, 0.0), (Kind, 1.0)])
def test_optimism_is_what_the_judge_does_not_confirm(own, optimism):
    torch.manual_seed(0)
    policy, start = Policy(LinearSurrogate(), Still()), resting(32, 3)
    found = trust(policy, Grounds(own(), LinearWorld(), start, start, control_steps=4, horizon=2, gamma=0.9))
    assert found["optimism"] == pytest.approx(optimism, abs=1e-5) and found["noise"] == pytest.approx(0.0, abs=1e-6)


class Brief(LinearWorld):
    """Every step earns one more than the one before, and the second one ends the episode."""

    def step(self, context, action):
        context, seen = super().step(context, action)
        count = torch.full_like(seen.reward, float(context.key))
        return context, type(seen)(seen.obs, count, (count < 2).to(seen.obs))


def test_rewards_after_an_end_do_not_count():
    policy, start = Policy(LinearSurrogate(), Still()), resting(8, 3)
    found = trust(policy, Grounds(Brief(), None, start, start, control_steps=4, horizon=2, gamma=0.9))
    assert found["own"] == pytest.approx(1.5)


def test_without_a_judge_there_is_no_optimism_to_tell():
    policy, start = Policy(LinearSurrogate(), Still()), resting(32, 3)
    found = trust(policy, Grounds(QuantisedWorld(), None, start, start, control_steps=4, horizon=2, gamma=0.9))
    assert set(found) == {"own", "noise", "distance", "cosine"}
