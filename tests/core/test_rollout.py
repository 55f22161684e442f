"""Acting inside the models: which action, observation and reward belong together."""

from dataclasses import dataclass

import torch
from torch import Tensor

from glocal.core.gradients import Draw, decouple, imagine
from glocal.core.rollout import distance, replay, replay_surrogate, rollout, warm_up
from glocal.core.types import Segment
from glocal.models.surrogates.rssm import Recurrent
from tests.toys import EndingSurrogate, LinearSurrogate, LinearWorld, Place, PlaceBelief

ROWS = torch.tensor([[0.0, 1.0, 2.0, 3.0]])


def counted() -> Segment:
    """Observations 0, 1, 2, 3; the action that led to each is ten times that."""
    return Segment(ROWS[..., None], 10 * ROWS[..., None], ROWS, torch.ones_like(ROWS))


@dataclass(frozen=True)
class Ramp:
    """A policy whose action is a tenth of where it believes to be, plus one."""

    def __call__(self, belief):
        return Done(0.1 * belief.x + 1)


@dataclass(frozen=True)
class Done:
    mean: Tensor

    def rsample(self, noise):
        return self.mean

    def entropy(self):
        return 7 + self.mean[:, 0]


@dataclass(frozen=True)
class Wavering:
    """A policy whose action is a tenth of where it believes to be, plus the noise."""

    def __call__(self, belief):
        return Waver(0.1 * belief.x)


class Waver(Done):
    def rsample(self, noise):
        return self.mean + noise


class Noting(LinearSurrogate):
    """Notes what it is asked: (place, action) of predictions, and what it is shown in corrections."""

    def __init__(self):
        super().__init__(slope=0.0, offset=100.0)
        self.asked, self.shown = [], []

    def predict(self, belief, action):
        self.asked.append((float(belief.x.detach()), float(action)))
        return super().predict(belief, action)

    def correct(self, prior, obs):
        self.shown.append(float(obs))
        return super().correct(prior, obs)


def test_a_belief_is_warmed_up_by_each_observation_and_the_action_that_led_to_it():
    surrogate = Noting()
    belief = warm_up(surrogate, counted())
    assert surrogate.asked == [(0.0, 10.0), (1.0, 20.0), (2.0, 30.0)] and surrogate.shown == [1.0, 2.0, 3.0]
    assert float(belief.x) == 3.0


def test_each_step_of_a_rollout_holds_what_was_believed_done_and_seen():
    """x' = x + a / 2 from 3 on, a = x / 10 + 1: 3, 3.65, 4.3325."""
    world, surrogate, start = LinearWorld(), Noting(), counted()
    context, belief, seen = rollout(
        Ramp(), world, surrogate, world.begin(start, 5), warm_up(surrogate, start), 2, decouple
    )
    assert torch.allclose(seen.belief.feat.flatten(), torch.tensor([3.0, 3.65]))
    assert torch.allclose(seen.action.flatten(), torch.tensor([1.3, 1.365]))
    assert torch.allclose(seen.after.feat.flatten(), torch.tensor([3.65, 4.3325]))
    assert torch.allclose(seen.seen.obs.flatten(), torch.tensor([3.65, 4.3325]))
    assert torch.allclose(seen.reward, -(torch.tensor([[2.65, 3.3325]]) ** 2))
    assert torch.allclose(seen.entropy, torch.tensor([[8.3, 8.365]]))
    assert torch.allclose(seen.gap, torch.tensor([[3 + 100 - 3.65, 3.65 + 100 - 4.3325]]))
    assert torch.allclose(belief.x, torch.tensor([[4.3325]])) and torch.allclose(context.x, belief.x)
    assert context.key == 7 and [round(x, 4) for x, _ in surrogate.asked[-2:]] == [3.0, 3.65]


def test_zeros_that_are_added_to_the_actions_take_their_derivatives_step_by_step():
    world, surrogate, start = LinearWorld(), LinearSurrogate(), counted()
    perturbation = torch.zeros(1, 3, 1, requires_grad=True)
    _, _, seen = rollout(
        Ramp(), world, surrogate, world.begin(start, 0), warm_up(surrogate, start), 3, decouple, perturbation
    )
    (gradient,) = torch.autograd.grad(seen.reward[0, 1], perturbation)
    x = float(seen.after.feat[0, 1])
    assert torch.allclose(gradient.flatten(), -2 * (x - 1) * torch.tensor([0.5 * 1.05, 0.5, 0.0]))


def test_given_actions_are_answered_in_their_order():
    answers = replay(LinearWorld(), counted(), torch.tensor([[[2.0], [-4.0]]]), key=0)
    assert answers.obs.flatten().tolist() == [4.0, 2.0]
    assert answers.reward.flatten().tolist() == [-9.0, -1.0]
    expected = replay_surrogate(LinearSurrogate(slope=1.0), counted(), torch.tensor([[[2.0], [-4.0]]]))
    assert expected.flatten().tolist() == [5.0, 1.0]


def test_in_imagination_alone_reward_and_continuation_are_the_surrogates_of_where_it_expects_to_arrive():
    world, start = LinearWorld(), counted()
    surrogate = EndingSurrogate(slope=0.0, offset=-2.0)
    _, belief, seen = rollout(Ramp(), world, surrogate, world.begin(start, 0), warm_up(surrogate, start), 2, imagine)
    assert seen.after.feat.flatten().tolist() == [1.0, -1.0] and float(belief.x) == -1.0
    assert torch.allclose(seen.cont, torch.tensor([[0.0, 8.0]]).sigmoid())
    assert seen.reward.tolist() == [[1.0, 1.0]]


def test_noise_is_drawn_anew_for_every_step_and_kept_beside_the_action_that_it_made():
    world, surrogate, start = LinearWorld(), LinearSurrogate(), counted()
    _, _, seen = rollout(
        Wavering(), world, surrogate, world.begin(start, 0), surrogate.initial(ROWS[:, :1]), 3, decouple
    )
    assert torch.allclose(seen.action, 0.1 * seen.belief.feat + seen.noise)
    assert len(set(seen.noise.flatten().tolist())) == 3


def test_the_distance_is_the_length_over_all_fields_of_samples_and_not_of_what_they_were_drawn_from():
    zeros, h, sample = torch.zeros(2, 2), torch.zeros(2, 2), torch.zeros(2, 2)
    h[0, 0], sample[0] = 2.0, torch.tensor([1.0, 2.0])
    posterior, prior = Recurrent(h, Draw(sample, zeros, zeros)), Recurrent(zeros, Draw(zeros, zeros + 50, zeros + 70))
    assert distance(posterior, prior).tolist() == [3.0, 0.0]  # sqrt(4 + 1 + 4)


class Halfway(LinearSurrogate):
    """Believes half of what it expected and half of what it sees."""

    def correct(self, prior, obs):
        return PlaceBelief((prior.x + obs) / 2)


def test_what_is_believed_after_a_step_is_what_was_expected_of_its_action_corrected_by_what_is_seen():
    """From 3, with a = x / 10 + 1: 3.65 is seen and 103.65 expected, then 3.65 + 6.365 / 2 and 153.65 + 6.365 / 2."""
    world, surrogate, start = LinearWorld(), Halfway(offset=100.0), counted()
    _, belief, seen = rollout(
        Ramp(), world, surrogate, world.begin(start, 0), surrogate.initial(ROWS[:, 3:]), 2, decouple
    )
    assert torch.allclose(seen.after.feat.flatten(), torch.tensor([53.65, (6.8325 + 156.8325) / 2]))
    assert torch.allclose(seen.gap, torch.tensor([[50.0, 75.0]])) and torch.equal(belief.x, seen.after.feat[:, -1])


def test_a_toy_world_begins_where_the_segment_ends():
    assert isinstance(LinearWorld().begin(counted(), 0), Place) and float(LinearWorld().begin(counted(), 0).x) == 3.0
