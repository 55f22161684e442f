"""Points of pictures: what networks see of them and of the bodies that they lie on."""

import math

import pytest
import torch

from glocal.core.spec import Part, Spec
from glocal.core.types import Pairs
from glocal.models.arrangements import PAIRS as PAIRS_AT_MOST
from glocal.models.arrangements import Arrangement, ArrangementConfig, ArrangementOutcome, _pairs
from glocal.models.bodies import rotate
from tests.models.test_bodies import REACH
from tests.models.test_bodies import recorded as seen_from_above

SPEC = Spec((Part("joints", (3,)), Part("top", (9, 2)), Part("side", (3, 2))), 2)
TOP = SPEC.columns("top")
WINDOW = 2


def recorded() -> Pairs:
    """From above a hammer, a bar and a dot that actions move; from the side points that have nothing in common."""
    before, action, after = seen_from_above()
    count = len(before)
    rest = [torch.rand(count, 3) - 0.5, torch.rand(count, 3) - 0.5, torch.rand(count, 6), torch.rand(count, 6)]
    first, second = (
        torch.cat([rest[0], before.flatten(1), rest[2]], 1),
        torch.cat([rest[1], after.flatten(1), rest[3]], 1),
    )
    return Pairs(first, action, second, torch.arange(count) / count)


def fitted(scales: int = 2) -> Arrangement:
    model = ArrangementConfig().build(SPEC, WINDOW, scales)
    model.fit_statistics(recorded())
    return model


def window(count: int = 5) -> tuple[torch.Tensor, torch.Tensor]:
    pairs = recorded()
    return torch.stack([pairs.before, pairs.after], 1)[:count], torch.rand(count, WINDOW, 2)


def turned(obs: torch.Tensor, angle: float, by: tuple[float, float] = (0.0, 0.0)) -> torch.Tensor:
    """The same, seen from above by a camera that is turned and shifted."""
    turn = torch.tensor([math.cos(angle), math.sin(angle)])
    points = rotate(obs[..., TOP].unflatten(-1, (9, 2)), turn.expand(*obs.shape[:-1], 1, 2)) + torch.tensor(by)
    moved = obs.clone()
    moved[..., TOP] = points.flatten(-2)
    return moved


def tells(model: Arrangement, obs: torch.Tensor, action: torch.Tensor, what: torch.Tensor) -> bool:
    """Whether the features for a model of motion hold `what` (B, n)."""
    told = model.dynamics(obs, action, 2) / model.dynamics_gain.max()
    return all(bool(((told - column[:, None]).abs() < 1e-4).all(0).any()) for column in what.T)


def test_how_bodies_see_one_another_is_told_wherever_in_the_picture_it_is():
    """The dot and the bar, seen from the hammer: the same where the camera is turned and shifted."""
    model, (obs, action) = fitted(), window()
    frames = model.pictures[0].frames(obs[:, -1, TOP].unflatten(-1, (9, 2)))
    for other in (1, 2):
        back = frames.turn[:, 0] * torch.tensor([1.0, -1.0])
        way = rotate(frames.centre[:, other] - frames.centre[:, 0], back)
        assert tells(model, obs, action, way)
        assert tells(model, turned(obs, 0.6, (0.2, -0.1)), action, way)


def test_where_actions_send_a_body_is_told_by_the_others():
    """The dot, seen from the hammer: as far away as it is, and as if it had already been moved."""
    model, (obs, action) = fitted(), window()
    bodies = model.pictures[0]
    points = obs[:, -1, TOP].unflatten(-1, (9, 2))
    sent = points[:, 6] + action[:, -1] @ bodies.reach[2].T
    frames = bodies.frames(points)
    expected = rotate(sent - frames.centre[:, 0], frames.turn[:, 0] * torch.tensor([1.0, -1.0]))
    assert tells(model, obs, action, expected) and not tells(model, obs, -action, expected)


def test_what_never_varies_is_0_and_the_rest_weighs_as_much_as_all():
    model, (obs, action) = fitted(), window(200)
    for told in (model.dynamics(obs, action, 2), model.policy(obs, action)):
        assert torch.isfinite(told).all()
    gain = model.dynamics_gain
    told, kept = model.dynamics(obs, action, 2), gain > 0
    assert (told[:, ~kept] == 0).all() and 0.1 < kept.float().mean() < 0.6
    assert gain[kept].pow(2).sum().item() == pytest.approx(len(gain), rel=1e-4)


def test_before_anything_was_recorded_all_is_told_as_it_is():
    model, (obs, action) = ArrangementConfig().build(SPEC, WINDOW, 2), window()
    assert (model.dynamics_gain == 1).all() and (model.policy_gain == 1).all()
    assert torch.equal(model.advance(obs[:, 0], torch.zeros(5, SPEC.obs_dim)), obs[:, 0])
    assert torch.equal(model.to_action(obs[:, 0], action[:, 0]), action[:, 0])


def test_advancing_undoes_a_change_and_bodies_stay_rigid():
    model, pairs = fitted(), recorded()
    again = model.advance(pairs.before, model.delta(pairs.before, pairs.after))
    assert torch.allclose(again, pairs.after, atol=2e-3)
    wild = model.advance(pairs.before, 0.5 * torch.randn_like(pairs.before))
    hammer = wild[:, TOP].unflatten(-1, (9, 2))[:, [0, 1, 3, 4, 5]]
    sides = torch.cdist(hammer, hammer)
    assert torch.allclose(sides, sides[:1].expand_as(sides), atol=1e-3)


def test_nothing_advances_much_farther_than_was_recorded():
    model, pairs = fitted(), recorded()
    far = model.advance(pairs.before, torch.full_like(pairs.before, 1e4))
    assert (far - pairs.before).abs().max() < 4


def test_changes_are_the_same_however_the_camera_is_turned():
    model, pairs = fitted(), recorded()
    here = model.delta(pairs.before, pairs.after)
    there = model.delta(turned(pairs.before, 1.1), turned(pairs.after, 1.1))
    assert torch.allclose(here, there, atol=1e-2)
    assert not torch.allclose(
        pairs.after - pairs.before, turned(pairs.after, 1.1) - turned(pairs.before, 1.1), atol=1e-2
    )


def test_the_points_of_a_body_share_a_typical_change():
    scale = fitted().scale[TOP].view(9, 2)
    hammer = scale[[0, 1, 3, 4, 5]]
    assert torch.allclose(hammer, hammer[:1, :1].expand_as(hammer)) and scale[6, 0] == scale[6, 1] > 10 * hammer[0, 0]


def test_a_policy_chooses_in_the_axes_of_the_body_that_its_own_is_seen_from():
    """Seen by a camera that is turned, the same choice moves the dot in the same direction from the hammer."""
    model, pairs = fitted(), recorded()
    choice = torch.rand(len(pairs.reward), 2)
    here = model.to_action(pairs.before, choice) @ REACH.T
    there = model.to_action(turned(pairs.before, 0.8), choice) @ REACH.T
    turn = torch.tensor([math.cos(0.8), math.sin(0.8)]).expand(len(choice), 2)
    assert torch.allclose(there, rotate(here, turn), atol=1e-3) and not torch.allclose(here, there, atol=1e-2)


def test_where_actions_move_nothing_in_the_picture_they_are_chosen_as_they_are():
    pairs, choice = recorded(), torch.rand(400, 2)
    model = ArrangementConfig().build(SPEC, WINDOW, 2)
    model.fit_statistics(Pairs(pairs.before, pairs.action[torch.randperm(400)], pairs.after, pairs.reward))
    assert torch.equal(model.to_action(pairs.before, choice), choice)


def test_what_is_steered_in_its_own_axes_is_steered_so_by_a_policy():
    model, pairs = fitted(), recorded()
    model.pictures[0].steered[2] = True
    model._follow()
    choice = torch.rand(len(pairs.reward), 2)
    assert torch.equal(model.to_action(pairs.before, choice), choice)


def test_what_actions_drive_is_blurred_as_one_and_so_are_numbers():
    shifts = fitted().shifts(torch.zeros(500, SPEC.obs_dim))
    joints, top, side = (shifts[:, SPEC.columns(name)] for name in ("joints", "top", "side"))
    rests = torch.tensor([0, 1, 2, 3, 4, 5, 7, 8])
    assert (top.view(-1, 9, 2)[:, rests] == 0).all() and (side == 0).all()
    assert 0.8 < joints.std() < 1.2 and 0.8 < top.view(-1, 9, 2)[:, 6].std() < 1.2


def test_a_policy_is_told_the_way_to_where_the_reward_was_highest():
    model, pairs = fitted(), recorded()
    best = pairs.after[-1:]
    obs = torch.stack([best, best], 1)
    near = model.policy(obs, torch.zeros(1, WINDOW, 2))[:, -12:] / model.policy_gain[-12:]
    assert (near > 0.98).all()
    moved = obs.clone()
    moved[..., TOP] += 0.1
    assert (model.policy(moved, torch.zeros(1, WINDOW, 2))[:, -12:-3] < 0.5 * model.policy_gain.max()).all()


def test_the_reward_head_begins_to_refer_to_where_the_reward_was_highest():
    head, after = ArrangementOutcome(SPEC.obs_dim, 3, [9, 3], 16), torch.rand(6, SPEC.obs_dim)
    head.fit_statistics(after, torch.tensor([0.1, 0.2, 0.9, 0.0, 0.3, 0.4]))
    assert torch.equal(head.reference.flatten(), after[2, 3:])
    reward, cont = head(after.unflatten(0, (2, 3)))
    assert reward.shape == cont.shape == (2, 3)


def test_a_reward_for_being_near_another_body_is_learned_wherever_that_is():
    torch.manual_seed(0)
    head = ArrangementOutcome(4, 0, [2], 32)
    optimizer = torch.optim.Adam(head.parameters(), 3e-3)

    def shown() -> tuple[torch.Tensor, torch.Tensor]:
        points = torch.rand(256, 2, 2) * 2 - 1
        return points.flatten(1), (-4 * (points[:, 0] - points[:, 1]).norm(dim=-1)).exp()

    for _ in range(300):
        obs, reward = shown()
        loss = (head(obs)[0] - reward).pow(2).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    obs, reward = shown()
    assert (head(obs)[0] - reward).pow(2).mean() < 0.05 * reward.var()


def test_of_many_points_the_same_pairs_are_chosen_again():
    pairs = _pairs(40)
    assert torch.equal(pairs, _pairs(40)) and pairs.shape[1] == PAIRS_AT_MOST == len(
        {tuple(x) for x in pairs.T.tolist()}
    )
    assert (pairs[0] < pairs[1]).all() and len(set(pairs.flatten().tolist())) > 30
