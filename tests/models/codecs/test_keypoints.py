"""Learned keypoints: cut-outs land where they are said to, and points are taught to follow them."""

import math

import pytest
import torch

from glocal.models.codecs.cutouts import Cutouts
from glocal.models.codecs.keypoints import KeypointCodec, KeypointCodecConfig
from glocal.models.rigid2d.scene import fit_frame, rotate
from glocal.runtime.files import UserError

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
    cutouts.fit_statistics(frames(count), threshold=0.12)
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
        Cutouts(4, SIZE).fit_statistics(frames(20, apart=False), threshold=0.12)


def known_codec(agent_known: bool = True) -> KeypointCodec:
    """A codec that was measured, and whose encoder is what it began as."""
    torch.manual_seed(0)
    codec = KeypointCodec(SMALL, 512.0, SIZE, agent_known)
    codec.fit_statistics({"image": (frames(40) * 255).round().byte().movedim(1, -1)})
    return codec


def turned(codec: KeypointCodec, angle: float, place: tuple[float, float]) -> torch.Tensor:
    """The body's own points, turned by an angle and put to a place, (1, k, 2)."""
    turn = torch.tensor([[math.cos(angle), math.sin(angle)]])
    return rotate(codec.cutouts.shape[None], turn) + torch.tensor(place)


@pytest.mark.parametrize("angle, place", [(0.0, (0.0, 0.0)), (1.0, (0.3, -0.2)), (-2.5, (-0.4, 0.1))])
def test_points_that_fit_the_body_stay_where_they_are_and_others_are_put_to_it(angle, place):
    codec = known_codec()
    points = turned(codec, angle, place)
    assert torch.allclose(codec.placed(points), points, atol=1e-5)
    bent = points + 0.02 * torch.tensor([[[1.0, 0.0], [-1.0, 0.0], [0.0, 1.0], [0.0, -1.0]]])
    straight = codec.placed(bent)
    assert torch.allclose(torch.pdist(straight[0]), torch.pdist(codec.cutouts.shape), atol=1e-5)
    assert torch.allclose(straight.mean(1), points.mean(1), atol=1e-5) and (straight - points).abs().max() < 0.05


def test_what_points_are_drawn_as_is_the_body_at_their_place():
    """The body's centre is drawn where the shape's zero was put, whichever way it is turned."""
    codec, place = known_codec(), (0.25, -0.25)
    image = codec.draw(turned(codec, math.pi / 2, place), torch.tensor([[-0.75, 0.75]]))[0, 0]
    for found, where in ((image > 0.75, place), (image < 0.25, (-0.75, 0.75))):
        middle = (found.nonzero().float().mean(0).flip(0) + 0.5) * 2 / SIZE - 1
        assert (middle - torch.tensor(where)).abs().max() < 0.06  # a pixel
    legs = [image[row, column] for row, column in ((9, 17), (9, 22))]
    assert all(leg > 0.4 for leg in legs)


def test_what_is_located_is_what_differs_from_the_background():
    codec, image = known_codec(), frames(2)
    points, agent = codec.locate(image)
    codec.cutouts.background += 0.1
    again = codec.locate(image + 0.1)
    assert torch.allclose(again[0], points, atol=1e-3) and torch.allclose(again[1], agent, atol=1e-3)


def test_points_are_the_expected_coordinates_of_their_heat():
    """Heat in one pixel of the half-sized plan is that pixel's place; heat in two is halfway between."""
    codec, heat = known_codec(), torch.full((1, 5, SIZE // 2, SIZE // 2), -100.0)
    heat[0, :4, 3, 12] = heat[0, 4, 0, 0] = heat[0, 4, 0, 4] = 100.0
    codec.encoder = Always(heat)  # pyright: ignore[reportAttributeAccessIssue]
    points, agent = codec.locate(frames(1))
    assert torch.allclose(points, (torch.tensor([12.5, 3.5]) * 4 / SIZE - 1).expand(1, 4, 2), atol=1e-5)
    assert torch.allclose(agent, torch.tensor([[2.5, 0.5]]) * 4 / SIZE - 1, atol=1e-5)


class Always(torch.nn.Module):
    """The same heat for every image."""

    def __init__(self, heat: torch.Tensor):
        super().__init__()
        self.heat = heat

    def forward(self, x):
        return self.heat.expand(len(x), -1, -1, -1)


def test_a_known_agent_comes_from_the_logs_and_an_unknown_one_from_the_image():
    image, logged = torch.randint(256, (2, SIZE, SIZE, 3), dtype=torch.uint8), torch.tensor([[0.0, 512.0]] * 2)
    obs = known_codec().encode({"image": image, "agent": logged})
    assert torch.allclose(obs[:, -2:], torch.tensor([[-1.0, 1.0]] * 2))
    codec = known_codec(agent_known=False)
    obs = codec.encode({"image": image})
    points, agent = codec.locate(image.movedim(-1, 1).float() / 255)
    assert torch.allclose(obs[:, -2:], agent) and torch.allclose(obs[:, :-2], codec.placed(points).flatten(1))
    assert torch.allclose(codec.points(image), obs[:, :-2])
    assert torch.allclose(codec.decode(obs)["agent"], (agent + 1) * 256)


def test_observations_decode_to_what_they_draw():
    codec = known_codec()
    points, agent = turned(codec, 1.0, (0.2, 0.1)), torch.tensor([[-0.5, 0.5]])
    decoded = codec.decode(torch.cat([points.flatten(1), agent], -1))
    drawn = codec.draw(points, agent)
    assert torch.equal(decoded["image"], (drawn * 255).clamp(0, 255).round().byte().movedim(1, -1))


@pytest.mark.parametrize("agent_known", [True, False])
def test_the_loss_is_of_what_is_drawn_and_of_what_was_taught(agent_known):
    codec, image = known_codec(agent_known), frames(3)
    at = (torch.rand(3, 2) * 2 - 1) if agent_known else None
    fields = {"image": (image * 255).round().byte().movedim(1, -1)}
    fields |= {"agent": (at + 1) * 256} if at is not None else {}
    torch.manual_seed(5)
    loss, parts = codec.loss(fields)
    torch.manual_seed(5)
    pasted = codec.cutouts.paste(3)
    points, agent = codec.locate(torch.cat([image, pasted.image]))
    error = (codec.draw(points[:3], agent[:3] if at is None else at) - image).pow(2).mean(1).flatten(1)
    taught = (points[3:] - pasted.points).norm(dim=-1).pow(2).mean()
    if not agent_known:
        taught = taught + (agent[3:] - pasted.agent).norm(dim=-1).pow(2).mean()
    assert torch.allclose(parts["taught"], taught, rtol=1e-3)
    assert torch.allclose(parts["squared"], error.mean(), rtol=1e-2)
    assert torch.allclose(parts["worst"], error.sort(1).values[:, -32:].mean(), rtol=1e-2)
    assert torch.allclose(loss, parts["squared"] + parts["worst"] + 50 * taught, rtol=1e-3)


@pytest.mark.slow
def test_points_come_to_stay_on_a_body_without_labels():
    torch.manual_seed(0)
    images = (frames(200) * 255).round().byte().movedim(1, -1)
    codec = KeypointCodec(SMALL, 512.0, SIZE, agent_known=False)
    codec.fit_statistics({"image": images})
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
