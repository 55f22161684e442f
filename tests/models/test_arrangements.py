"""Points of pictures: what networks see of them and of the bodies that they lie on."""

import math

import pytest
import torch

from glocal.core.compasses import rotate
from glocal.core.nets import harmonics
from glocal.core.spec import Part, Spec
from glocal.core.types import Pairs
from glocal.models.arrangements import PAIRS as PAIRS_AT_MOST
from glocal.models.arrangements import (
    Arrangement,
    ArrangementConfig,
    ArrangementOutcome,
    _pairs,
    eased,
    seen_by,
    uneased,
)
from glocal.models.bodies import ROOM
from tests.core.test_compasses import driven
from tests.core.test_relations import pushed
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


def seen(model: Arrangement, obs: torch.Tensor, action: torch.Tensor) -> dict[str, torch.Tensor]:
    """What the bodies see that are seen from above."""
    points = obs[..., TOP].unflatten(-1, (9, 2))
    return seen_by(model.pictures[0], points, obs[..., :3], action, model.scale[TOP].view(9, 2)[:, 0])


def from_hammer(obs: torch.Tensor, what: torch.Tensor) -> torch.Tensor:
    """Places (B, 2), seen from the hammer: from its centre, with its handle's direction as it was when first seen."""
    points = obs[:, -1, TOP].unflatten(-1, (9, 2))
    model = fitted()
    heading = model.pictures[0].frames(points, obs[:, -1, :3]).heading[:, 0]
    return rotate(what - points[:, [0, 1, 3, 4, 5]].mean(1), heading * torch.tensor([1.0, -1.0]))


def test_bodies_see_one_another_where_they_are_and_where_actions_send_them():
    model, (obs, action) = fitted(), window()
    found = seen(model, obs, action)
    now, before = (obs[:, t, TOP].unflatten(-1, (9, 2)) for t in (1, 0))
    bar, dot = now[:, [2, 7, 8]].mean(1), now[:, 6]
    assert torch.allclose(found["centre"][:, 1], bar, atol=1e-6) and torch.allclose(found["centre"][:, 2], dot)
    assert found["places"].shape == (5, 3, 4, 3, 2) and found["near"].shape == (5, 6 + 9, 2)
    sent, far = dot + action[:, 1] @ REACH.T, dict(atol=1e-3)
    assert torch.allclose(found["places"][:, 0, 0, 2], from_hammer(obs, before[:, 6]), **far)
    assert torch.allclose(found["places"][:, 0, 1, 1], from_hammer(obs, bar), **far)
    assert torch.allclose(found["places"][:, 0, 3, 2], from_hammer(obs, sent), **far)
    assert torch.allclose(found["near"][:, 1], from_hammer(obs, dot), **far)
    assert torch.allclose(found["near"][:, 6 + 2], from_hammer(obs, sent), **far)
    assert torch.allclose(found["places"][:, 2, 1, 1], bar - dot, **far)  # the dot has no heading


def test_bodies_see_where_others_head_and_how_they_have_moved_themselves():
    model, (obs, action) = fitted(), window()
    turn = torch.tensor([math.cos(0.1), math.sin(0.1)])
    points = obs[:, 0, TOP].unflatten(-1, (9, 2))
    obs[:, 1, TOP] = (rotate(points, turn) + torch.tensor([0.01, 0.0])).flatten(1)
    found, frames = seen(model, obs, action), model.pictures[0].frames(points, obs[:, 0, :3])
    bar_from_hammer = rotate(frames.heading[:, 1], frames.heading[:, 0] * torch.tensor([1.0, -1.0]))
    assert torch.allclose(found["facing"][:, 0, 1], bar_from_hammer, atol=1e-3)
    assert torch.allclose(found["facing"][:, 0, 0], torch.tensor([1.0, 0.0]).expand(5, 2), atol=1e-4)
    assert torch.allclose(found["swung"][:, 0, :2], torch.full((5, 2), -10 * math.sin(0.1)), atol=1e-2)
    here, there = frames.centre[:, 0], rotate(frames.centre[:, 0], turn) + torch.tensor([0.01, 0.0])
    back = rotate(frames.heading[:, 0], turn) * torch.tensor([1.0, -1.0])
    steps = rotate(here - there, back) / model.scale[TOP][0]
    assert torch.allclose(found["past"][:, 0, 0], eased(steps), atol=1e-2)


@pytest.mark.parametrize("name", ["places", "near", "facing", "past", "swung"])
def test_what_bodies_see_is_the_same_however_the_camera_is_turned(name):
    """But for actions, which are not turned with the picture, and for the dot, which has no heading."""
    model, (obs, action) = fitted(), window()
    here, there = (seen(model, x, 0 * action)[name] for x in (obs, turned(obs, 0.6, (0.2, -0.1))))
    pick = {
        "places": (slice(None), slice(2)),
        "near": (slice(None), slice(4)),
        "facing": (slice(None), slice(2), slice(2)),
    }
    kept = pick.get(name, (slice(None), slice(None), slice(2)))
    assert torch.allclose(here[kept], there[kept], atol=2e-3 if name != "past" else 2e-2)


def test_a_model_of_motion_is_told_all_of_it():
    """Numbers as they are, in waves and how they changed; what bodies see, and the near in waves; loose points."""
    model, (obs, action) = fitted(), window()
    told, found = model.dynamics(obs, action, 2), seen(model, obs, action)
    joints = obs[..., :3]
    by_hand = [obs[:, -1], harmonics(joints[:, 1] / 4, 2), ((joints[:, 1] - joints[:, 0]) / model.scale[:3]).asinh()]
    by_hand += [action.flatten(1), *(part.flatten(1) for part in found.values())]
    by_hand.append(harmonics(found["near"].flatten(1), 2))
    assert torch.equal(told[:, : sum(part.shape[1] for part in by_hand)], torch.cat(by_hand, 1))
    assert model.pictures[1].count == 3 and len(model.pictures[1].rows) == 0


def test_loose_points_are_told_from_one_another_and_from_bodies():
    torch.manual_seed(0)
    spec = Spec((Part("top", (ROOM + 3, 2)),), 2)
    model, obs = ArrangementConfig().build(spec, WINDOW, 2), torch.rand(300, 2, 2 * ROOM + 6)
    model.fit_statistics(Pairs(obs[:, 0], torch.zeros(300, 2), obs[:, 1], torch.zeros(300)))
    bodies, points = model.pictures[0], obs.unflatten(-1, (-1, 2))
    assert len(bodies.rows) == 3 and bodies.ways.shape == (2, 3 + 3 + 3 * ROOM)
    assert set(bodies.ways[0].tolist()) == set(bodies.rows.tolist()) and (bodies.ways[0] != bodies.ways[1]).all()
    way = (points[:, 1, bodies.ways[0]] - points[:, 1, bodies.ways[1]]).flatten(1)
    past = ((points[:, 1] - points[:, 0]) / model.scale.view(-1, 2)).asinh()[:, bodies.rows].flatten(1)
    expected = torch.cat([past, way, harmonics(way, 2)], 1)
    assert model.relations.count == 0  # of noise
    assert torch.equal(model.dynamics(obs, torch.zeros(300, 2, 2), 2)[:, -expected.shape[1] :], expected)


def pushed_point() -> Pairs:
    """A hand among the numbers, and a disc that it pushes and a goal among the points."""
    before, after, _ = pushed()
    before, after = (torch.cat([x[:, :2], x[:, 2:] / 2], dim=1) for x in (before, after))
    return Pairs(before, torch.zeros(len(before), 2), after, torch.zeros(len(before)))


def test_points_are_seen_from_the_numbers_that_move_them():
    spec, pairs = Spec((Part("hand", (2,)), Part("top", (2, 2))), 2), pushed_point()
    model = ArrangementConfig().build(spec, WINDOW, 2)
    model.fit_statistics(pairs)
    assert "x of top 0 as seen from hand 1, y of top 0 as seen from hand 0" in model.found()
    window = torch.stack([pairs.before, pairs.after], 1)[:5]
    told = model.dynamics(window, torch.zeros(5, 2, 2), 2)
    assert torch.equal(told[:, -2 * 5 :], model.relations.told(pairs.after[:5], 2)), "those alone that were found"
    again = ArrangementConfig().build(spec, WINDOW, 2)
    again.load_state_dict(model.state_dict())
    assert again.relations.count == 2 and torch.equal(again.dynamics(window, torch.zeros(5, 2, 2), 2), told)


def test_points_of_a_body_with_a_shape_are_left_to_the_body():
    model = fitted()
    fixed = torch.cat([torch.zeros(3), *(b.member[b.firm].sum(0).repeat_interleave(2) for b in model.pictures)]) > 0
    assert fixed.any() and torch.equal(model._apart(), ~fixed)


@pytest.mark.parametrize("points", [1, 24, 256])
def test_of_any_number_of_points_so_much_is_told_at_most(points):
    """Networks are made for what is told before bodies are looked for."""
    spec = Spec((Part("top", (points, 2)),), 2)
    model, obs = ArrangementConfig().build(spec, WINDOW, 2), torch.rand(50, 2, 2 * points)
    most, still = model.dynamics_dim(), torch.zeros(50, 2)
    assert model.pictures[0].ways.shape[1] <= 96
    for seen in (obs, obs[:, :1].expand(-1, 2, -1), 0 * obs):
        model.fit_statistics(Pairs(seen[:, 0], still, seen[:, 1], torch.zeros(50)))
        assert model.dynamics_dim() <= most and torch.isfinite(model.dynamics(seen, torch.zeros(50, 2, 2), 2)).all()
        assert model.policy_dim() == model.policy_width


def test_what_was_found_is_in_the_weights():
    model, (obs, action) = fitted(), window()
    again = ArrangementConfig().build(SPEC, WINDOW, 2)
    again.load_state_dict(model.state_dict())
    assert torch.equal(again.dynamics(obs, action, 2), model.dynamics(obs, action, 2))
    assert torch.equal(again.policy(obs, action), model.policy(obs, action))


def test_before_anything_was_recorded_nothing_is_straightened_or_turned():
    model, (obs, action) = ArrangementConfig().build(SPEC, WINDOW, 2), window()
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
    """How near points are, and for each body, in its own axes, where it should be and where it should head."""
    model, pairs = fitted(), recorded()
    best = pairs.after[-1:]
    obs, rest = torch.stack([best, best], 1), torch.zeros(1, WINDOW, 2)
    filled = model.policy_width - model._situation(obs, rest).shape[1]
    assert filled > 0 and (model.policy(obs, rest)[:, -filled:] == 0).all()
    scale = math.sqrt(model.policy_width / (model.policy_width - filled))
    assert torch.allclose(model.policy(obs, rest)[:, :-filled], scale * model._situation(obs, rest))
    near = model._situation(obs, rest)[:, -12:]
    assert (near > 0.98).all()
    moved = turned(obs, 0.0, (0.1, 0.0))
    told = model._situation(moved, rest)
    assert torch.allclose(told[:, -12:-3], torch.full((1, 9), math.exp(-0.8)), atol=2e-2)
    frames = model.pictures[0].frames(best[:, TOP].unflatten(-1, (9, 2)), best[:, :3])
    way = told[:, -36:-30].view(3, 2)  # 9 + 3 nearnesses, 2 * 6 from the side
    expected = rotate(torch.tensor([-0.1, 0.0]).expand(3, 2), frames.heading[0, :3] * torch.tensor([1.0, -1.0]))
    assert torch.allclose(way, expected, atol=1e-3)
    swung = model._situation(turned(obs, 0.3), rest)[:, -30:-24].view(3, 2)
    back = torch.tensor([math.cos(0.3), -math.sin(0.3)])
    assert torch.allclose(swung[:2], back.expand(2, 2), atol=1e-3)


@pytest.mark.parametrize("spread, follows", [(1.0, True), (0.5, True), (0.1, False)])
def test_choices_stay_as_large_as_they_are_however_oblique_the_camera_is(spread, follows):
    pairs, choice = recorded(), torch.rand(400, 2)
    after = pairs.after.clone()
    after[:, TOP][:, 12:14] = pairs.before[:, TOP][:, 12:14] + pairs.action @ torch.diag(
        torch.tensor([0.1, 0.1 * spread])
    )
    model = ArrangementConfig().build(SPEC, WINDOW, 2)
    model.fit_statistics(Pairs(pairs.before, pairs.action, after, pairs.reward))
    told = model.to_action(pairs.before, choice)
    assert torch.allclose(told.norm(dim=1), choice.norm(dim=1), atol=1e-4) and torch.equal(told, choice) != follows


def test_several_choices_at_once_are_turned_alike():
    model, pairs = fitted(), recorded()
    choice = torch.rand(400, 3, 2)
    each = torch.stack([model.to_action(pairs.before, choice[:, i]) for i in range(3)], 1)
    assert torch.allclose(model.to_action(pairs.before, choice.flatten(1)), each.flatten(1), atol=1e-6)


def test_actions_that_say_where_to_go_are_known_from_those_that_say_how_far():
    """A dot that goes most of the way to where an action says: where it is sent is known, choices are not turned."""
    pairs, choice = recorded(), torch.rand(400, 2)
    after, here = pairs.after.clone(), pairs.before[:, TOP][:, 12:14]
    after[:, TOP][:, 12:14] = here + 0.6 * (pairs.action - here)
    model = ArrangementConfig().build(SPEC, WINDOW, 2)
    model.fit_statistics(Pairs(pairs.before, pairs.action, after, pairs.reward))
    bodies, points = model.pictures[0], pairs.before[:, TOP].unflatten(-1, (9, 2))
    assert bodies.driven[2] > 0.99 and torch.equal(model.to_action(pairs.before, choice), choice)
    frames = bodies.frames(points, pairs.before[:, :3])
    assert torch.allclose(bodies.sent(frames, pairs.action)[:, 2], after[:, TOP][:, 12:14], atol=1e-3)


def test_what_is_usual_is_told_as_it_is_and_a_jump_on_a_logarithmic_scale():
    x = torch.tensor([-80.0, -8.0, -3.0, 0.0, 0.1, 8.0, 8 * math.e])
    assert torch.allclose(eased(x), torch.tensor([-8 * (1 + math.log(10)), -8.0, -3.0, 0.0, 0.1, 8.0, 16.0]))
    assert torch.allclose(uneased(eased(x)), x, rtol=1e-5)


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


def test_numbers_that_tell_how_the_robot_heads_are_found_beside_points():
    """A cart that drives as it heads, by its numbers, and a dot on it, seen from above among others."""
    before, action, after = driven()
    spec = Spec((Part("cart", (5,)), Part("top", (4, 2))), 3)
    crowd = torch.rand(500, 3, 2)
    top = [torch.cat([0.1 * cart[:, [3, 0]].unsqueeze(1), crowd], 1).flatten(1) for cart in (before, after)]
    pairs = Pairs(torch.cat([before, top[0]], 1), action, torch.cat([after, top[1]], 1), torch.arange(500) / 500)
    model = ArrangementConfig().build(spec, WINDOW, 2)
    model.fit_statistics(pairs)
    assert "cart 1 and cart 4 tell a heading" in model.found().replace("cart 4 and cart 1", "cart 1 and cart 4")
    assert "1 point heading where numbers say, its steps" in model.found()
    change = model.bearings.change(before, after)
    delta = model.delta(pairs.before, pairs.after)
    assert torch.allclose(delta[:, :5].sinh() * model.scale[:5], change, atol=1e-4)
    assert torch.allclose(model.advance(pairs.before, delta), pairs.after, atol=1e-3)
    told = model.dynamics(torch.stack([pairs.before, pairs.after], 1), torch.zeros(500, 2, 3), 2)
    assert torch.allclose(told[:, 13 + 4 * 5 : 13 + 5 * 5], delta[:, :5], atol=1e-4)
    bodies = model.pictures[0]
    (body,) = (bodies.oriented & ~bodies.firm).nonzero()[0].tolist()
    heading = bodies.frames(pairs.before[:, 5:].unflatten(1, (4, 2)), before).heading[:, body]
    cos, sin = model.bearings._turning().heading(before)[:, 0].T  # but for mirrors and quarter turns the same
    assert torch.allclose(heading.abs().amax(1), torch.maximum(cos.abs(), sin.abs()), atol=1e-3)
    moved = delta.clone()
    moved[:, :5] = 0
    assert torch.allclose(model.advance(pairs.before, moved)[:, :5], before, atol=1e-4)
    assert torch.allclose(model.to_action(pairs.before, action), action)
