"""Ways to a goal go along what was recorded, from likeness to likeness."""

import numpy as np
import pytest
import torch

from glocal.data.rewards import geodesic as module
from glocal.data.rewards.geodesic import geodesic


def bent(count: int) -> torch.Tensor:
    """Points along a horseshoe, whose ends are near one another but far apart along it."""
    angle = torch.linspace(0.6, 2 * torch.pi - 0.6, count)
    return torch.stack([angle.cos(), angle.sin()], 1)


def test_the_way_along_a_horseshoe_is_told_and_not_the_way_across():
    points = bent(120)
    (found,) = geodesic([points], points[:1])
    assert (np.diff(found) > 0).all() and found[0] == 0
    assert torch.cdist(points[:1], points)[0].argmax() < 90  # straight, the farthest is across


def test_episodes_are_joined_where_they_are_alike():
    """Nobody went the whole way: one episode the first half of it, the other one, which begins nearby, the second."""
    line = torch.stack([torch.linspace(0, 10, 41), torch.zeros(41)], 1)
    first, second = line[:22], line[20:] + torch.tensor([0.0, 0.01])
    near, far = geodesic([first, second], line[:1])
    assert (np.diff(near) > 0).all() and (np.diff(far) > 0).all() and far[2] == pytest.approx(near[-1], abs=0.3)


def test_frames_between_landmarks_are_filled_in(monkeypatch):
    points = bent(119)
    (whole,) = geodesic([points], points[:1])
    monkeypatch.setattr(module, "LANDMARKS", 40)
    (part,) = geodesic([points], points[:1])
    assert len(part) == 119 and np.corrcoef(np.argsort(np.argsort(part)), np.argsort(np.argsort(whole)))[0, 1] > 0.99


def test_what_nothing_leads_to_is_as_far_as_anything():
    found = geodesic([torch.zeros(30, 2) + torch.arange(30)[:, None], torch.full((30, 2), 1e4)], torch.zeros(1, 2))
    assert found[1] == pytest.approx(found[0].max())
