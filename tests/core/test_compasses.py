"""Headings among numbers are found, nothing else is taken for one, and changes are told by them."""

import math

import pytest
import torch

from glocal.core.bearings import Bearings
from glocal.core.compasses import Compass, all_ways, compasses, fitted, places, rotate, spread


def angles(count: int = 500, most: float = math.pi) -> torch.Tensor:
    torch.manual_seed(0)
    return (2 * torch.rand(count) - 1) * most


def standardised(*columns: torch.Tensor) -> torch.Tensor:
    numbers = torch.stack(columns, 1)
    return (numbers - numbers.mean(0)) / numbers.std(0)


def off(found: Compass, numbers: torch.Tensor, angle: torch.Tensor) -> float:
    """How far a heading strays, at most, from an angle and a constant (rad)."""
    cos, sin = found.heading(numbers).unbind(-1)
    way = torch.complex(cos, sin) * torch.polar(torch.ones_like(angle), -angle)
    return float((way / way.mean()).angle().abs().max())


def test_a_heading_is_found_whichever_way_its_numbers_stand():
    angle = angles()
    numbers = standardised(torch.randn(500), angle.sin(), torch.rand(500), angle.cos())
    found = all_ways(compasses(numbers))
    assert len(found) == 4
    assert min(off(one, numbers, angle) for one in found) < 1e-3
    assert min(off(one, numbers, -angle) for one in found) < 1e-3
    assert all(torch.allclose(one.heading(numbers).norm(dim=-1), torch.ones(500)) for one in found)


def test_of_quaternions_the_angle_is_doubled():
    """In the plane they hold the sine and the cosine of half of it, and jump between a turn's two signs."""
    angle = angles()
    sign = torch.where(torch.rand(500) > 0.5, 1.0, -1.0)
    numbers = standardised(sign * (angle / 2).cos(), sign * (angle / 2).sin())
    assert min(off(one, numbers, angle) for one in all_ways(compasses(numbers)) if one.doubled) < 1e-3


def test_a_heading_is_found_though_the_robot_never_turned_about():
    angle = 1 + angles(most=1.0)
    numbers = standardised(angle.cos(), angle.sin())
    assert min(off(one, numbers, angle) for one in compasses(numbers)) < 1e-2


@pytest.mark.parametrize(
    "columns",
    [
        (torch.randn(500), torch.randn(500)),
        (torch.linspace(0, 1, 500), torch.linspace(0, 1, 500) ** 2 + 0.1 * torch.rand(500)),
        (torch.where(torch.rand(500) > 0.5, 1.0, -1.0), torch.randn(500)),
        (torch.ones(500), torch.randn(500)),
        (torch.zeros(500), torch.zeros(500)),
    ],
    ids=["noise", "a curve", "a switch", "a constant", "nothing"],
)
def test_other_numbers_are_no_headings(columns):
    assert compasses(torch.stack(columns, 1)) == []


@pytest.mark.parametrize("shape", [(500, 0), (500, 1), (1, 3)])
def test_of_hardly_any_numbers_nothing_is_made(shape):
    assert all(torch.isfinite(one.gain).all() for one in compasses(torch.rand(shape)))


def test_noise_of_a_percent_leaves_a_heading_and_of_a_tenth_does_not():
    angle = angles()
    clean = torch.stack([angle.cos(), angle.sin()], 1)
    assert compasses(clean + 0.01 * torch.randn(500, 2)) and not compasses(clean + 0.1 * torch.randn(500, 2))


def driven(quaternion: bool = False, hand: float = 1.0) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """A cart that drives in its own axes and turns, both as it is told, beside a number that goes its own way: before,
    action and after, standardised."""
    angle, action = angles(), torch.rand(500, 3) * 2 - 1
    place, other = torch.randn(500, 2) * torch.tensor([2.0, 0.5]), torch.randn(500)
    turned = angle + 0.3 * action[:, 2]
    step = rotate(action[:, :2] * torch.tensor([0.2, 0.1]), torch.stack([angle.cos(), angle.sin()], 1))
    moved = place + step * torch.tensor([1.0, hand])

    def told(place: torch.Tensor, angle: torch.Tensor, other: torch.Tensor) -> torch.Tensor:
        part = angle / 2 if quaternion else angle
        return torch.stack([place[:, 1], part.sin(), other, place[:, 0], part.cos()], 1)

    before, after = told(place, angle, other), told(moved, turned, other + 0.1 * torch.randn(500))
    mean, std = before.mean(0), before.std(0)
    return (before - mean) / std, action, (after - mean) / std


@pytest.mark.parametrize("hand", [1.0, -1.0])
@pytest.mark.parametrize("quaternion", [False, True])
def test_turns_and_steps_are_told_as_the_cart_was_told(quaternion, hand):
    bearings, (before, action, after) = Bearings(5), driven(quaternion, hand)
    bearings.find(before, action, after)
    assert [{*pair} for pair in bearings.places] == [{0, 3}]
    assert [{*pair} for pair in bearings.headings] == ([] if quaternion else [{1, 4}])  # half a circle is no turn
    told = bearings.change(before, after)
    turning = told[:, [1, 4]]
    assert quaternion or torch.allclose(turning.abs().amax(1), (0.3 * action[:, 2]).sin().abs(), atol=2e-3)
    step, actions = told[:, [0, 3]], torch.cat([action[:, :2], torch.ones(500, 1)], 1)
    left = step - actions @ torch.linalg.lstsq(actions, step).solution
    assert (left.var(0) < 1e-3 * step.var(0)).all()
    assert torch.equal(told[:, 2], after[:, 2] - before[:, 2])


def test_a_change_that_was_told_is_undone_and_headings_stay_on_their_circle():
    bearings, (before, action, after) = Bearings(5), driven()
    bearings.find(before, action, after)
    assert torch.allclose(bearings.changed(before, bearings.change(before, after)), after, atol=1e-4)
    wild = bearings.changed(before, torch.randn(500, 5))
    (heading,) = compasses(before)
    assert torch.allclose(heading.way(wild).norm(dim=1), torch.ones(500), atol=1e-3)


def test_before_anything_is_found_changes_are_told_plainly():
    bearings, (before, action, after) = Bearings(5), driven()
    assert torch.equal(bearings.change(before, after), after - before)
    assert torch.equal(bearings.changed(before, after), before + after)
    bearings.find(before, action, after)
    noise = torch.randn(3, 500, 5)
    bearings.find(noise[0], action, noise[1])
    assert bearings.headings == bearings.places == [] and torch.equal(bearings.change(before, after), after - before)


def test_a_place_that_is_moved_in_the_rooms_axes_is_told_plainly():
    bearings, (before, action, after) = Bearings(5), driven()
    after[:, [0, 3]] = before[:, [0, 3]] + action[:, :2]
    bearings.find(before, action, after)
    assert bearings.places == [] and len(bearings.headings) == 1


def test_what_was_found_is_kept_in_a_checkpoint():
    bearings, again = Bearings(5), Bearings(5)
    before, action, after = driven()
    bearings.find(before, action, after)
    again.load_state_dict(bearings.state_dict())
    assert torch.equal(again.change(before, after), bearings.change(before, after)) and len(again.places) == 1


@pytest.mark.parametrize("noise", [0.0, 0.014, 0.018])
def test_two_switches_are_no_heading(noise):
    torch.manual_seed(0)
    assert compasses(torch.where(torch.rand(4096, 2) > 0.5, 1.0, -1.0) + noise * torch.randn(4096, 2)) == []


def test_among_switches_and_many_other_numbers_a_heading_is_found():
    angle = angles(2000)
    switches = torch.where(torch.rand(2000, 4) > 0.4, 1.0, 0.0)
    numbers = standardised(angle.cos(), *torch.randn(8, 2000), *switches.T, angle.sin() + 1e-3 * torch.randn(2000))
    assert [(one.gain != 0).any(0).nonzero()[:, 0].tolist() for one in compasses(numbers)] == [[0, 13]]


def test_a_heading_that_is_logged_twice_leaves_room_for_another():
    angle, other = angles(), angles().flip(0)
    numbers = standardised(angle.cos(), angle.sin(), angle.cos(), angle.sin(), angle.sin(), other.cos(), other.sin())
    used = [(one.gain != 0).any(0).nonzero()[:, 0].tolist() for one in compasses(numbers)]
    assert [5, 6] in used and len(used) == 3


@pytest.mark.parametrize("shift", [0.0, 0.9, 3.0])
def test_where_the_circle_lies_does_not_matter(shift):
    angle = angles()
    numbers = torch.stack([2 * angle.cos() + shift, 0.1 * angle.sin() - shift], 1)
    assert min(off(one, numbers, angle) for one in all_ways(compasses(numbers))) < 1e-3


def test_two_joints_that_move_along_one_curve_are_no_heading_that_turns():
    """They may lie near an arc, from which nothing that is imagined must be kept."""
    torch.manual_seed(0)
    angle = 0.6 + 1.2 * torch.linspace(0, 1, 50).repeat(20)
    before, after = angle[:-1], angle[1:]
    bearings, shown = Bearings(2), (lambda angle: torch.stack([angle.cos(), angle.sin()], 1))
    rows = after > before
    bearings.find(shown(before[rows]), torch.rand(int(rows.sum()), 2), shown(after[rows]))
    assert len(compasses(shown(angle))) == 1 and bearings.headings == []


def test_a_heading_that_jumps_about_is_told_plainly():
    bearings, (before, action, _) = Bearings(5), driven()
    bearings.find(before, action, before.flip(0))
    assert bearings.headings == []


def test_standing_still_moves_nothing_though_numbers_are_noisy():
    bearings, (before, action, after) = Bearings(5), driven()
    before, after = (part + 0.01 * torch.randn(500, 5) for part in (before, after))
    bearings.find(before, action, after)
    assert len(bearings.headings) == 1
    assert torch.allclose(bearings.changed(before, torch.zeros(500, 5)), before, atol=1e-4)
    assert torch.allclose(bearings.changed(before, bearings.change(before, after)), after, atol=2e-2)


def test_gradients_are_bounded_wherever_numbers_are():
    bearings, (before, action, after) = Bearings(5), driven()
    bearings.find(before, action, after)
    (heading,) = compasses(before)
    centre = before[:4].clone()
    columns = bearings.headings[0]
    centre[:, columns] = -heading.offset / heading.gain.sum(-1) + torch.tensor([[0.0], [1e-8], [1e-3], [0.05]])
    centre.requires_grad_()
    told = (0.1 * torch.randn(4, 5)).requires_grad_()
    for made in (bearings.change(centre, after[:4]), bearings.changed(centre, told)):
        for gradient in torch.autograd.grad(made.sum(), [centre, told], allow_unused=True):
            assert gradient is None or (gradient.abs() < 100).all()


def test_more_than_one_place_is_found_and_no_number_is_in_two():
    torch.manual_seed(0)
    angle, action = angles(2000), torch.rand(2000, 2) * 2 - 1
    heading = torch.stack([angle.cos(), angle.sin()], 1)
    other = action @ torch.tensor([[0.0, 0.3], [0.3, 0.1]]) + 0.05 * torch.randn(2000, 2)
    step, slow = rotate(action, heading), rotate(other, heading)
    numbers = torch.cat([torch.randn(2000, 5), heading], 1)
    moves = torch.cat([step[:, :1], slow, step[:, 1:], step[:, 1:], 0 * heading], 1)
    used = [
        (one.weight != 0).any(0).nonzero()[:, 0].tolist() for one in places(numbers, action, moves, compasses(numbers))
    ]
    assert used in ([[0, 3], [1, 2]], [[0, 4], [1, 2]])


def test_numbers_that_actions_move_unlike_a_place_are_none():
    torch.manual_seed(0)
    angle, action = angles(2000), torch.rand(2000, 2) * 2 - 1
    heading = torch.stack([angle.cos(), angle.sin()], 1)
    along, across = rotate(action, heading)[:, 0], rotate(action.flip(1) * torch.tensor([1.0, 2.0]), heading)[:, 1]
    numbers = torch.cat([torch.randn(2000, 2), heading], 1)
    assert places(numbers, action, torch.stack([along, across, 0 * along, 0 * along], 1), compasses(numbers)) == []


def test_a_fit_says_what_it_leaves():
    torch.manual_seed(0)
    told, noise = torch.randn(40, 10, dtype=torch.double), torch.randn(40, 2, dtype=torch.double)
    weight = torch.randn(10, 2, dtype=torch.double)
    found, left = fitted(told, told @ weight + noise)
    assert torch.allclose(left, (noise - told @ (found - weight)).pow(2).sum(0) / 30)


def test_rows_are_spread_in_no_rhythm():
    rows = spread(4096 * 50, 4096, torch.device("cpu"))
    assert torch.equal(rows, spread(4096 * 50, 4096, torch.device("cpu"))) and (rows.diff() > 0).all()
    assert (rows.remainder(50).bincount(minlength=50) > 40).all()
    assert torch.equal(spread(3, 9, torch.device("cpu")), torch.arange(3))
