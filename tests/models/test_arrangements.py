"""Points and how they lie to one another: what networks see of them."""

import torch

from glocal.core.features import Standard
from glocal.core.spec import Part, Spec
from glocal.models.arrangements import PAIRS as PAIRS_AT_MOST
from glocal.models.arrangements import Arrangement, ArrangementConfig, ArrangementOutcome

SPEC = Spec((Part("joints", (3,)), Part("top", (4, 2)), Part("side", (3, 2))), 2)
PAIRS = 6 + 3


def told(scales: int = 2) -> Arrangement:
    torch.manual_seed(0)
    return ArrangementConfig().build(SPEC, 2, scales)


def window(count: int = 5) -> tuple[torch.Tensor, torch.Tensor]:
    return torch.rand(count, 2, SPEC.obs_dim) - 0.5, torch.rand(count, 2, 2)


def ways(features: torch.Tensor) -> torch.Tensor:
    """The last features: ways between points of a picture, and their two waves."""
    return features[:, -PAIRS * 2 * (1 + 2 * 2) :]


def test_how_points_lie_to_one_another_is_the_same_wherever_in_the_picture_it_is():
    """Each picture by itself: points of two cameras have nothing between them."""
    model, (obs, action) = told(), window()
    moved = obs.clone()
    moved[..., SPEC.columns("top")] += torch.tensor([0.3, -0.2]).repeat(4)
    here, there = model.dynamics(obs, action, 2), model.dynamics(moved, action, 2)
    assert torch.allclose(ways(here), ways(there), atol=1e-4) and not torch.allclose(here, there)
    points = obs[:, -1, SPEC.columns("side")].unflatten(-1, (3, 2))
    expected = torch.stack([points[:, 0] - points[:, 1], points[:, 0] - points[:, 2], points[:, 1] - points[:, 2]], 1)
    assert torch.equal(ways(here)[:, 2 * 6 : 2 * PAIRS], expected.flatten(1))


def test_what_plain_numbers_tell_is_told_too():
    model, (obs, action) = told(), window()
    plain = Standard(SPEC, 2, 2).dynamics(obs, action, 2)
    assert torch.equal(model.dynamics(obs, action, 2)[:, : plain.shape[1]], plain)


def test_only_numbers_are_jittered():
    assert told().jittered.tolist() == [0, 1, 2]


def test_a_policy_is_told_how_near_points_are_to_where_the_reward_was_highest():
    model, (obs, action) = told(), window(6)
    reward = torch.tensor([0.1, 0.2, 0.9, 0.0, 0.3, 0.4])
    model.fit_statistics(obs[:, 0], obs[:, 1], reward)
    near = model.policy(obs, action)[:, -7:]
    assert (near[2] > 0.99).all() and (near[[0, 1, 3, 4, 5]] < 0.99).all()


def test_the_reward_head_begins_to_refer_to_where_the_reward_was_highest():
    head, after = ArrangementOutcome(SPEC.obs_dim, 3, 16), torch.rand(6, SPEC.obs_dim)
    head.fit_statistics(after, torch.tensor([0.1, 0.2, 0.9, 0.0, 0.3, 0.4]))
    assert torch.equal(head.reference.flatten(), after[2, 3:])
    reward, cont = head(after.unflatten(0, (2, 3)))
    assert reward.shape == cont.shape == (2, 3)


def test_of_many_points_the_same_pairs_are_chosen_again():
    spec = Spec((Part("top", (40, 2)),), 2)
    chosen = [ArrangementConfig().build(spec, 2, 2) for _ in range(2)]
    pairs = [torch.stack([one.first, one.second], 1) for one in chosen]
    assert torch.equal(*pairs) and len(pairs[0]) == PAIRS_AT_MOST == len({tuple(pair) for pair in pairs[0].tolist()})
    assert (pairs[0][:, 0] < pairs[0][:, 1]).all() and set(pairs[0].flatten().tolist()) == set(range(40))
