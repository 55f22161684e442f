"""Places around a robot as models look at them: what stands still is carried along, and nothing is left to predict."""

import pytest
import torch

from glocal.core.spec import Part, Spec
from glocal.core.types import Pairs
from glocal.models.carried import Carried, CarriedConfig
from glocal.models.codecs.surroundings import led_by
from glocal.models.surrogates.mlp import MLPSurrogate, MLPSurrogateConfig

SPEC = Spec((Part("felt", (2,)), Part("head", (6,))), 2)


def moving(features: Carried) -> None:
    torch.manual_seed(5)
    features.motion.copy_(0.3 * torch.randn(5, 3))


def steps(features: Carried, count: int = 200, apart: float = 0.0) -> Pairs:
    """Control steps in which the first thing stands still and the second goes `apart` from where that would be."""
    torch.manual_seed(1)
    before, felt = torch.randn(count, 8), torch.randn(count, 2)
    carried = led_by(features.motion, before[:, :2], felt).carried(before[:, 2:].unflatten(1, (2, 3))[..., :2])
    carried[:, 1] += apart * torch.randn(count, 2)
    sure = torch.rand(count, 2, 1)
    after = torch.cat([felt, torch.cat([carried, sure], dim=-1).flatten(1)], dim=1)
    return Pairs(before, torch.randn(count, 2), after, torch.randn(count))


def made(apart: float) -> tuple[Carried, Pairs]:
    features = CarriedConfig(2).build(SPEC, 2, 3)
    moving(features)
    pairs = steps(features, apart=apart)
    features.fit_statistics(pairs)
    return features, pairs


def test_of_what_stands_still_no_change_is_left_and_of_what_moves_its_own():
    features, pairs = made(0.5)
    change = features.delta(pairs.before, pairs.after)
    assert change[:, 2:4].abs().max() < 0.01
    assert 0.5 < change[:, 5:7].std() < 1.5


def test_advance_undoes_delta():
    features, pairs = made(0.5)
    after = features.advance(pairs.before, features.delta(pairs.before, pairs.after))
    assert torch.allclose(after, pairs.after, atol=1e-4)


def test_what_is_not_in_sight_rests_unless_it_moves_more_than_is_typical():
    """Four rows, and two things of which the second is in sight."""
    features, pairs = made(0.5)
    features.scale.fill_(0.5)
    features.largest.fill_(2.0)
    before = pairs.before[:4]
    delta = torch.zeros(4, 8)
    delta[:, 2], delta[:, 5] = torch.tensor([0.9, 1.1, 0.0, 0.0]), torch.tensor([0.0, 0.0, 0.9, 1.1])
    moved = features.advance(before, delta)
    features.in_sight = lambda so: torch.tensor([False, True]).expand(len(so), -1)
    after, still = features.advance(before, delta), moved.clone()
    still[0, 2:4] = features.advance(before, torch.zeros(4, 8))[0, 2:4]
    assert (moved[0, 2:4] - still[0, 2:4]).norm() > 0.001
    places = [0, 1, 2, 3, 5, 6]
    assert torch.allclose(after[:, places], still[:, places], atol=1e-6)


@pytest.mark.parametrize("told, known", [(0.9, 0.0), (0.1, 0.0), (-0.4, 0.0), (-0.6, -1.0), (-1.2, -1.0)])
def test_what_a_model_says_of_sight_is_one_of_what_is_recorded(told, known):
    features, pairs = made(0.5)
    features.scale[[4, 7]] = 1e-6
    before = pairs.before[:1].clone()
    before[:, [4, 7]] = told
    features.in_sight = lambda so: torch.tensor([[False, True]])
    after = features.advance(before, torch.zeros(1, 8))
    assert after[0, [4, 7]].tolist() == [known, 1.0]


def test_nothing_is_carried_before_it_is_told_how():
    features = CarriedConfig(2).build(SPEC, 2, 3)
    before = torch.randn(4, 8)
    assert torch.allclose(features.advance(before, torch.zeros(4, 8)), before)


def test_how_places_are_carried_is_kept_with_the_weights():
    kept, again = (CarriedConfig(2).build(SPEC, 2, 3) for _ in range(2))
    moving(kept)
    again.load_state_dict(kept.state_dict())
    assert kept.motion.any() and torch.equal(again.motion, kept.motion)


@pytest.mark.parametrize("known", [False, True])
def test_a_local_model_knows_that_places_change_with_what_an_action_does_to_the_robot(known):
    torch.manual_seed(0)
    surrogate = MLPSurrogate(MLPSurrogateConfig(width=16, blocks=1), SPEC, CarriedConfig(2))
    assert isinstance(surrogate.features, Carried)
    if known:
        moving(surrogate.features)
    surrogate.body[-1].weight.data[2:] = 0  # it predicts what is felt, and nothing else
    belief, action = surrogate.initial(torch.randn(1, 8)), torch.zeros(1, 2, requires_grad=True)
    (gradient,) = torch.autograd.grad(surrogate.predict(belief, action).obs[0, 2], action)
    assert bool(gradient.any()) == known
