"""Scenes: frames, changes and features that do not care where on the table things happen."""

import math

import pytest
import torch

from glocal.core.geometry import Scene, fit_frame, rotate, unrotate
from glocal.core.types import Points, Spec

SHAPE = torch.tensor([[-0.3, -0.1], [0.3, -0.1], [0.0, 0.2]])
RIGID, LOOSE = Spec(Points(3, rigid=True), 2, 0.2), Spec(Points(3, rigid=False), 2, 0.2)


def placed(angle: torch.Tensor, centre: torch.Tensor, agent: torch.Tensor) -> torch.Tensor:
    turn = torch.stack([angle.cos(), angle.sin()], -1)
    points = rotate(SHAPE.expand(len(angle), -1, -1), turn) + centre[:, None]
    return torch.cat([points.flatten(1), agent], -1)


def random_scenes(count: int) -> torch.Tensor:
    torch.manual_seed(0)
    return placed(torch.rand(count) * 6, torch.rand(count, 2) - 0.5, torch.rand(count, 2) - 0.5)


def measured(spec: Spec) -> Scene:
    scene, obs = Scene(spec, 2, 3), random_scenes(50)
    scene.measure(obs, obs + 0.01 * torch.randn_like(obs), torch.rand(50))
    return scene


def test_a_frame_is_found_where_the_shape_was_put():
    centre, angle = torch.tensor([[0.3, -0.2]]), torch.tensor([1.2])
    obs = placed(angle, centre, centre)
    frame = fit_frame(obs[:, :6].view(1, 3, 2), SHAPE)
    assert torch.allclose(frame.centre, centre, atol=1e-6)
    assert torch.allclose(frame.turn, torch.tensor([[math.cos(1.2), math.sin(1.2)]]), atol=1e-6)


def test_unrotate_undoes_rotate():
    turn = torch.nn.functional.normalize(torch.randn(5, 2), dim=-1)
    xy = torch.randn(5, 7, 2)
    assert torch.allclose(unrotate(rotate(xy, turn), turn), xy, atol=1e-6)


@pytest.mark.parametrize("spec", [RIGID, LOOSE])
def test_applying_a_change_undoes_taking_it(spec):
    scene, obs = measured(spec), random_scenes(20)
    before, after = obs[:10], obs[10:]
    assert torch.allclose(scene.changed(before, scene.change(before, after)), after, atol=1e-5)


def test_a_rigid_body_comes_out_rigid():
    scene, obs = measured(RIGID), random_scenes(10)
    after = scene.changed(obs, torch.randn_like(obs))
    sides = torch.cdist(after[:, :6].view(-1, 3, 2), after[:, :6].view(-1, 3, 2))
    assert torch.allclose(sides, torch.cdist(SHAPE, SHAPE).expand(10, -1, -1), atol=1e-4)


def test_the_same_motion_looks_the_same_wherever_the_body_lies():
    scene = measured(RIGID)
    angle, shift = torch.tensor([0.7]), torch.tensor([[0.2, -0.1]])
    turn = torch.stack([angle.cos(), angle.sin()], -1)
    before, after = random_scenes(1), random_scenes(2)[1:]

    def elsewhere(obs):
        return (rotate(obs.view(1, -1, 2), turn) + shift[:, None]).flatten(1)

    assert torch.allclose(scene.change(before, after), scene.change(elsewhere(before), elsewhere(after)), atol=1e-4)


@pytest.mark.parametrize("spec", [RIGID, LOOSE])
def test_situations_have_the_length_that_they_say(spec):
    scene = measured(spec)
    window, action = torch.randn(4, 2, spec.obs_dim), torch.rand(4, 2, 2)
    assert scene.situation(window, action, scene.scales).shape == (4, scene.situation_dim())
    assert scene.outlook(window, action).shape == (4, scene.outlook_dim())


def test_targets_end_at_the_edge_of_the_table():
    scene = measured(LOOSE)
    obs = torch.zeros(1, 8)
    obs[0, -2:] = 0.95
    assert torch.allclose(scene.target(obs, torch.tensor([[1.0, -1.0]])), torch.tensor([[1.0, 0.75]]))
