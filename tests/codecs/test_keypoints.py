"""Learned keypoints: cut-outs land where they are said to, and points are taught to follow them."""

import math

import pytest
import torch

from glocal.codecs.cutouts import Cutouts
from glocal.codecs.keypoints import KeypointCodec, KeypointCodecConfig
from glocal.core.geometry import fit_frame
from glocal.files import UserError

SIZE = 32
SMALL = KeypointCodecConfig(points=4, width=16, worst_pixels=32)


def frames(count: int, apart: bool = True) -> torch.Tensor:
    """A bright L and a dim dot on a grey table, in [0, 1]: (count, 3, SIZE, SIZE)."""
    torch.manual_seed(0)
    images = torch.full((count, 3, SIZE, SIZE), 0.5)
    for image in images:
        x, y = torch.randint(1, 22, (2,)).tolist()
        image[:, y : y + 9, x : x + 3] = 1.0
        image[:, y + 6 : y + 9, x : x + 8] = 1.0
        u, v = ((at + 13) if at < 12 else at - 9 for at in (x, y)) if apart else (x, y)
        image[:, v : v + 3, u : u + 3] = 0.0 if apart else 1.0
    return images


def measured(count: int = 40) -> Cutouts:
    cutouts = Cutouts(4, SIZE)
    cutouts.measure(frames(count), threshold=0.12)
    return cutouts


def test_the_larger_thing_is_the_body_and_the_smaller_one_the_agent():
    cutouts = measured()
    assert torch.allclose(cutouts.background, torch.full_like(cutouts.background, 0.5))
    assert int(cutouts.body[3].sum()) == 42 and int(cutouts.agent[3].sum()) == 9
    assert (cutouts.body[:3][:, cutouts.body[3] > 0] == 1.0).all()


def test_its_points_lie_on_the_body_and_apart():
    cutouts = measured()
    cells = ((cutouts.shape + cutouts.body_centre + 1) * SIZE / 2 - 0.5).round().long()
    assert all(cutouts.body[3, y, x] == 1 for x, y in cells.tolist())
    assert torch.pdist(cutouts.shape).min() > 0.15


def test_what_is_pasted_is_where_it_is_said_to_be():
    torch.manual_seed(1)
    cutouts = measured()
    pasted = cutouts.paste(64)
    bright, dark = pasted.image[:, 0] > 0.6, pasted.image[:, 0] < 0.3
    for i in range(64):
        angle = fit_frame(pasted.points[i : i + 1], cutouts.shape - cutouts.shape.mean(0)).turn[0]
        assert math.isclose(float(angle.norm()), 1.0, abs_tol=1e-5)
        if dark[i].sum() >= 4:
            rows, columns = dark[i].nonzero().float().mean(0).tolist()
            found = torch.tensor([columns + 0.5, rows + 0.5]) * 2 / SIZE - 1
            assert (found - pasted.agent[i]).abs().max() < 0.08
        inside = pasted.points[i].abs().amax(-1) < 0.95
        cells = ((pasted.points[i][inside] + 1) * SIZE / 2 - 0.5).round().long().clamp(0, SIZE - 1)
        shown = [bool(bright[i, y, x] or dark[i, y, x]) for x, y in cells.tolist()]
        assert sum(shown) >= len(shown) - 1  # a point at a corner may have become grey


def test_pasted_bodies_turn_all_the_way_round():
    torch.manual_seed(2)
    cutouts = measured()
    turn = fit_frame(cutouts.paste(500).points, cutouts.shape - cutouts.shape.mean(0)).turn
    angles = torch.atan2(turn[:, 1], turn[:, 0])
    assert torch.histc(angles, 8, -math.pi, math.pi).min() > 30


def test_frames_in_which_nothing_can_be_cut_out_are_refused():
    with pytest.raises(UserError, match="in none of 20 recorded frames do a body and an agent lie apart"):
        Cutouts(4, SIZE).measure(frames(20, apart=False), threshold=0.12)


@pytest.mark.slow
def test_points_come_to_stay_on_a_body_without_labels():
    torch.manual_seed(0)
    images = (frames(200) * 255).round().byte().movedim(1, -1)
    codec = KeypointCodec(SMALL, 512.0, SIZE, agent_known=False)
    codec.measure({"image": images})
    optimizer = torch.optim.Adam(codec.parameters(), 4e-3)
    for _ in range(250):
        loss, _ = codec.loss({"image": images[torch.randint(200, (16,))]})
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    with torch.no_grad():
        obs = codec.encode({"image": images})
    bright = images[..., 0] > 250
    truth = torch.stack([mask.nonzero().float().mean(0).flip(0) + 0.5 for mask in bright]) * 2 / SIZE - 1
    offset = obs[:, :-2].unflatten(-1, (-1, 2)).mean(1) - truth
    assert (offset - offset.median(0).values).norm(dim=-1).median() < 0.06  # one pixel of 32
    dark = torch.stack([mask.nonzero().float().mean(0).flip(0) + 0.5 for mask in images[..., 0] < 10]) * 2 / SIZE - 1
    assert (obs[:, -2:] - dark).norm(dim=-1).median() < 0.06
