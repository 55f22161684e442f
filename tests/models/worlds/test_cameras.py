"""The world of cameras: every part counts the same, grids stay in range, and what actions do is learned."""

import pytest
import torch

from glocal.core.spec import Part, Spec
from glocal.core.types import Segment
from glocal.models.worlds.cameras import CamerasWorld, CamerasWorldConfig
from tests.toys import control_steps

SEEN = Spec((Part("joints", (2,)), Part("top", (1, 4, 4)), Part("wrist", (1, 4, 4))), 1)


def world(**options) -> CamerasWorld:
    torch.manual_seed(0)
    return CamerasWorld(CamerasWorldConfig(**{"size": 0, "context": 2, **options}), SEEN)


def moved(count: int) -> Segment:
    """A bar in each camera's picture that an action moves by a column, and joints that it turns."""
    place = torch.randint(1, 3, (count,))
    action = torch.randint(0, 2, (count, 1)) * 2.0 - 1
    rows = []
    for at in (place, place, place + action[:, 0].long()):
        picture = torch.nn.functional.one_hot(at, 4).float()[:, None].expand(-1, 4, -1) - 0.5
        joints = torch.stack([at / 4, -at / 4], dim=1)
        rows.append(SEEN.join({"joints": joints, "top": picture[:, None], "wrist": -picture[:, None]}))
    actions = torch.cat([torch.zeros(count, 2, 1), action[:, None]], dim=1)
    return Segment(torch.stack(rows, dim=1), actions, torch.zeros(count, 3), torch.ones(count, 3))


def fitted(updates: int) -> tuple[CamerasWorld, list[float]]:
    model, losses = world(), []
    model.fit_statistics(control_steps(*(moved(500).obs[:, t] for t in (1, 2)), torch.zeros(500)))
    optimizer = torch.optim.Adam(model.parameters(), 1e-2)
    for _ in range(updates):
        loss, _ = model.loss(moved(64))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    return model, losses


def test_every_part_counts_the_same_however_many_numbers_it_has():
    """Two joints with an error of 1 each, sixteen cells with 2, sixteen with 6: (1 + 2 + 6) / 3."""
    squared = SEEN.join(
        {"joints": torch.ones(3, 2), "top": torch.full((3, 1, 4, 4), 2.0), "wrist": torch.full((3, 1, 4, 4), 6.0)}
    )
    assert float(world().averaged(squared)) == pytest.approx(3.0)


def test_the_cells_of_a_channel_share_a_typical_change_and_numbers_have_their_own():
    model, before = world(), torch.zeros(4, SEEN.obs_dim)
    after = before.clone()
    after[:, 0], after[:, 1] = 0.3, 0.7
    after[:, 2] = 0.8  # one of sixteen cells
    model.fit_statistics(control_steps(before, after, torch.zeros(4)))
    scale = SEEN.split(model.features.scale)
    assert scale["joints"].tolist() == pytest.approx([0.3, 0.7])
    assert torch.allclose(scale["top"], torch.full((1, 4, 4), 0.2)) and (scale["wrist"] == 1e-3).all()


def test_grids_stay_in_their_range_and_numbers_need_not():
    model, before = world(), torch.zeros(2, SEEN.obs_dim)
    model.fit_statistics(control_steps(before, before + 3, torch.zeros(2)))
    after = SEEN.split(model.advance(before, model.delta(before, before + 3)))
    assert torch.allclose(after["joints"], torch.full((2, 2), 3.0)) and (after["top"] == 1).all()


def test_what_an_action_does_is_seen_in_every_camera_and_in_the_numbers():
    model, losses = fitted(250)
    assert sum(losses[-10:]) < 0.3 * sum(losses[:10])
    seen = moved(64)
    _, answer = model.step(model.begin(seen[:, :2], 0), seen.action[:, 2])
    wrong = (answer.obs - seen.obs[:, 2]).pow(2)
    still = (seen.obs[:, 1] - seen.obs[:, 2]).pow(2)
    for name, error in SEEN.split(wrong).items():
        assert error.mean() < 0.25 * SEEN.split(still)[name].mean(), name
