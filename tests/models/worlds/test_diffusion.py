"""What every diffusion world does with context, noise and heads; by hand, on one that says what it is told."""

from itertools import pairwise

import pytest
import torch
from torch import nn

from glocal.core.spec import Part, Spec
from glocal.core.types import Segment
from glocal.models.worlds.diffusion import (
    LEVEL_FEATURES,
    DiffusionConfig,
    DiffusionWorld,
    level_features,
    preconditioned,
    unit_noise,
)
from tests.toys import control_steps

DIM = 400
SPEC = Spec((Part("numbers", (DIM,)),), 2)
CONFIG = DiffusionConfig(context=3)


class Telling(DiffusionWorld):
    """Keeps what it is told; a change is a difference, and its denoiser expects `clean`, or what it is shown."""

    def __init__(self, cfg: DiffusionConfig = CONFIG, clean: float | None = None):
        super().__init__(cfg, SPEC)
        self.clean, self.told = clean, []
        self.head = nn.Parameter(torch.tensor([0.25, 2.0]))

    def fit_scales(self, pairs):
        pass

    def outcome(self, obs):
        """The mean of an observation plus a number, as reward and as logit of continuation."""
        return obs.mean(-1) + self.head[0], obs.mean(-1) + self.head[1]

    def see(self, obs, action, noise):
        self.told.append((obs, action, noise))
        return obs, action, noise

    def denoise(self, noisy, sigma, seen):
        self.levels = sigma
        return noisy if self.clean is None else torch.full_like(noisy, self.clean)

    def delta(self, before, after):
        return after - before

    def advance(self, before, delta):
        return before + delta


def segment(count: int = 2, length: int = 4) -> Segment:
    """Observations that stand still at 10 b + t, actions that say so too, and rewards and continuations by row."""
    at = 10.0 * torch.arange(count)[:, None] + torch.arange(length)
    obs = at[..., None].expand(-1, -1, DIM).clone()
    return Segment(obs, at[..., None].expand(-1, -1, 2).clone(), at / 100, (at % 2 == 0).float())


def quiet(**options) -> Telling:
    return Telling(DiffusionConfig(context=3, context_noise=0.0), **options)


def test_the_loss_sees_all_but_the_last_observation_and_the_actions_that_followed_each():
    world, seen = quiet(), segment()
    world.loss(seen)
    ((obs, action, noise),) = world.told
    assert torch.equal(obs, seen.obs[:, :3]) and torch.equal(action, seen.action[:, 1:])
    assert torch.equal(noise, torch.zeros(2, 1))


def test_what_is_to_be_denoised_is_the_change_to_the_last_observation():
    """Every change is 1: expecting it costs nothing, and expecting 3 costs 4 times the mean weight of the levels."""
    assert float(quiet(clean=1.0).loss(segment())[1]["diffusion"]) == 0.0
    world = quiet(clean=3.0)
    found = world.loss(segment())[1]["diffusion"]
    weight = (1 + world.levels**2) / world.levels**2  # 1 / sigma^2 + 1 / sigma_data^2
    assert torch.allclose(found, 4 * weight.mean())


def test_an_undenoised_change_costs_its_noise_whatever_the_level():
    """With (clean - change) = sigma n the loss is the mean of (1 + sigma^2) n^2."""
    torch.manual_seed(0)
    world = quiet()
    found = world.loss(segment(64))[1]["diffusion"]
    assert torch.allclose(found, (1 + world.levels**2).mean(), rtol=0.1)


def test_training_levels_are_log_normal():
    torch.manual_seed(0)
    world = quiet()
    world.loss(segment(4000))
    level = world.levels.log()
    assert abs(level.mean() + 0.4) < 0.1 and abs(level.std() - 1.4) < 0.1


def test_outcomes_are_learned_from_the_last_row():
    seen = segment()
    metrics = quiet().loss(seen)[1]
    assert seen.cont[:, -1].tolist() == [0.0, 0.0]
    by_hand = torch.tensor([3.0 + 0.25 - 0.03, 13.0 + 0.25 - 0.13]) - 0.01  # |error| - beta / 2
    assert torch.allclose(metrics["reward"], by_hand.mean())
    assert torch.allclose(metrics["cont"], (1 + torch.tensor([5.0, 15.0]).exp()).log().mean())  # -log(1 - sigmoid)


def test_the_loss_is_the_sum_of_its_parts():
    torch.manual_seed(0)
    loss, metrics = quiet().loss(segment())
    assert torch.allclose(loss, metrics["diffusion"] + metrics["reward"] + metrics["cont"])


def test_noise_on_the_context_is_told_and_half_of_the_contexts_have_none():
    torch.manual_seed(0)
    world, seen = Telling(DiffusionConfig(context=3, context_noise=0.5)), segment(400)
    world.loss(seen)
    ((obs, _, noise),) = world.told
    spread = (obs - seen.obs[:, :3]).flatten(1).std(1)
    assert torch.allclose(spread, noise[:, 0], rtol=0.12)
    assert ((noise == 0).float().mean() - 0.5).abs() < 0.1 and (noise[noise > 0].mean() - 0.25).abs() < 0.03
    assert noise.max() <= 0.5


def test_the_change_is_taken_from_the_noisy_observation():
    """What it learns is to come from where it seems to be to where it really went."""
    torch.manual_seed(0)
    world, seen = Telling(DiffusionConfig(context=3, context_noise=0.5), clean=1.0), segment(200)
    found = world.loss(seen)[1]["diffusion"]
    ((obs, _, _),) = world.told
    weight = (1 + world.levels**2) / world.levels**2
    assert torch.allclose(found, (weight * (obs[:, -1] - seen.obs[:, 2]).pow(2)).mean(), rtol=1e-3)


def test_imagining_tells_that_its_context_has_no_noise():
    world, seen = Telling(DiffusionConfig(context=3, context_noise=0.5)), segment()
    world.step(world.begin(seen, 0), torch.full((2, 2), 7.0))
    ((obs, action, noise),) = world.told
    assert torch.equal(obs, seen.obs[:, 1:]) and torch.equal(noise, torch.zeros(2, 1))
    assert torch.equal(action, torch.cat([seen.action[:, 2:], torch.full((2, 1, 2), 7.0)], 1))


def test_a_step_moves_the_context_on_by_one():
    world, seen = Telling(clean=2.0), segment()
    context, step = world.step(world.begin(seen, 5), torch.full((2, 2), 7.0))
    assert torch.allclose(step.obs, seen.obs[:, -1] + 2.0)
    assert torch.allclose(step.reward, seen.obs[:, -1, 0] + 2.25)
    assert torch.allclose(step.cont, (seen.obs[:, -1, 0] + 4.0).sigmoid())
    assert torch.equal(context.obs, torch.cat([seen.obs[:, 2:], step.obs[:, None]], 1)) and context.key == 6
    assert torch.equal(context.action[:, -1], torch.full((2, 2), 7.0))
    assert torch.equal(context.action[:, :-1], seen.action[:, 2:])


def test_the_sampler_is_eulers_method_by_hand():
    """A denoiser that expects 1 moves x at sigma to 1 + after / sigma (x - 1): over three levels, down to 1."""
    world = Telling(clean=1.0)
    sigmas = CONFIG.schedule(torch.tensor(5.0))
    x, seen = sigmas[0] * 0.5, segment()
    for sigma, after in pairwise(sigmas):
        x = 1 + after / sigma * (x - 1)
    found = world.sample(seen.obs[:, :3], seen.action[:, :3], torch.full((2, DIM), 0.5))
    assert torch.allclose(found, seen.obs[:, 2] + x) and x == 1.0


def test_with_nothing_denoised_the_first_noise_is_what_comes_out():
    found = Telling().sample(segment().obs[:, :3], segment().action[:, :3], torch.full((2, DIM), 0.5))
    assert torch.allclose(found, segment().obs[:, 2] + 5.0 * 0.5)


def test_the_levels_of_the_sampler_by_hand():
    """(5^(1/7) + i / 2 (0.02^(1/7) - 5^(1/7)))^7 for i = 0, 1, 2, and then none."""
    middle = ((5 ** (1 / 7) + 0.02 ** (1 / 7)) / 2) ** 7
    assert torch.stack(CONFIG.schedule(torch.tensor(5.0))).tolist() == pytest.approx([5.0, middle, 0.02, 0.0])


@pytest.mark.parametrize("largest, first", [(3.0, 5.0), (-40.0, 40.0)])
def test_a_sample_begins_above_the_largest_recorded_change(largest, first):
    """Where noise is smaller than what can happen, what it begins as already shows that it did not."""
    world, before = Telling(), torch.zeros(9, DIM)
    after = before.clone()
    after[7, 11] = largest
    world.fit_statistics(control_steps(before, after, torch.zeros(9)))
    seen = segment()
    found = world.sample(seen.obs[:, :3], seen.action[:, :3], torch.full((2, DIM), 0.5))
    assert torch.allclose(found, seen.obs[:, 2] + first * 0.5, rtol=1e-5)


def test_noise_follows_from_its_key_alone():
    torch.manual_seed(1)
    one = unit_noise(3, (500, 4), torch.device("cpu"))
    torch.manual_seed(2)
    assert torch.equal(one, unit_noise(3, (500, 4), torch.device("cpu")))
    assert not torch.equal(one, unit_noise(4, (500, 4), torch.device("cpu")))
    assert abs(one.mean()) < 0.1 and abs(one.std() - 1) < 0.1


@pytest.mark.parametrize("sigma", [0.02, 1.0, 5.0])
def test_preconditioning_by_hand(sigma):
    """sigma_data = 2: skip 4 / v, out 2 sigma / sqrt v, in 1 / sqrt v, with v = sigma^2 + 4; here F(x) = x + 1."""
    noisy, v = torch.tensor([[3.0, -1.0]]), sigma**2 + 4
    found = preconditioned(lambda x: x + 1, noisy, torch.tensor([[sigma]]), 2.0)
    assert torch.allclose(found, 4 / v * noisy + 2 * sigma / v**0.5 * (noisy / v**0.5 + 1))


def test_levels_are_told_by_their_logarithm():
    found = level_features(torch.tensor([[1.0], [2.718281828**4]]))
    assert found.shape == (2, LEVEL_FEATURES)
    assert torch.allclose(found[:, 0], torch.tensor([0.0, 1.0]))
    assert torch.allclose(found[0, 1:], torch.tensor([0.0] * 4 + [1.0] * 4), atol=1e-6)  # sines and cosines of 0
    assert torch.allclose(found[1, 1:], torch.tensor([1.0, 0.0, 0.0, 0.0, 0.0, -1.0, 1.0, 1.0]), atol=1e-5)  # of pi/2
