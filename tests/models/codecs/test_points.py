"""Points of a picture: places alone, found without labels, on the background."""

import pytest
import torch

from glocal.models.codecs import points
from glocal.models.codecs.colours import different
from glocal.models.codecs.images import axis, to_channels
from glocal.models.codecs.points import PointsAutoencoder, PointsCodecConfig
from glocal.runtime.files import UserError

SMALL = PointsCodecConfig(points=3, side=16, width=8, worst_pixels=16)
SIZE = 32


def codec(**options) -> PointsAutoencoder:
    torch.manual_seed(0)
    return PointsAutoencoder(PointsCodecConfig(**{**SMALL.__dict__, **options}), SIZE)


def squares(places: torch.Tensor) -> torch.Tensor:
    """Dark pictures with a bright square of 4 pixels at each place (n, 2), its upper left corner."""
    pictures = torch.full((len(places), SIZE, SIZE, 3), 40, dtype=torch.uint8)
    for picture, (x, y) in zip(pictures, places.tolist(), strict=True):
        picture[y : y + 4, x : x + 4] = 220
    return pictures


def test_the_background_is_the_median_and_only_what_differs_from_it_is_encoded_and_drawn():
    model, dark = codec(coloured=0.0), torch.rand(3, 3, SIZE, SIZE) / 2
    on_black = model.compress(dark)
    drawn = model.draw(on_black)
    model.background.fill_(0.25)
    assert torch.allclose(model.compress(dark + 0.25), on_black, atol=1e-3)
    assert torch.allclose(model.draw(on_black), drawn + 0.25, atol=1e-2)  # bfloat16
    seen = torch.randint(256, (9, SIZE, SIZE, 3), dtype=torch.uint8)
    model.fit_statistics(seen)
    assert torch.equal(model.background, to_channels(seen.sort(0).values[4]))


def test_a_point_is_where_its_heat_map_is_hot():
    """x before y, from -1 to 1, however sharp the map is."""
    model = codec()
    maps = torch.full((1, 3, 16, 16), -50.0)
    maps[0, 0, 2, 13] = maps[0, 1, 9, 4] = maps[0, 2, 0, 0] = maps[0, 2, 0, 1] = 50.0
    model.encoder = torch.nn.Module()
    model.encoder.forward = lambda seen: maps  # pyright: ignore[reportAttributeAccessIssue]
    (found,) = model.compress(torch.full((1, 3, SIZE, SIZE), 0.5))  # all of it is apart from the background
    line = axis(16)
    wanted = torch.stack([line[[13, 2]], line[[4, 9]], torch.stack([line[:2].mean(), line[0]])])
    assert torch.allclose(found, wanted, atol=1e-4)


def test_points_lie_on_what_is_apart_from_the_background():
    """Where heat is the same everywhere, they are in the middle of it."""
    model = codec(coloured=0.0)
    model.encoder = torch.nn.Module()
    model.encoder.forward = lambda seen: torch.zeros(len(seen), 3, 16, 16)  # pyright: ignore[reportAttributeAccessIssue]
    picture = torch.zeros(1, 3, SIZE, SIZE)
    picture[..., 4:8, 20:24] = 0.8  # rows, columns
    (found,) = model.compress(picture)
    assert torch.allclose(found, torch.tensor([22 * 2 / SIZE - 1, 6 * 2 / SIZE - 1]).expand(3, 2), atol=0.15)


def test_pictures_are_moved_over_the_background_and_points_with_them():
    """A quarter turn, x to y, and a shift to the right; what leaves the picture does not count."""
    model = codec()
    model.background.copy_(torch.rand(3, SIZE, SIZE) / 4)
    picture = model.background.expand(2, -1, -1, -1).clone()
    picture[0, :, 14:18, 24:28] = 0.9  # right of the middle
    picture[1, :, 2:6, 14:18] = 0.9  # above it
    turn = torch.tensor([[0.0, -1.0], [1.0, 0.0]]).expand(2, 2, 2)
    moved, left = model._moved(picture, turn, torch.tensor([[0.25, 0.0], [0.25, 0.0]]))
    expected = model.background.expand(2, -1, -1, -1).clone()
    expected[0, :, 24:28, 18:22] = 0.9  # below, and 4 pixels to the right
    expected[1, :, 14:18, 30:32] = 0.9  # right, and half out of it
    assert torch.allclose(moved, expected, atol=1e-3) and left.tolist() == [True, False]


@pytest.mark.parametrize("levels", [0, 1, 3])
def test_noise_is_not_taken_for_things_that_leave_the_picture(levels):
    torch.manual_seed(0)
    model, seen = codec(), squares(torch.randint(12, SIZE - 14, (64, 2)))
    noisy = (seen + levels * torch.randn(seen.shape)).clamp(0, 255).round().byte()
    model.fit_statistics(noisy)
    assert model.loss(noisy)[1]["counted"] > 0.9
    apart = model._apart(to_channels(noisy))
    assert (apart[to_channels(seen).amax(1, keepdim=True) < 0.5] > 0).float().mean() < 0.01


def test_of_a_camera_that_moves_it_is_said():
    torch.manual_seed(0)
    model, still = codec(), squares(torch.randint(2, SIZE - 6, (64, 2)))
    model.fit_statistics(still)
    assert model.doubt() == ""
    scene = torch.randint(256, (2 * SIZE, 2 * SIZE, 3), dtype=torch.uint8)
    moving = torch.stack([scene[y : y + SIZE, x : x + SIZE] for x, y in torch.randint(SIZE, (64, 2)).tolist()])
    model.fit_statistics(moving)
    assert "a camera that stands still" in model.doubt()


def test_a_picture_that_shows_nothing_but_the_background_does_not_count():
    model = codec()
    picture = model.background.expand(2, -1, -1, -1).clone()
    picture[0, :, 14:18, 14:18] = 0.9
    still = torch.eye(2).expand(2, 2, 2), torch.zeros(2, 2)
    assert model._moved(picture, *still)[1].tolist() == [True, False]


def test_motions_turn_by_any_angle_and_shift_by_up_to_their_farthest():
    torch.manual_seed(0)
    matrix, shift = points._motions(torch.zeros(4000, 3, 8, 8))
    assert torch.allclose(matrix @ matrix.transpose(1, 2), torch.eye(2).expand(4000, 2, 2), atol=1e-5)
    assert torch.allclose(torch.linalg.det(matrix), torch.ones(4000), atol=1e-5)
    angle = torch.atan2(matrix[:, 1, 0], matrix[:, 0, 0])
    assert all(torch.histc(angle, 8, -torch.pi, torch.pi) > 400) and all(torch.histc(shift, 6, -0.3, 0.3) > 1000)


def test_places_are_learned_from_what_is_drawn_of_them():
    model, seen = codec(moving=0.0), squares(torch.tensor([[3, 4], [20, 9]]))
    model.loss(seen)[0].backward()
    assert all(weight.grad is not None and weight.grad.abs().max() > 0 for weight in model.encoder[0].parameters())


def test_points_that_do_not_move_with_the_picture_are_punished(monkeypatch):
    """Held to a motion that did not happen, they stray by as far as that is."""
    model, seen = codec(noise=0.0), squares(torch.tensor([[14, 14], [13, 15]]))
    still = torch.eye(2).expand(1, 2, 2), torch.zeros(1, 2)
    monkeypatch.setattr(points, "_motions", lambda image: still)
    assert model.loss(seen)[1]["strayed"] < 1e-6
    inner = PointsAutoencoder._moved
    farther = still[0], torch.tensor([[0.3, -0.4]])
    monkeypatch.setattr(points, "_motions", lambda image: farther)
    monkeypatch.setattr(PointsAutoencoder, "_moved", lambda self, image, *_: inner(self, image, *still))
    loss, parts = model.loss(seen)
    assert torch.allclose(parts["strayed"], torch.tensor(0.25), atol=1e-5)
    assert torch.allclose(loss, parts["squared"] + parts["worst"] + 10 * parts["strayed"])


def test_a_point_is_drawn_where_it_is():
    """Moving one changes the picture about where it was and where it is, most of all."""
    model, points = codec(), torch.zeros(1, 3, 2) - 3.0  # outside of the picture
    nothing = model.draw(points)
    points[0, 1] = torch.tensor([0.5, -0.5])  # right and up
    changed = (model.draw(points) - nothing).abs().sum(1)[0]
    quarters = changed.unflatten(0, (2, 16)).unflatten(-1, (2, 16)).sum((1, 3))
    assert quarters.argmax() == 1, quarters


def test_it_learns_where_a_thing_is_without_being_told():
    """A linear map of the points tells, of places that were not seen, where the square is within two pixels or so."""
    torch.manual_seed(3)
    places = torch.randint(2, SIZE - 6, (256, 2))
    seen = squares(places)
    model = codec(width=16, noise=0.01)
    model.fit_statistics(seen)
    optimizer = torch.optim.AdamW(model.parameters(), lr=5e-3)
    for _ in range(150):
        loss, _ = model.loss(seen[torch.randint(192, (24,))])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    with torch.no_grad():
        points = torch.cat([model.compress(to_channels(seen)).flatten(1), torch.ones(256, 1)], dim=1)
    found = torch.linalg.lstsq(points[:192], places[:192].float()).solution
    off = (points[192:] @ found - places[192:]).norm(dim=-1)
    assert off.median() < 2.5, off.median()  # the middle of all is 10 off


def test_points_are_blurred_in_training():
    model, seen = codec(noise=0.5), squares(torch.tensor([[3, 4], [20, 9]]))
    losses = [model.loss(seen)[0] for _ in range(2)]
    assert losses[0] != losses[1]
    model = codec(noise=0.0)
    assert model.loss(seen)[0] == model.loss(seen)[0]


def test_pictures_that_the_maps_do_not_divide_are_refused():
    with pytest.raises(UserError, match=r"--codec\.side is 32, but maps of 32 cells do not divide pictures of 48"):
        PointsAutoencoder(PointsCodecConfig(), 48)


@pytest.mark.parametrize("size, side", [(64, 32), (96, 32), (128, 64), (64, 64)])
def test_pictures_of_any_multiple_are_taken(size, side):
    model = PointsAutoencoder(PointsCodecConfig(points=3, side=side, width=8), size)
    obs = model.encode(torch.zeros(2, size, size, 3, dtype=torch.uint8))
    assert obs.shape == (2, 6) and model.decode(obs).shape == (2, size, size, 3)


def test_points_begin_on_the_colours_that_differ_most():
    """A large grey thing that shades off, a small red one, and a green one that is seen once: noise."""
    pictures = torch.full((40, SIZE, SIZE, 3), 200, dtype=torch.uint8)
    for i, picture in enumerate(pictures):
        x = i % 8
        picture[4:20, x : x + 16] = 60 + i
        picture[24:27, 25 - x : 28 - x] = torch.tensor([250, 20, 20], dtype=torch.uint8)
    pictures[0, 30, 30] = torch.tensor([20, 250, 20], dtype=torch.uint8)
    model = codec(points=6)
    model.fit_statistics(pictures)
    seen = (model.colours * 255).detach()
    assert model.colours.shape == (3, 3)
    assert ((seen - torch.tensor([250.0, 20, 20])).abs().amax(1) < 2).any()
    assert not ((seen - torch.tensor([20.0, 250, 20])).abs().amax(1) < 60).any()


@pytest.mark.parametrize("grey", range(85, 96))
def test_a_colour_is_found_wherever_its_pixels_come_in_a_picture(grey):
    """However many others come before them: pixels are not counted off."""
    pictures = torch.full((400, SIZE, SIZE, 3), 200, dtype=torch.uint8)
    flat = pictures.view(400, -1, 3)
    flat[:, :grey], flat[:, grey : grey + 9] = 60, torch.tensor([250, 20, 20], dtype=torch.uint8)
    flat[::3] = 200  # most pixels are the background's
    model = codec(points=4)
    model.background.fill_(200 / 255)
    seen = different(
        to_channels(pictures).movedim(1, -1)[model._apart(to_channels(pictures))[:, 0] > 0.12], 2, 0.08, 0.001
    )
    assert ((seen * 255 - torch.tensor([250.0, 20, 20])).abs().amax(1) < 2).any()


def test_a_colour_of_few_pixels_among_few_is_noise():
    seen = torch.full((640, 3), 0.3)
    seen[100], seen[200:204] = torch.tensor([0.1, 1.0, 0.1]), torch.tensor([1.0, 0.1, 0.1])
    found = different(seen, 4, 0.08, 0.001)
    assert found[1].tolist() == pytest.approx([1.0, 0.1, 0.1]) and not (found[:, 1] > 0.9).any()


def test_a_small_thing_has_a_point_of_its_own_before_anything_is_learned():
    model = codec(points=4)
    model.encoder = torch.nn.Module()
    model.encoder.forward = lambda seen: torch.zeros(len(seen), 4, 16, 16)  # pyright: ignore[reportAttributeAccessIssue]
    picture = torch.zeros(1, 3, SIZE, SIZE)
    picture[:, :, 2:30, 2:14], picture[:, 0, 20:24, 24:28] = 0.5, 1.0
    model.colours.data = torch.tensor([[0.5, 0.5, 0.5], [1.0, 0.0, 0.0]])
    (found,) = model.compress(picture)
    small, large = (torch.tensor(place) / SIZE * 2 - 1 for place in ((26.0, 22.0), (8.0, 16.0)))
    assert torch.allclose(found[1], small, atol=0.05) and torch.allclose(found[0], large, atol=0.05)
    assert torch.allclose(found[2], found[3]) and (found[2] - large).norm() < 0.2  # of any colour


def test_points_know_when_there_is_nothing_of_their_colour():
    """Pixels of it that are apart from the background; of points that began on no colour it is not known."""
    model = codec(points=5)
    model.colours.data = torch.tensor([[1.0, 0.0, 0.0], [0.5, 0.5, 0.5]])
    picture = torch.zeros(3, SIZE, SIZE, 3, dtype=torch.uint8)
    picture[:, 2:30, 2:14] = 128
    picture[0, 20:22, 24] = picture[1, 8, 8] = torch.tensor([255, 0, 0], dtype=torch.uint8)
    hidden = model.unseen(picture[None])
    assert hidden.shape == (1, 3, 10)
    assert hidden[0, :, :4].tolist() == [[False] * 4, [False] * 4, [True, True, False, False]]
    assert not hidden[..., 4:].any()
    model.background.copy_(to_channels(picture[0]))  # what is of the background tells nothing
    assert model.unseen(picture)[0, :4].all()


def test_colours_and_how_near_to_them_counts_are_learned():
    model = codec(points=4)
    model.fit_statistics(squares(torch.tensor([[3, 4], [9, 9], [20, 3]])))
    model.loss(squares(torch.tensor([[5, 6], [14, 9]])))[0].backward()
    for weights in (model.colours, model.picky):
        assert weights.grad is not None and weights.grad.abs().max() > 0


def test_where_nothing_is_apart_colours_are_as_they_were():
    model = codec(points=4)
    model.fit_statistics(torch.full((5, SIZE, SIZE, 3), 90, dtype=torch.uint8))
    assert (model.colours == 0).all()
    assert torch.isfinite(model.compress(torch.rand(2, 3, SIZE, SIZE))).all()


def test_without_colours_all_points_are_of_any():
    model = codec(points=4, coloured=0.0)
    model.fit_statistics(squares(torch.tensor([[3, 4], [9, 9], [20, 3]])))
    assert model.colours.shape == (0, 3)
    assert model.compress(torch.rand(2, 3, SIZE, SIZE)).shape == (2, 4, 2)
