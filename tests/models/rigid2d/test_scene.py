"""Scenes: frames, changes and features that do not care where on the table things happen."""

import math

import pytest
import torch

from glocal.models.rigid2d.scene import Scene, SceneConfig, SceneOutcome, fit_frame, rotate, scene_spec, unrotate
from tests.toys import control_steps

SHAPE = torch.tensor([[-0.3, -0.1], [0.3, -0.1], [0.0, 0.2]])
SPEC, RIGID, LOOSE = scene_spec(3), SceneConfig(rigid=True, reach=0.2), SceneConfig(rigid=False, reach=0.2)


def placed(angle: torch.Tensor, centre: torch.Tensor, agent: torch.Tensor) -> torch.Tensor:
    turn = torch.stack([angle.cos(), angle.sin()], -1)
    points = rotate(SHAPE.expand(len(angle), -1, -1), turn) + centre[:, None]
    return torch.cat([points.flatten(1), agent], -1)


def random_scenes(count: int) -> torch.Tensor:
    torch.manual_seed(0)
    return placed(torch.rand(count) * 6, torch.rand(count, 2) - 0.5, torch.rand(count, 2) - 0.5)


def measured(cfg: SceneConfig) -> Scene:
    scene, obs = Scene(cfg, SPEC, 2, 3), random_scenes(50)
    scene.fit_statistics(control_steps(obs, obs + 0.01 * torch.randn_like(obs), torch.rand(50)))
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


@pytest.mark.parametrize("cfg", [RIGID, LOOSE])
def test_applying_a_change_undoes_taking_it(cfg):
    scene, obs = measured(cfg), random_scenes(20)
    before, after = obs[:10], obs[10:]
    assert torch.allclose(scene.advance(before, scene.delta(before, after)), after, atol=1e-5)


def test_a_rigid_body_comes_out_rigid():
    scene, obs = measured(RIGID), random_scenes(10)
    after = scene.advance(obs, torch.randn_like(obs))
    sides = torch.cdist(after[:, :6].view(-1, 3, 2), after[:, :6].view(-1, 3, 2))
    assert torch.allclose(sides, torch.cdist(SHAPE, SHAPE).expand(10, -1, -1), atol=1e-4)


def test_the_same_motion_looks_the_same_wherever_the_body_lies():
    scene = measured(RIGID)
    angle, shift = torch.tensor([0.7]), torch.tensor([[0.2, -0.1]])
    turn = torch.stack([angle.cos(), angle.sin()], -1)
    before, after = random_scenes(1), random_scenes(2)[1:]

    def elsewhere(obs):
        return (rotate(obs.view(1, -1, 2), turn) + shift[:, None]).flatten(1)

    assert torch.allclose(scene.delta(before, after), scene.delta(elsewhere(before), elsewhere(after)), atol=1e-4)


@pytest.mark.parametrize("cfg", [RIGID, LOOSE])
def test_situations_have_the_length_that_they_say(cfg):
    scene = measured(cfg)
    window, action = torch.randn(4, 2, SPEC.obs_dim), torch.rand(4, 2, 2)
    assert scene.dynamics(window, action, scene.scales).shape == (4, scene.dynamics_dim())
    assert scene.policy(window, action).shape == (4, scene.policy_dim())


def test_targets_end_at_the_edge_of_the_table():
    scene = measured(LOOSE)
    obs = torch.zeros(1, 8)
    obs[0, -2:] = 0.95
    assert torch.allclose(scene.target(obs, torch.tensor([[1.0, -1.0]])), torch.tensor([[1.0, 0.75]]))


def quarter_turned(x: float, y: float, agent: tuple[float, float]) -> torch.Tensor:
    """The body turned by a quarter, its centre at (x, y): one observation."""
    return placed(torch.tensor([math.pi / 2]), torch.tensor([[x, y]]), torch.tensor([agent]))


def known(cfg: SceneConfig) -> Scene:
    """A scene that was measured on bodies of `SHAPE`, and wants them upright in the middle."""
    scene, obs = Scene(cfg, SPEC, 2, 3), torch.cat([random_scenes(20), placed(torch.zeros(1), *torch.zeros(2, 1, 2))])
    moved = obs.clone()
    moved[:, :6] += 0.03
    moved[:, 6:] -= 0.05
    moved[-1] = obs[-1]
    scene.fit_statistics(control_steps(obs, moved, torch.tensor([0.0] * 20 + [1.0])))
    scene.shape.copy_(SHAPE)
    return scene


def test_measuring_takes_the_best_scene_and_the_typical_changes():
    scene = known(RIGID)
    assert torch.allclose(scene.goal, SHAPE, atol=1e-6)
    by_hand = torch.tensor([0.03] * 3 + [0.05])[:, None] * (20 / 21) ** 0.5  # one row of 21 rests
    assert torch.allclose(scene.scale, by_hand, atol=1e-6)


def test_the_measured_shape_is_the_bodys_own_wherever_it_lay():
    sides = torch.cdist(measured(RIGID).shape, measured(RIGID).shape)
    assert torch.allclose(sides, torch.cdist(SHAPE, SHAPE), atol=1e-5)
    assert torch.allclose(measured(RIGID).shape.mean(0), torch.zeros(2), atol=1e-6)


def test_points_of_a_loose_scene_have_scales_of_their_own_and_a_rigid_body_one_for_all():
    before, after = random_scenes(10), random_scenes(10)
    after[:, 0:2] += 0.3
    after[:, 6:8] += 0.1
    loose, rigid = Scene(LOOSE, SPEC, 2, 3), Scene(RIGID, SPEC, 2, 3)
    for scene in (loose, rigid):
        scene.fit_statistics(control_steps(before, after, torch.zeros(10)))
    assert torch.allclose(loose.scale.flatten(), torch.tensor([0.3, 1e-3, 1e-3, 0.1]), atol=1e-6)
    assert torch.allclose(rigid.scale.flatten(), torch.tensor([0.3 / 3**0.5] * 3 + [0.1]), atol=1e-6)


def test_a_change_is_told_in_the_bodys_axes_and_in_typical_changes():
    """A body turned by a quarter that moves along the table's x moves along its own -y."""
    scene, before = known(RIGID), quarter_turned(0.1, 0.2, (0.5, 0.5))
    after = before.clone()
    after[:, 0:6:2] += 0.06
    after[:, 7] += 0.1
    change = scene.delta(before, after).view(4, 2)
    points, agent = (float(scene.scale[i]) for i in (0, -1))
    assert torch.allclose(change[:3], torch.tensor([[0.0, -0.06 / points]] * 3), atol=1e-4)
    assert torch.allclose(change[3], torch.tensor([0.1 / agent, 0.0]), atol=1e-4)


def test_a_body_is_straightened_where_it_lies():
    scene, obs = known(RIGID), quarter_turned(0.3, -0.2, (0.5, 0.5))
    assert torch.allclose(scene.straighten(obs), obs, atol=1e-6)
    bent = obs + torch.tensor([0.01, -0.01, -0.01, 0.01, 0.0, 0.0, 0.0, 0.0])
    straight = scene.straighten(bent)
    assert torch.equal(straight[:, 6:], obs[:, 6:]) and (straight - obs).abs().max() < 0.02
    assert torch.allclose(torch.pdist(straight[0, :6].view(3, 2)), torch.pdist(SHAPE), atol=1e-6)


def test_the_way_to_where_points_are_wanted_is_told_in_the_bodys_axes():
    """The body lies a quarter turned at (0, 0.5): the middle is 0.5 away along -y of the table, which is its own -x."""
    scene, obs = known(RIGID), quarter_turned(0.0, 0.5, (0.2, 0.1))
    tail = scene.policy(torch.stack([obs, obs], 1), torch.zeros(1, 2, 2))[0, -9:]
    way, near = tail[:6].view(3, 2), tail[6:]
    upright = SHAPE  # where points are wanted, and in the body's axes turned back by a quarter
    by_hand = torch.stack([upright[:, 1], -upright[:, 0]], -1) - SHAPE + torch.tensor([-0.5, 0.0])
    assert torch.allclose(way, by_hand, atol=1e-5)
    assert torch.allclose(near, (-8 * (by_hand.pow(2).sum(-1) + 1e-6).sqrt()).exp(), atol=1e-5)


def test_the_way_of_loose_points_is_told_in_the_tables_axes():
    scene, obs = known(LOOSE), quarter_turned(0.0, 0.5, (0.2, 0.1))
    tail = scene.policy(torch.stack([obs, obs], 1), torch.zeros(1, 2, 2))[0, -9:-3].view(3, 2)
    assert torch.allclose(tail, SHAPE - obs[0, :6].view(3, 2), atol=1e-6)


def test_a_rigid_situation_by_hand():
    """The body a quarter turned at (0, 0.5), the agent 0.4 above it, sent 0.1 to the right; before, all 0.1 lower."""
    scene, now = known(RIGID), quarter_turned(0.0, 0.5, (0.0, 0.9))
    before = now - torch.tensor([0.0, 0.1] * 4)
    window, action = torch.stack([before, now], 1), torch.tensor([[[0.0, 1.0], [0.5, 0.0]]])
    found = scene.dynamics(window, action, 1)[0]
    assert torch.allclose(found[:8], now[0])
    centre, turn, places, waves, past = found[8:].split([2, 2, 8, 8, 6])
    assert torch.allclose(centre, torch.tensor([0.0, 0.5]), atol=1e-6)
    assert torch.allclose(turn, torch.tensor([0.0, 1.0]), atol=1e-6)
    # in the body's axes (x, y) of the table is (y, -x): agents then and now, their targets then and now
    own = [[0.3, 0.0], [0.4, 0.0], [0.5, 0.0], [0.4, -0.1]]
    assert torch.allclose(places.view(4, 2), torch.tensor(own), atol=1e-5)
    near = math.pi * torch.tensor([0.4, 0.0, 0.4, -0.1])
    assert torch.allclose(waves, torch.cat([near.sin(), near.cos()]), atol=1e-5)
    assert torch.allclose(past.view(3, 2), torch.tensor([[-0.1, 0.0]] * 3) / scene.scale[0], atol=1e-4)


def test_the_past_of_a_longer_window_is_told_step_by_step():
    """Of a rigid body from where it is now, in its own axes; of loose points from one observation to the next."""
    now = quarter_turned(0.0, 0.5, (0.0, 0.9))
    window = torch.stack([now - torch.tensor([0.0, 0.1 * t] * 4) for t in (3, 1, 0)], 1)
    action = torch.zeros(1, 3, 2)
    rigid, loose = known(RIGID), known(LOOSE)
    loose.scale.copy_(torch.tensor([[0.1], [0.2], [0.4], [0.8]]))
    past = rigid.dynamics(window, action, 1)[0, -12:].view(2, 3, 2) * rigid.scale[0]
    assert torch.allclose(past, torch.tensor([[[-0.3, 0.0]] * 3, [[-0.1, 0.0]] * 3]), atol=1e-5)
    past = loose.dynamics(window, action, 1)[0, -12:].view(2, 3, 2)
    by_hand = torch.tensor([[[0.0, way / scale] for scale in (0.1, 0.2, 0.4)] for way in (0.2, 0.1)])
    assert torch.allclose(past, by_hand, atol=1e-5)


def test_a_loose_situation_by_hand():
    scene, now = known(LOOSE), quarter_turned(0.0, 0.5, (0.0, 0.9))
    before = now - torch.tensor([0.0, 0.1] * 4)
    window, action = torch.stack([before, now], 1), torch.tensor([[[0.0, 1.0], [0.5, 0.0]]])
    found = scene.dynamics(window, action, 1)[0]
    relative, waves, places, past = found[8:].split([12, 24, 8, 6])
    points = now[0, :6].view(3, 2)
    by_hand = torch.stack([points - torch.tensor([0.0, 0.9]), points - torch.tensor([0.1, 0.9])])
    assert torch.allclose(relative.view(2, 3, 2), by_hand, atol=1e-5)
    assert torch.allclose(waves, torch.cat([(math.pi * relative).sin(), (math.pi * relative).cos()]), atol=1e-5)
    own = [[0.0, -0.1], [0.0, 0.0], [0.0, 0.1], [0.1, 0.0]]
    assert torch.allclose(places.view(4, 2), torch.tensor(own), atol=1e-5)
    assert torch.allclose(past.view(3, 2), torch.tensor([[0.0, 0.1]] * 3) / scene.scale[:-1], atol=1e-4)


def test_an_outcome_knows_how_far_its_points_are_from_the_reference():
    torch.manual_seed(0)
    outcome, reference = SceneOutcome(8, 16), SHAPE.flatten()
    outcome.reference.data.copy_(reference)
    shown = []
    outcome.body.register_forward_pre_hook(lambda _, inputs: shown.append(inputs[0]))
    obs = torch.cat([reference + torch.tensor([0.3, 0.4] * 3), torch.tensor([0.1, 0.2])])[None]
    reward, cont = outcome(obs)
    assert reward.shape == cont.shape == (1,)
    seen, distance, near = shown[0][0].split([8, 3, 8])
    assert torch.equal(seen, obs[0]) and torch.allclose(distance, torch.full((3,), 0.5), atol=1e-5)
    assert torch.allclose(near, torch.tensor([math.exp(-0.5 * 2**k) for k in range(8)]), atol=1e-5)
    assert torch.equal(torch.stack([reward, cont], -1), outcome.body(shown[0]))
