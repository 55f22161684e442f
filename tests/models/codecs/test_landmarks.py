"""Places on a robot in pictures, as its own numbers tell them."""

import math

import pytest
import torch

from glocal.core.spec import Part
from glocal.models.codecs.cameras import CamerasCodec
from glocal.models.codecs.landmarks import STARTS, Landmarks, Seen, alikeness
from glocal.models.codecs.points import PointsCodecConfig

SIZE, COUNT = 32, 600
UPDATES = 300
FIELD = 2 / SIZE


def arm(kind: str = "slides", seed: int = 0) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Numbers (n, 4), pictures and where the hand is (n, 2): a dark arm comes from above with a bright hand at its end;
    a bright box lies about. The hand's place is in two of the numbers, told in other axes, or is where joints reach to.
    """
    random = torch.Generator().manual_seed(seed)
    free = 2 * torch.rand(COUNT, 2, generator=random) - 1
    if kind == "joints":
        first, second = 1.2 * free[:, 0] + 1.57, 0.9 * free[:, 1]
        place = 0.45 * torch.stack([first.cos() + (first + second).cos(), first.sin() + (first + second).sin()], 1)
        place = place - torch.tensor([0.0, 0.5])
    else:
        place = 0.7 * free
    numbers = torch.cat(
        [free @ torch.tensor([[3.0, 1.0], [-1.0, 2.0]]) + 5, torch.randn(COUNT, 2, generator=random)], 1
    )
    line = (torch.arange(SIZE) + 0.5) * FIELD - 1
    away = (
        torch.stack([(line - x).expand(SIZE, SIZE) for x in place[:, 0]]),
        torch.stack([(line - y)[:, None].expand(SIZE, SIZE) for y in place[:, 1]]),
    )
    pictures = torch.full((COUNT, SIZE, SIZE, 3), 120, dtype=torch.uint8)
    boxes = (SIZE * torch.rand(COUNT, 2, generator=random)).long()
    for picture, (x, y) in zip(pictures, boxes.tolist(), strict=True):
        picture[y : y + 3, x : x + 3] = torch.tensor([250, 240, 30], dtype=torch.uint8)
    pictures[(away[0].abs() < 0.12) & (away[1] < 0)] = torch.tensor([20, 20, 90], dtype=torch.uint8)
    pictures[(away[0].abs() < 0.2) & (away[1].abs() < 0.14)] = torch.tensor([230, 60, 60], dtype=torch.uint8)
    return numbers, pictures, place


def seen(numbers: torch.Tensor, pictures: torch.Tensor) -> Seen:
    told = (numbers - numbers.mean(0)) / numbers.std(0)
    return Seen(told, pictures, torch.full((3, SIZE, SIZE), 120 / 255), 0.0)


@pytest.mark.parametrize("kind", ["slides", "joints"])
def test_a_landmark_stays_on_the_hand(kind):
    numbers, pictures, place = arm(kind)
    marks, known = Landmarks(2, 4), seen(numbers, pictures)
    assert marks.find(known, UPDATES) >= 1
    off = marks(known.numbers)[:, 0] - place
    assert (off - off.median(0).values).norm(dim=1).median() < 2 * FIELD  # of pixels


def test_they_stay_where_something_hides_the_hand():
    numbers, pictures, place = arm()
    marks, known = Landmarks(1, 4), seen(numbers, pictures)
    marks.find(known, UPDATES)
    again = marks(known.numbers)  # no picture is asked for
    assert again.shape == (COUNT, 1, 2)
    assert torch.corrcoef(torch.stack([again[:, 0, 0], place[:, 0]]))[0, 1] > 0.99


def test_the_order_of_pictures_does_not_matter():
    """As where a recording begins with the robot parked."""
    numbers, pictures, place = arm()
    parked = COUNT // 4
    numbers[:parked], pictures[:parked], place[:parked] = numbers[0].clone(), pictures[0].clone(), place[0].clone()
    marks, known = Landmarks(1, 4), seen(numbers, pictures)
    assert marks.find(known, UPDATES) == 1
    off = (marks(known.numbers)[:, 0] - place)[parked:]
    assert (off - off.median(0).values).norm(dim=1).median() < 2 * FIELD


@pytest.mark.parametrize("kind", ["other numbers", "nothing is seen", "it stands still", "hardly any picture"])
def test_none_is_found_where_numbers_tell_nothing_of_pictures(kind):
    numbers, pictures, _ = arm()
    if kind == "other numbers":
        numbers = torch.randn(COUNT, 4, generator=torch.Generator().manual_seed(1))
    elif kind == "hardly any picture":
        numbers, pictures = numbers[:9], pictures[:9]
    elif kind == "nothing is seen":
        pictures = torch.full_like(pictures, 120)
    else:
        pictures = pictures[:1].expand(COUNT, -1, -1, -1).clone()
    marks, known = Landmarks(2, 4), seen(numbers, pictures)
    assert marks.find(known, 60) == 0
    assert torch.equal(marks(known.numbers), torch.zeros(len(numbers), 2, 2))


def test_cutouts_of_one_thing_are_alike_and_of_other_things_are_not():
    """A lit square of 4 by 4 pixels on black, at the place."""
    layers = torch.zeros(6, 4, SIZE, SIZE)
    places = torch.zeros(6, 2, 2)
    for i in range(6):
        x = 3 * i + 6
        layers[i, :, 14:18, x : x + 4] = 1.0
        places[i, 0] = torch.tensor([(x + 2) * FIELD - 1, 0.0])
    alike = alikeness(layers, places)
    assert 0.5 < alike[0] < 1
    assert alike[1] < 0.35 * alike[0]
    assert alikeness(torch.zeros_like(layers), places).abs().max() == 0


def test_the_same_pictures_give_the_same_landmarks_and_finding_anew_forgets():
    numbers, pictures, _ = arm()
    known = seen(numbers, pictures)
    first, second = Landmarks(2, 4), Landmarks(2, 4)
    first.find(known, 100)
    second.find(seen(numbers, torch.full_like(pictures, 120)), 20)
    second.find(known, 100)
    assert all(torch.equal(a, b) for a, b in zip(first.parameters(), second.parameters(), strict=True))


def test_they_stay_in_the_picture_and_are_not_trained_on():
    marks = Landmarks(STARTS, 2)
    torch.nn.init.normal_(marks.plane, std=100.0)
    told = marks(torch.randn(50, 2))
    assert told.abs().max() == 1
    assert not any(part.requires_grad for part in marks.parameters())


def camera(**options) -> CamerasCodec:
    cfg = PointsCodecConfig(points=3, side=16, width=8, worst_pixels=16, landmark_updates=UPDATES, **options)
    return CamerasCodec(cfg, (Part("joints", (4,)),), {"top": SIZE})


def test_a_camera_shows_them_behind_its_points():
    numbers, pictures, place = arm()
    fields = {"joints": numbers, "top": pictures}
    codec = camera()
    codec.fit_statistics(fields)
    (found,) = codec.find_landmarks(fields)
    assert found.startswith("top: the numbers tell ") and found.endswith(" on the robot")
    obs = codec.encode(fields)
    assert codec.spec.parts[1].shape == (5, 2) and obs.shape == (COUNT, 14)
    shown = obs[:, codec.spec.columns("top")].unflatten(1, (5, 2))
    assert torch.equal(shown[:, 3:], codec._marks()["top"](codec.vectors.encode(fields)))
    assert math.isclose(float(torch.corrcoef(torch.stack([shown[:, 3, 1], place[:, 1]]))[0, 1]), 1.0, abs_tol=0.01)
    assert torch.equal(codec.on_robot(obs[None])["top"], shown[None, :, 3 : 3 + int(found.split()[4])])
    drawn = codec.decode(obs)
    assert drawn["top"].shape == pictures.shape
    assert torch.allclose(drawn["joints"], numbers, atol=1e-4)
    again = codec.encode_drawn(obs[:, :4], {"top": pictures.movedim(-1, 1).float() / 255})
    assert torch.allclose(again, obs, atol=1e-5)


def test_of_two_cameras_each_has_its_own_columns_of_what_is_unseen():
    """By hand: four numbers; three points, two of which began on a colour, and two landmarks for each camera."""
    codec = CamerasCodec(
        PointsCodecConfig(points=3, side=16, width=8), (Part("joints", (4,)),), {"top": SIZE, "side": SIZE}
    )
    for grid in codec.grids.values():
        grid.colours.data = torch.tensor([[1.0, 0.0, 0.0], [0.0, 0.0, 1.0]])
    pictures = torch.zeros(2, SIZE, SIZE, 3, dtype=torch.uint8)
    pictures[0, 4:8, 4:8, 0] = pictures[1, 4:8, 4:8, 2] = 255
    hidden = codec.unseen({"joints": torch.zeros(1, 4), "top": pictures[:1], "side": pictures[1:]})
    assert hidden.shape == (1, 4 + 2 * 10)
    assert hidden[0].nonzero().flatten().tolist() == [4 + 2, 4 + 3, 14 + 0, 14 + 1]


def test_no_points_on_colours_know_of_nothing_unseen():
    codec = camera(coloured=0.0)
    assert codec.unseen({"joints": torch.zeros(1, 4), "top": torch.zeros(1, SIZE, SIZE, 3, dtype=torch.uint8)}) is None


def test_what_is_measured_of_a_camera_is_its_points_alone():
    obs = torch.arange(28.0).view(2, 14)
    parts = camera().unmarked(obs)
    assert torch.equal(parts["joints"], obs[:, :4]) and torch.equal(parts["top"], obs[:, 4:10])


def test_without_numbers_or_where_none_are_asked_for_there_are_none():
    assert camera(landmarks=0).spec.parts[1].shape == (3, 2)
    assert camera(landmarks=0).find_landmarks({}) == []
    assert camera().on_robot(torch.zeros(2, 14)) == {}
    alone = CamerasCodec(PointsCodecConfig(points=3, side=16, width=8), (), {"top": SIZE})
    assert alone.spec.parts[0].shape == (3, 2)
