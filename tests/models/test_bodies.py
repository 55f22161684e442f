"""Bodies are found in recorded points, and stay what they are."""

import math

import pytest
import torch

from glocal.core.compasses import rotate
from glocal.models.bodies import ROOM, Bodies

HAMMER = torch.tensor([[-0.2, 0.0], [0.0, 0.0], [0.2, 0.0], [0.0, 0.3], [0.0, 0.15]])
BAR = torch.tensor([[-0.1, 0.0], [0.1, 0.0], [0.05, 0.02]])
REACH = torch.tensor([[0.1, 0.02], [0.02, -0.1]])


def nothing(points: torch.Tensor) -> torch.Tensor:
    """No numbers beside points (*, k, 2)."""
    return points.new_zeros(*points.shape[:-2], 0)


def placed(shape: torch.Tensor, count: int) -> torch.Tensor:
    """A body at random places and angles (count, k, 2)."""
    turn = torch.rand(count, 1) * 2 * math.pi
    turn = torch.stack([turn.cos(), turn.sin()], -1)
    return rotate(shape.expand(count, -1, -1), turn) + torch.rand(count, 1, 2) - 0.5


def recorded(count: int = 400) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """A hammer, a bar and a dot between their points, which an action moves: before, action, after."""
    torch.manual_seed(0)
    hammer, bar, dot = placed(HAMMER, count), placed(BAR, count), torch.rand(count, 1, 2) - 0.5
    before = torch.cat([hammer[:, :2], bar[:, :1], hammer[:, 2:], dot, bar[:, 1:]], 1)
    action = torch.rand(count, 2) * 2 - 1
    after = before + 0.002 * torch.randn(count, 1, 2)
    after[:, 6] = before[:, 6] + action @ REACH.T + torch.tensor([0.01, 0.0])
    return before, action, after


def found() -> Bodies:
    bodies = Bodies(9, 2)
    bodies.find(*recorded(), torch.zeros(400, 0))
    return bodies


def test_points_whose_distances_stay_lie_on_one_body_the_largest_first():
    rows = [row.nonzero()[:, 0].tolist() for row in found().member]
    assert rows == [[0, 1, 3, 4, 5], [2, 7, 8], [6], []]
    assert found().oriented.tolist() == [True, True, False, False]
    assert found().count == 3 and len(found().rows) == 0


def test_what_an_action_does_is_found_for_each_body():
    bodies = found()
    assert torch.allclose(bodies.reach[2], REACH, atol=1e-4) and torch.allclose(
        bodies.reach[0], torch.zeros(2, 2), atol=1e-3
    )
    assert bodies.driven[2] > 0.99 and (bodies.driven[[0, 1, 3]] < 0.1).all()


def test_what_is_steered_in_its_own_axes_is_told_from_what_is_moved_in_the_pictures():
    """A hammer that drives where its handle points, whichever way it lies."""
    torch.manual_seed(0)
    bodies, before, action = Bodies(5, 2), placed(HAMMER, 400), torch.rand(400, 2) * 2 - 1
    bodies.find(before, torch.zeros(400, 2), before, nothing(before))
    turn = bodies.frames(before, nothing(before)).heading
    after = before + rotate(action @ REACH.T, turn[:, 0])[:, None]
    bodies.find(before, action, after, nothing(before))
    assert bodies.steered.tolist() == [True, False, False, False] and bodies.driven[0] > 0.99
    frames = bodies.frames(before, nothing(before))
    assert torch.allclose(
        bodies.sent(frames, action)[:, 0], bodies.frames(after, nothing(after)).centre[:, 0], atol=1e-4
    )
    assert not found().steered[2]


def test_shapes_are_those_of_the_bodies_in_spite_of_noise():
    before, action, after = recorded()
    bodies = Bodies(9, 2)
    bodies.find(
        before + 0.004 * torch.randn_like(before), action, after, nothing(before + 0.004 * torch.randn_like(before))
    )
    shape = bodies.shape[0, bodies.member[0] > 0]
    assert torch.allclose(torch.cdist(shape, shape), torch.cdist(HAMMER, HAMMER), atol=2e-3)
    assert bodies.oriented.tolist() == [True, True, False, False]


def test_a_body_turns_only_as_far_as_its_points_can_tell():
    """Four points on one spot, seen with an error: they are one body, and its angle would be noise."""
    torch.manual_seed(0)
    points = torch.rand(300, 1, 2) + 0.01 * torch.randn(300, 4, 2)
    bodies = Bodies(4, 2)
    bodies.find(points, torch.zeros(300, 2), points, nothing(points))
    assert bodies.member[0].tolist() == [1] * 4 and not bodies.oriented.any()
    assert (bodies.frames(points, nothing(points)).heading == torch.tensor([1.0, 0.0])).all()
    assert (bodies.axes_of(points, nothing(points)) == torch.tensor([1.0, 0.0])).all()


def test_frames_follow_a_body():
    bodies, before = found(), recorded()[0]
    angle = torch.tensor(0.7)
    turn = torch.stack([angle.cos(), angle.sin()])
    moved = rotate(before, turn.expand(1, 1, 2)) + torch.tensor([0.1, -0.2])
    here, there = bodies.frames(before, nothing(before)), bodies.frames(moved, nothing(moved))
    centres = rotate(here.centre, turn.expand(1, 1, 2)) + torch.tensor([0.1, -0.2])
    assert torch.allclose(there.centre[:, :3], centres[:, :3], atol=1e-5)
    assert torch.allclose(there.heading[:, :2], rotate(here.heading, turn.expand(1, 1, 2))[:, :2], atol=1e-4)


def test_straightened_bodies_have_their_shape_again():
    bodies, before = found(), recorded()[0]
    bent = before + 0.02 * torch.randn_like(before)
    straight = bodies.straighten(bent)
    rows = bodies.member[0] > 0
    sides = torch.cdist(straight[:, rows], straight[:, rows])
    assert torch.allclose(sides, torch.cdist(HAMMER, HAMMER).expand_as(sides), atol=1e-3)
    assert torch.allclose(
        bodies.frames(bent, nothing(bent)).centre[:, :3],
        bodies.frames(straight, nothing(straight)).centre[:, :3],
        atol=1e-5,
    )
    assert torch.allclose(bodies.straighten(straight), straight, atol=1e-5)
    assert torch.allclose(straight[:, 6], bent[:, 6], atol=1e-6)
    assert torch.allclose(bodies.straighten(before), before, atol=1e-3)


def test_changes_are_told_in_the_axes_of_a_points_body_or_of_the_largest_that_turns():
    bodies, before = found(), recorded()[0]
    turn, axes = bodies.frames(before, nothing(before)).heading, bodies.axes_of(before, nothing(before))
    for row in range(9):
        own = 0 if bodies.member[0, row] or row == 6 else 1
        assert torch.equal(axes[:, row], turn[:, own])


def test_of_more_bodies_than_there_is_room_for_the_rest_is_loose():
    torch.manual_seed(0)
    points, action = torch.rand(300, ROOM + 2, 2), torch.zeros(300, 2)
    bodies = Bodies(ROOM + 2, 2)
    bodies.find(points, action, points, nothing(points))
    assert bodies.count == ROOM and len(bodies.rows) == 2
    loose = bodies.rows
    assert torch.equal(bodies.straighten(points)[:, loose], points[:, loose])
    assert (bodies.axes_of(points, nothing(points)) == torch.tensor([1.0, 0.0])).all()


def test_what_was_found_is_told_in_words():
    assert found().described() == (
        "3 bodies (5 points with a heading; 3 points with a heading; 1 point, its steps 100% by actions)"
    )
    resting = Bodies(3, 2)
    resting.find(torch.zeros(9, 3, 2), torch.zeros(9, 2), torch.zeros(9, 3, 2), nothing(torch.zeros(9, 3, 2)))
    assert resting.described() == "no bodies; 3 loose points"


@pytest.mark.parametrize("points", [torch.rand(1, 1, 2), torch.zeros(1, 3, 2), torch.ones(50, 3, 2)])
def test_little_to_look_at_is_enough(points):
    bodies = Bodies(points.shape[1], 2)
    bodies.find(points, torch.zeros(len(points), 2), points, nothing(points))
    assert all(torch.isfinite(buffer).all() for buffer in bodies.buffers())
    assert torch.allclose(bodies.straighten(points), points) and (bodies.driven == 0).all()


def test_what_was_found_before_is_forgotten():
    bodies, (before, action, after) = found(), recorded()
    bodies.find(before[:, torch.randperm(9)], action, after, nothing(before[:, torch.randperm(9)]))
    again = Bodies(9, 2)
    torch.manual_seed(1)
    order = torch.randperm(9)
    again.find(before[:, order], action, after[:, order], nothing(before[:, order]))
    bodies.find(before[:, order], action, after[:, order], nothing(before[:, order]))
    for here, there in zip(bodies.buffers(), again.buffers(), strict=True):
        assert torch.allclose(here.float(), there.float(), atol=1e-5)


def told_where_it_heads(mirrored: bool) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    """A dot that drives in its own axes, which numbers tell, and a bar: before, action, after, and numbers."""
    torch.manual_seed(0)
    angle, action = torch.rand(400) * 2 * math.pi, torch.rand(400, 2) * 2 - 1
    heading = torch.stack([angle.cos(), angle.sin() * (-1 if mirrored else 1)], 1)
    before = torch.cat([torch.rand(400, 1, 2) - 0.5, placed(BAR, 400)], 1)
    after = before.clone()
    after[:, 0] += rotate(action @ REACH.T, heading)
    return before, action, after, torch.stack([torch.randn(400), 1.5 * angle.sin(), torch.randn(400), angle.cos()], 1)


@pytest.mark.parametrize("mirrored", [False, True])
def test_a_body_that_shows_no_heading_heads_where_numbers_say(mirrored):
    bodies, (before, action, after, numbers) = Bodies(4, 2, 4), told_where_it_heads(mirrored)
    bodies.find(before, action, after, numbers)
    assert bodies.member[1].tolist() == [1, 0, 0, 0] and bodies.steered.tolist() == [False, True, False, False]
    assert bodies.firm.tolist() == [True, False, False, False] and bodies.oriented.tolist() == [
        True,
        True,
        False,
        False,
    ]
    assert bodies.driven[1] > 0.99
    sent = bodies.sent(bodies.frames(before, numbers), action)
    assert torch.allclose(sent[:, 1], after[:, 0], atol=1e-3)
    assert torch.allclose(bodies.axes_of(before, numbers)[:, 0], bodies.frames(before, numbers).heading[:, 1])
    assert torch.allclose(bodies.straighten(before)[:, 0], before[:, 0])
    assert "1 point heading where numbers say, its steps 100% by actions in its own axes" in bodies.described()


def test_of_a_quaternion_a_body_takes_twice_the_angle_and_rows_are_those_of_its_points():
    """More rows than are looked at, of which the first alone would not do."""
    torch.manual_seed(0)
    angle, action = torch.rand(9000) * 2 * math.pi, torch.rand(9000, 2) * 2 - 1
    before = torch.rand(9000, 1, 2) - 0.5
    after = before + rotate(action @ REACH.T, torch.stack([angle.cos(), angle.sin()], 1))[:, None]
    numbers = torch.stack([(angle / 2).cos(), (angle / 2).sin()], 1)
    bodies = Bodies(1, 2, 2)
    bodies.find(before, action, after, numbers)
    assert bodies.steered[0] and bodies.driven[0] > 0.99 and bodies.doubled[0] == 1


def test_a_body_that_always_goes_ahead_heads_where_numbers_say():
    before, _, _, numbers = told_where_it_heads(False)
    heading = torch.stack([numbers[:, 3], numbers[:, 1] / 1.5], 1)
    action, after = 0.8 + 0.2 * torch.rand(400, 2), before.clone()
    after[:, 0] += rotate(0.1 * action[:, :1] * torch.tensor([1.0, 0.0]), heading) + 0.003 * torch.randn(400, 2)
    bodies = Bodies(4, 2, 4)
    bodies.find(before, action, after, numbers)
    assert bodies.oriented[1] and not bodies.firm[1]


def test_a_body_that_shows_its_heading_is_not_told_another():
    torch.manual_seed(0)
    angle, action = torch.rand(400) * 2 * math.pi, torch.rand(400, 2) * 2 - 1
    heading = torch.stack([angle.cos(), angle.sin()], 1)
    before = placed(HAMMER, 400)
    after = before + rotate(action @ REACH.T, heading)[:, None]
    bodies = Bodies(5, 2, 2)
    bodies.find(before, action, after, heading)
    assert bodies.firm[0] and bodies.oriented[0] and not bodies.gain.any()


def test_numbers_say_nothing_where_actions_explain_no_more_by_them():
    before, action, after, numbers = told_where_it_heads(False)
    after[:, 0] = before[:, 0] + action @ REACH.T
    bodies = Bodies(4, 2, 4)
    bodies.find(before, action, after, numbers)
    assert not bodies.oriented[1] and not bodies.steered.any() and bodies.driven[1] > 0.99
    bodies.find(before, torch.zeros_like(action), after, numbers)
    assert not bodies.oriented[1] and bodies.gain.abs().max() == 0


def test_what_drives_where_numbers_say_has_room():
    before, action, after, numbers = told_where_it_heads(False)
    crowd = torch.rand(400, ROOM + 2, 2) * 3
    bodies = Bodies(4 + ROOM + 2, 2, 4)
    bodies.find(torch.cat([crowd, before], 1), action, torch.cat([crowd, after], 1), numbers)
    assert bodies.member[:, ROOM + 2].sum() == 1 and bodies.steered.sum() == 1


@pytest.mark.parametrize("numbers", [0, 3])
def test_of_few_moments_actions_explain_less_than_nothing_and_nobody_heads(numbers):
    torch.manual_seed(0)
    for _ in range(20):
        bodies = Bodies(6, 4, numbers)
        bodies.find(torch.rand(12, 6, 2), torch.rand(12, 4), torch.rand(12, 6, 2), torch.rand(12, numbers))
        assert not bodies.gain.any()
