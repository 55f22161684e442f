"""One control step as a function: it does what the controller does, and how surprised it is was worked out by hand."""

import math

import numpy as np
import pytest
import torch

from glocal.core.improve import Policy
from glocal.core.types import Segment
from glocal.deploy.controllers import learned
from glocal.deploy.interface import largest_change
from glocal.deploy.step import PolicyStep
from glocal.deploy.surprise import LEAST, MEMORY, Surprise, calibrate
from tests.deploy.test_controllers import TABLE, Doubting, Hiding, Remembering, seen, started


class Expecting(Remembering):
    """Expects to see what it believes, and keypoints where they are."""

    def observe(self, belief):
        return torch.cat([torch.full((len(belief.x), 16), -1.0), belief.x], dim=-1)


def test_it_acts_as_the_controller_does_and_what_is_hidden_stays_where_it_was():
    policy = Policy(Expecting(), Doubting())
    step, controller = (
        PolicyStep(Hiding(TABLE), policy, Surprise(torch.ones(18))),
        started(learned(Hiding(TABLE), policy)),
    )
    state = None
    for t, x in enumerate((-0.8, 0.6, 0.6, -0.2)):
        shown = seen((x, 0.1))
        fields = {"keypoints": torch.zeros(1, 16), "agent": torch.tensor(shown[0].agent[None]).float()}
        state = step.nothing(fields) if state is None else state
        action, _, state = step(fields, state, torch.tensor([t > 0]))
        np.testing.assert_allclose(action.detach().numpy(), controller.send(shown), atol=1e-6)


def test_surprise_is_the_root_mean_square_error_in_usual_errors_and_none_at_first():
    """By hand: after b0 = a0 + ... the agent is expected at -0.8 - 0.4 and seen at 0: 1.2, by a usual 0.1."""
    usual = torch.ones(18)
    usual[-2] = 0.1
    policy = Policy(Expecting(), Doubting())
    step = PolicyStep(Hiding(TABLE), policy, Surprise(usual))
    found, state = [], None
    for t, x in enumerate((-0.8, 0.0)):
        fields = {"keypoints": torch.zeros(1, 16), "agent": torch.tensor(seen((x, 0.0))[0].agent[None]).float()}
        state = step.nothing(fields) if state is None else state
        _, surprise, state = step(fields, state, torch.tensor([t > 0]))
        found.append(float(surprise))
    assert found == pytest.approx([0.0, 0.5 * math.log(12.0**2 / 18)], abs=1e-4)


def episode(*places: float) -> Segment:
    """An agent that is seen at places (x, 0), and that nothing is done to."""
    obs = torch.full((len(places), 18), -1.0)
    obs[:, -2], obs[:, -1] = torch.tensor(places), 0.0
    return Segment(obs, torch.zeros(len(places), 2), torch.zeros(len(places)), torch.ones(len(places)))


def test_the_alarm_is_the_largest_moving_average_of_any_held_out_episode():
    """By hand: seen at 0, 0.2, 0.2 it is expected at 0 and at 0.1: errors of 0.2 and 0.1, of the x alone."""
    trained, held_out = [episode(0.0, 0.2, 0.2)], [episode(0.0, 0.0, 0.0), episode(0.0, 2.0, 2.0)]
    found = calibrate(Expecting(), trained, held_out)
    usual = math.sqrt((0.2**2 + 0.1**2) / 2)
    assert found.usual[-2] == pytest.approx(usual)
    assert found.usual[0] == pytest.approx(1e-6)
    assert usual > LEAST * 0.2
    first, second = (0.5 * math.log((x / usual) ** 2 / 18) for x in (2.0, 1.0))
    averages = ((1 - MEMORY) * first, MEMORY * (1 - MEMORY) * first + (1 - MEMORY) * second)
    assert (found.alarm, found.episodes) == (pytest.approx(max(0.0, *averages)), 2)


def test_the_alarm_is_never_below_what_an_episode_begins_with():
    assert calibrate(Expecting(), [episode(0.0, 0.5, 0.5)], [episode(0.0, 0.0, 0.0)]).alarm == 0.0


def test_the_largest_change_of_an_action_is_within_episodes_and_not_from_rest():
    action = np.array([[0.0], [0.9], [0.7], [0.0], [-0.9], [-0.6]])  # two episodes, each after a row of rest
    assert largest_change(action, np.array([0, 3, 6])) == pytest.approx((0.3,))
    assert largest_change(action[:2], np.array([0, 2])) == (2.0,)
