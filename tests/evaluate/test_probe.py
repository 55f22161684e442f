"""A probe reads where things are off observations, in the units that are recorded."""

import math

import numpy as np
import pytest
import torch
from torch import nn

from glocal.core.spec import Part, Spec
from glocal.evaluate.probe import Probe, ProbeConfig
from glocal.models.rigid2d.scene import scene_spec

SMALL = ProbeConfig(width=8, channels=8)


class Says(nn.Module):
    """The same six numbers for every row."""

    def __init__(self, *numbers: float):
        super().__init__()
        self.numbers = nn.Parameter(torch.tensor(numbers))

    def forward(self, x):
        return self.numbers.expand(len(x), -1)


def saying(*numbers: float) -> Probe:
    probe = Probe(SMALL, scene_spec(2))
    probe.body = Says(*numbers)  # pyright: ignore[reportAttributeAccessIssue]
    return probe


def test_poses_are_read_in_pixels_and_radians():
    pose = saying(-1.0, 0.5, 0.0, 1.0, 0.0, 2.0).read(torch.zeros(2, 3, 6), 512.0)
    assert pose.agent.shape == (2, 3, 2) and pose.angle.shape == (2, 3)
    assert np.allclose(pose.agent[1, 2], [0, 384]) and np.allclose(pose.block[1, 2], [256, 512])
    assert np.allclose(pose.angle, math.pi / 2)


def test_its_loss_is_the_squared_error_of_positions_in_half_tables_and_of_the_angles_arms():
    agent, pose = torch.tensor([[0.0, 384.0]]), torch.tensor([[256.0, 512.0, math.pi / 2]])
    obs = torch.zeros(1, 6)
    right = saying(-1.0, 0.5, 0.0, 1.0, 0.0, 1.0).loss(obs, agent, pose, 512.0)[0]
    assert float(right.detach()) == pytest.approx(0, abs=1e-9)
    loss, metrics = saying(0.0, 0.5, 0.0, 1.0, 0.5, 1.0).loss(obs, agent, pose, 512.0)
    assert float(loss.detach()) == pytest.approx((1 + 0.25) / 6) and metrics["squared"] is loss


def test_grids_are_read_with_the_agents_position_and_row_by_row():
    torch.manual_seed(0)
    probe = Probe(SMALL, Spec((Part("agent", (2,)), Part("image", (2, 4, 4))), 2))
    obs = torch.rand(5, 2 + 2 * 16)
    found = probe(obs)
    assert found.shape == (5, 6) and torch.allclose(probe(obs[2:3]), found[2:3], atol=1e-5)
    moved = obs.clone()
    moved[:, 1] += 1
    assert not torch.allclose(probe(moved), found)
    rolled = torch.cat([obs[:, :2], obs[:, 2:].view(5, 2, 4, 4).roll(1, -1).flatten(1)], 1)
    assert not torch.allclose(probe(rolled), found, atol=1e-3), "where in the grid a thing is has to count"


def test_long_recordings_are_read_whole_and_without_a_graph():
    torch.manual_seed(0)
    probe, obs = Probe(SMALL, scene_spec(2)), torch.rand(5000, 6)
    pose = probe.read(obs, 2.0)
    with torch.no_grad():
        assert np.allclose(pose.agent, probe(obs)[:, :2].numpy() + 1, atol=1e-5)
