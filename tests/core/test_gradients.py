"""Links: whose values, whose gradients."""

import pytest
import torch

from glocal.core.gradients import LINKS, Draw, bptt, decouple, freeze, imagine, infer_noise
from glocal.core.rollout import rollout, warm_up
from tests.toys import EndingSurrogate, EndingWorld, LinearSurrogate, LinearWorld, QuantisedWorld, resting


class Always:
    """A policy that does one thing, differentiably."""

    def __init__(self, action):
        self.action = action

    def __call__(self, belief):
        return self

    @property
    def mean(self):
        return self.action

    def rsample(self, noise):
        return self.action

    def entropy(self):
        return self.action.sum(-1)


def unrolled(world, surrogate, link, action):
    start = resting(4, 3)
    belief = warm_up(surrogate, start)
    context = world.begin(start, 0)
    return start, rollout(Always(action), world, surrogate, context, belief, 5, link)[2]


def test_decoupled_values_are_bitwise_the_value():
    value, gradient = torch.randn(1000), torch.randn(1000) * 1e3
    assert torch.equal(decouple(value, gradient), value)


@pytest.mark.parametrize("link", [decouple, freeze, infer_noise, bptt])
@pytest.mark.parametrize("slope, offset", [(0.5, 0.0), (-3.0, 7.0)])
def test_decoupled_values_are_the_worlds_whatever_the_surrogate_says(link, slope, offset):
    torch.manual_seed(0)
    action = torch.rand(4, 1)
    start, seen = unrolled(QuantisedWorld(), LinearSurrogate(slope, offset), link, action)
    world, context = QuantisedWorld(), QuantisedWorld().begin(start, 0)
    for t in range(5):
        context, step = world.step(context, action)
        assert torch.equal(seen.after.feat[:, t], step.obs)
        assert torch.equal(seen.reward[:, t], step.reward)


@pytest.mark.parametrize("link", [decouple, imagine, infer_noise])
def test_a_perfect_surrogate_gives_the_analytic_gradient(link):
    torch.manual_seed(0)
    action = torch.rand(4, 1, requires_grad=True)
    start, seen = unrolled(LinearWorld(), LinearSurrogate(), link, action)
    (found,) = torch.autograd.grad(seen.reward.sum(), action)
    places = [start.obs[:, -1] + 0.5 * (t + 1) * action for t in range(5)]
    analytic = sum(-2 * (x - 1) * 0.5 * (t + 1) for t, x in enumerate(places))
    assert torch.allclose(found, analytic, atol=1e-5)


def test_bptt_is_the_worlds_own_derivative_whatever_the_surrogate_says():
    torch.manual_seed(0)
    action = torch.rand(4, 1, requires_grad=True)
    start, seen = unrolled(LinearWorld(), LinearSurrogate(slope=-3.0, offset=7.0), bptt, action)
    (found,) = torch.autograd.grad(seen.reward.sum(), action)
    places = [start.obs[:, -1] + 0.5 * (t + 1) * action for t in range(5)]
    analytic = sum(-2 * (x - 1) * 0.5 * (t + 1) for t, x in enumerate(places))
    assert torch.allclose(found, analytic, atol=1e-5)


def test_continuations_are_the_worlds_and_slope_as_the_surrogate_says():
    torch.manual_seed(0)
    action = torch.full((4, 1), 0.2, requires_grad=True)
    start, seen = unrolled(EndingWorld(), EndingSurrogate(), decouple, action)
    (found,) = torch.autograd.grad(seen.cont[:, 0].sum(), action)
    x = start.obs[:, -1] + 0.1
    told = (4 * (1 - x)).sigmoid()
    assert torch.equal(seen.cont, seen.seen.cont) and torch.equal(seen.cont[:, 0], (x[:, 0] <= 1).float())
    assert torch.allclose(found, -4 * told * (1 - told) * 0.5)


def test_freeze_lets_no_gradient_through_the_dynamics():
    action = torch.rand(4, 1, requires_grad=True)
    _, seen = unrolled(LinearWorld(), LinearSurrogate(), freeze, action)
    assert not seen.reward.requires_grad


@pytest.mark.parametrize("link", [decouple, imagine, freeze, infer_noise])
def test_only_bptt_differentiates_the_world(link):
    action = torch.rand(4, 1, requires_grad=True)
    _, seen = unrolled(LinearWorld(), LinearSurrogate(), link, action)
    assert not seen.seen.obs.requires_grad and not seen.seen.reward.requires_grad


def test_inferred_noise_keeps_the_sample_and_sees_the_spread():
    mean, std = torch.zeros(3, requires_grad=True), torch.full((3,), 2.0, requires_grad=True)
    posterior = Draw(torch.tensor([2.0, -4.0, 1.0]), torch.ones(3), torch.ones(3))
    prior = Draw(mean + std * 0.3, mean, std)
    linked = infer_noise(posterior, prior)
    assert torch.equal(linked.sample, posterior.sample)
    by_mean, by_std = torch.autograd.grad(linked.sample.sum(), (mean, std))
    assert torch.allclose(by_mean, torch.ones(3))
    assert torch.allclose(by_std, torch.tensor([1.0, -2.0, 0.5]))  # (z - mean) / std, by hand


def test_inferred_noise_is_counted_from_the_priors_mean():
    """From a mean of 1 with a spread of 2, a sample of 4 is explained by a noise of 1.5."""
    mean, std = torch.ones(1, requires_grad=True), torch.full((1,), 2.0, requires_grad=True)
    linked = infer_noise(Draw(torch.tensor([4.0]), torch.ones(1), torch.ones(1)), Draw(mean + std, mean, std))
    assert [float(x) for x in torch.autograd.grad(linked.sample.sum(), (mean, std))] == [1.0, 1.5]


def test_the_gap_is_how_far_the_correction_reaches():
    _, seen = unrolled(LinearWorld(), LinearSurrogate(0.5, 0.25), decouple, torch.zeros(4, 1))
    assert torch.allclose(seen.gap, torch.full((4, 5), 0.25), atol=1e-6)


def test_every_link_has_a_name():
    assert set(LINKS) == {"decouple", "imagine", "freeze", "infer_noise", "bptt"}
