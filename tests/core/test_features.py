"""The plain look at vectors: units of the typical change, and tails that noise covers."""

import math
import re

import pytest
import torch

from glocal.core.features import PlainOutcome, Standard, StandardConfig
from glocal.core.spec import Part, Spec
from glocal.core.types import Pairs
from tests.core.test_compasses import driven
from tests.toys import control_steps

SPEC = Spec((Part("joints", (2,)), Part("goal", (1,))), 2)


def fitted(change: list[list[float]]):
    features = StandardConfig().build(SPEC, 2, 1)
    before = torch.zeros(len(change), 3)
    features.fit_statistics(control_steps(before, torch.tensor(change), torch.zeros(len(change))))
    return features


def test_changes_are_told_in_units_of_their_root_mean_square_on_a_logarithmic_scale():
    features = fitted([[0.3, 0.0, 0.0], [0.4, 0.0, 0.0]])
    assert torch.allclose(features.scale, torch.tensor([math.sqrt(0.125), 1e-3, 1e-3]))
    found = features.delta(torch.zeros(1, 3), torch.tensor([[0.3, 1e-3, -1e-3]]))
    by_hand = [math.asinh(0.3 / math.sqrt(0.125)), math.asinh(1.0), -math.asinh(1.0)]
    assert torch.allclose(found, torch.tensor([by_hand]))


def test_advancing_undoes_a_recorded_change():
    torch.manual_seed(0)
    before, after = torch.randn(50, 3), torch.randn(50, 3)
    features = StandardConfig().build(SPEC, 2, 1)
    features.fit_statistics(control_steps(before, after, torch.zeros(50)))
    assert torch.allclose(features.advance(before, features.delta(before, after)), after, atol=1e-5)


def test_nothing_advances_much_farther_than_was_recorded():
    features = fitted([[0.3, 0.0, 0.0], [0.4, 0.0, 0.0]])
    far = features.advance(torch.zeros(1, 3), torch.full((1, 3), 50.0))
    largest = math.asinh(0.4 / math.sqrt(0.125))
    assert torch.allclose(far, torch.tensor([[math.sinh(1.5 * largest) * math.sqrt(0.125), 0.0, 0.0]]))


def test_changes_that_are_rare_and_large_stay_within_a_few_units():
    """A number that moves once in ten thousand steps moves by a hundred times its root mean square."""
    change = torch.zeros(10_000, 3)
    change[0] = 0.5
    features = StandardConfig().build(SPEC, 2, 1)
    features.fit_statistics(control_steps(torch.zeros_like(change), change, torch.zeros(10_000)))
    assert float(features.largest.max()) == pytest.approx(math.asinh(100), abs=1e-3)  # 5.3, where it was 100


def test_models_of_motion_see_now_what_changed_and_what_is_done():
    features = fitted([[1.0, 1.0, 1.0], [1.0, 1.0, 1.0]])
    obs = torch.tensor([[[0.0, 0.0, 0.0], [1.0, 2.0, 0.0]]])
    action = torch.tensor([[[0.1, 0.2], [0.3, 0.4]]])
    seen = features.dynamics(obs, action, 1)[0]
    assert (
        len(seen) == features.dynamics_dim() == 3 + 6 + 3 + 4 + 9
    )  # and of three numbers as they are seen from others
    assert seen[:3].tolist() == [1, 2, 0]
    waves = [math.sin(math.pi / 4), 1.0, 0.0, math.cos(math.pi / 4), 0.0, 1.0]  # of a quarter of each number
    assert torch.allclose(seen[3:9], torch.tensor(waves), atol=1e-6)
    assert torch.allclose(seen[9:12], torch.tensor([math.asinh(1.0), math.asinh(2.0), 0.0]))
    assert torch.allclose(seen[12:16], torch.tensor([0.1, 0.2, 0.3, 0.4]))
    assert (seen[16:] == 0).all()  # of which none is found here
    assert torch.equal(features.policy(obs, action), features.dynamics(obs, action, 1)[:, : features.policy_dim()])


def test_an_untrained_head_expects_episodes_to_go_on():
    reward, cont = PlainOutcome(3, 8)(torch.randn(2, 5, 3))
    assert reward.shape == cont.shape == (2, 5) and (cont > 2).all()


def of_a_cart() -> tuple[Standard, Pairs]:
    """Fitted to a cart that drives as it heads (`driven`), seen beside a grid."""
    before, action, after = driven()
    grids = torch.randn(2, 500, 8)
    pairs = Pairs(torch.cat([before, grids[0]], 1), action, torch.cat([after, grids[1]], 1), torch.zeros(500))
    model = Standard(Spec((Part("state", (5,)), Part("seen", (2, 2, 2))), 3), 2, 2)
    model.fit_statistics(pairs)
    return model, pairs


def test_what_numbers_tell_of_headings_and_places_is_found_and_told_in_words():
    model, _ = of_a_cart()
    assert sorted(re.findall(r"state (\d) and state (\d) (tell a heading|a place)", model.found())) in (
        [("0", "3", "a place"), ("1", "4", "tell a heading")],
    )
    assert Standard(Spec((Part("seen", (2, 2, 2)),), 3), 2, 2).found() == ""


def test_changes_are_told_as_a_cart_heads_and_undone():
    model, pairs = of_a_cart()
    change = model.bearings.change(pairs.before[:, :5], pairs.after[:, :5])
    assert not torch.allclose(change, (pairs.after - pairs.before)[:, :5], atol=0.05)
    delta = model.delta(pairs.before, pairs.after)
    assert torch.allclose(delta[:, :5].sinh() * model.scale[:5], change, atol=1e-4)
    assert torch.allclose(change.pow(2).mean(0).sqrt(), model.scale[:5], atol=1e-4)
    assert torch.allclose(model.advance(pairs.before, delta), pairs.after, atol=1e-3)
    window = torch.stack([pairs.before, pairs.after], 1)
    told = model.dynamics(window, torch.zeros(500, 2, 3), 2)
    assert torch.allclose(told[:, 13 * 5 : 13 * 6], delta, atol=1e-4)  # after now, and now in two waves
