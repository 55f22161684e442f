"""The diffusion of grids: what it sees of a context, in which units, by hand."""

import pytest
import torch
from torch import nn

from glocal.core.spec import Part, Spec
from glocal.models.rigid2d.scene import SceneConfig, scene_spec
from glocal.models.worlds.grid import BUMP_WIDTHS, GridWorld, GridWorldConfig

SIDE, CHANNELS = 4, 2
CELLS = SIDE**2
SPEC = Spec((Part("grid", (CHANNELS, SIDE, SIDE)), Part("agent", (2,))), 2)
FEATURES = SceneConfig(rigid=False, reach=0.25)


def world(context: int = 3) -> GridWorld:
    torch.manual_seed(0)
    return GridWorld(GridWorldConfig(size=0, context=context), SPEC, FEATURES)


def observation(agents: list[tuple[float, float]], value: float = 0.0) -> torch.Tensor:
    """Observations (1, W, d) of an agent on its way, over a grid of one value."""
    grid = torch.full((1, len(agents), CHANNELS * CELLS), value)
    return torch.cat([grid, torch.tensor([agents])], -1)


def shown(model: GridWorld, obs: torch.Tensor, action: torch.Tensor, noise: float = 0.0) -> torch.Tensor:
    """The maps that the network is shown, (f, s, s)."""
    model.denoiser.maps = nn.Identity()  # pyright: ignore[reportAttributeAccessIssue]
    return model.see(obs, action, torch.full((1, 1), noise)).maps[0].float()


PATH = observation([(-0.5, 0.0), (-0.25, 0.0), (0.0, 0.25)])
WAYS = torch.tensor([[[0.0, 0.0], [1.0, 0.0], [1.0, -2.0]]])
"""Targets: (-0.5, 0), (0, 0) and (0.25, -0.25)."""


def test_scales_are_root_mean_squares_by_channel_and_of_the_agent():
    model, before = world(), torch.zeros(50, SPEC.obs_dim)
    after = before.clone()
    after[:, :CELLS] = 0.3
    after[::2, CELLS : 2 * CELLS] = 0.4  # half of the rows: 0.4 / sqrt 2
    after[:, -2], after[:, -1] = 0.6, 0.8  # (0.36 + 0.64) / 2
    model.fit_statistics(before, after, torch.zeros(50))
    by_hand = torch.tensor([0.3] * CELLS + [0.4 / 2**0.5] * CELLS + [0.5**0.5] * 2)
    assert torch.allclose(model.scale, by_hand)
    assert torch.allclose(model.delta(before, after)[0], after[0] / by_hand)
    assert torch.allclose(model.advance(before, model.delta(before, after)), after, atol=1e-6)


def test_what_never_changes_has_a_scale_too():
    model, same = world(), torch.rand(20, SPEC.obs_dim)
    model.fit_statistics(same, same, torch.zeros(20))
    assert torch.allclose(model.scale, torch.full((SPEC.obs_dim,), 1e-3))


def test_observations_stay_in_their_range():
    after = world().advance(torch.full((1, SPEC.obs_dim), 0.9), torch.full((1, SPEC.obs_dim), 0.5))
    assert torch.equal(after, torch.ones(1, SPEC.obs_dim))


def test_the_agent_and_its_targets_are_told_relative_to_now_in_typical_changes():
    model = world()
    model.scale[-2:] = 0.5
    agent = model.see(PATH, WAYS, torch.zeros(1, 1)).agent
    by_hand = [[-0.5, -0.25, -0.5, -0.25], [-0.25, -0.25, 0.0, -0.25], [0.0, 0.0, 0.25, -0.5]]
    assert torch.allclose(agent.view(3, 4), torch.tensor(by_hand) / 0.5)


def test_targets_end_at_the_edge_of_the_table():
    agent = world(context=2).see(
        observation([(0.9, -0.9), (0.9, -0.9)]), torch.tensor([[[0.0, 0.0], [1.0, -1.0]]]), torch.zeros(1, 1)
    )
    assert torch.allclose(agent.agent[0, -2:], torch.tensor([0.1, -0.1]), atol=1e-6)


def test_bumps_stand_where_the_agent_was_is_and_is_sent():
    """On a plan of four by four cells, whose centres lie at -0.75, -0.25, 0.25 and 0.75; x runs along a row."""
    model, places = world(), [(-0.75, 0.25), (0.25, 0.25), (0.25, -0.25)]
    obs = observation([(0.75, 0.75), *places[:2]])
    action = torch.tensor([[[0.0, 0.0], [0.0, 0.0], [0.0, -2.0]]])
    maps = shown(model, obs, action)
    bumps = maps[3 * CHANNELS : 3 * CHANNELS + 3 * len(BUMP_WIDTHS)].view(len(BUMP_WIDTHS), 3, SIDE, SIDE)
    for each, width in zip(bumps, BUMP_WIDTHS, strict=True):
        for bump, (x, y) in zip(each, places, strict=True):
            row, column = round((y + 0.75) * 2), round((x + 0.75) * 2)
            assert bump[row, column] == bump.max() == 1.0
            aside = bump[row, column + 1 if column < 3 else column - 1]
            assert torch.allclose(aside, torch.tensor(0.5**2 / (-2 * width**2)).exp())


def test_the_network_is_shown_the_grids_in_order_the_plan_and_how_much_noise_there_is():
    model, obs = world(), torch.rand(1, 3, SPEC.obs_dim)
    maps = shown(model, obs, torch.zeros(1, 3, 2), noise=0.02)
    assert torch.equal(maps[: 3 * CHANNELS], obs[0, :, :-2].reshape(3 * CHANNELS, SIDE, SIDE))
    plan = maps[3 * CHANNELS + 6 : 3 * CHANNELS + 8]
    line = torch.tensor([-0.75, -0.25, 0.25, 0.75])
    assert torch.equal(plan[0, 0], line) and torch.equal(plan[1, :, 0], line)
    assert torch.allclose(maps[-1], torch.full((SIDE, SIDE), 0.4))  # twenty times the noise


def test_a_grid_world_asks_for_grids():
    with pytest.raises(AssertionError, match="a grid world answers with a grid and an agent, found points"):
        GridWorld(GridWorldConfig(size=0), scene_spec(2), FEATURES)


def test_a_young_denoiser_leaves_the_grid_alone():
    """Its last layer starts at zero: what it expects is the noisy change, shrunk as by an ideal denoiser of N(0, 1)."""
    model, noisy = world(), torch.rand(1, SPEC.obs_dim)
    seen = model.see(PATH, WAYS, torch.zeros(1, 1))
    clean = model.denoise(noisy, torch.full((1, 1), 2.0), seen)
    assert torch.allclose(clean[:, :-2], noisy[:, :-2] / 5)  # 1 / (2^2 + 1)
