"""Headings among numbers are found, and nothing else is taken for one."""

import math

import pytest
import torch

from glocal.core.compasses import Bearings, Compass, all_ways, compasses, rotate


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
    headings, places = bearings.pairs()
    assert [{*pair} for pair in headings] == [{1, 4}] and [{*pair} for pair in places] == [{0, 3}]
    told = bearings.change(before, after)
    swing = told[:, [1, 4]].abs().amax(0).argmax()
    expected = (0.3 * action[:, 2] / (2 if quaternion else 1)).sin()
    assert torch.allclose(told[:, [1, 4]][:, swing].abs(), expected.abs(), atol=2e-3)
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
    length = (wild @ heading.gain.T + heading.offset).norm(dim=1)
    assert torch.allclose(length, torch.ones(500), atol=1e-3)


def test_before_anything_is_found_changes_are_told_plainly():
    bearings, (before, action, after) = Bearings(5), driven()
    assert torch.equal(bearings.change(before, after), after - before)
    assert torch.equal(bearings.changed(before, after), before + after)
    bearings.find(before, action, after)
    noise = torch.randn(3, 500, 5)
    bearings.find(noise[0], action, noise[1])
    assert bearings.pairs() == ([], []) and torch.equal(bearings.change(before, after), after - before)


def test_a_place_that_is_moved_in_the_rooms_axes_is_told_plainly():
    bearings, (before, action, after) = Bearings(5), driven()
    after[:, [0, 3]] = before[:, [0, 3]] + action[:, :2]
    bearings.find(before, action, after)
    assert bearings.places == 0 and bearings.turns == 1


def test_what_was_found_is_kept_in_a_checkpoint():
    bearings, again = Bearings(5), Bearings(5)
    before, action, after = driven()
    bearings.find(before, action, after)
    again.load_state_dict(bearings.state_dict())
    assert torch.equal(again.change(before, after), bearings.change(before, after)) and again.places == 1


def test_two_switches_are_no_heading():
    switches = torch.where(torch.rand(500, 2) > 0.5, 1.0, 0.0)
    assert compasses(switches) == []
