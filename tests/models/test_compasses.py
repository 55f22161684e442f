"""Headings among numbers are found, and nothing else is taken for one."""

import math

import pytest
import torch

from glocal.models.compasses import Compass, compasses


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
    found = compasses(numbers)
    assert len(found) == 4
    assert min(off(one, numbers, angle) for one in found) < 1e-3
    assert min(off(one, numbers, -angle) for one in found) < 1e-3
    assert all(torch.allclose(one.heading(numbers).norm(dim=-1), torch.ones(500)) for one in found)


def test_of_quaternions_the_angle_is_doubled():
    """In the plane they hold the sine and the cosine of half of it, and jump between a turn's two signs."""
    angle = angles()
    sign = torch.where(torch.rand(500) > 0.5, 1.0, -1.0)
    numbers = standardised(sign * (angle / 2).cos(), sign * (angle / 2).sin())
    assert min(off(one, numbers, angle) for one in compasses(numbers) if one.doubled) < 1e-3


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
