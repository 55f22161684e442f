"""What codecs of images share, by hand."""

import torch

from glocal.models.codecs.images import axis, coordinates, drawing_loss, to_bytes, to_channels


def test_channels_come_first_and_reach_from_0_to_1():
    images = torch.arange(2 * 3 * 4 * 3, dtype=torch.uint8).view(2, 3, 4, 3)
    found = to_channels(images)
    assert found.shape == (2, 3, 3, 4) and found[1, 2, 0, 3] == images[1, 0, 3, 2] / 255
    assert to_channels(torch.full((1, 1, 3), 255, dtype=torch.uint8)).flatten().tolist() == [1.0] * 3


def test_bytes_undo_channels_and_stay_in_range():
    images = torch.randint(256, (2, 3, 4, 5, 3), dtype=torch.uint8)
    assert torch.equal(to_bytes(to_channels(images).flatten(0, 1), (2, 3)), images)
    wild = torch.tensor([-0.5, 0.0, 0.501 / 255, 1.0, 7.0]).view(1, 1, 1, 5)
    assert to_bytes(wild, (1,)).flatten().tolist() == [0, 0, 1, 255, 255]


def test_pixels_lie_at_their_centres_x_along_rows():
    assert axis(4).tolist() == [-0.75, -0.25, 0.25, 0.75]
    plan = coordinates(4)
    assert plan.shape == (2, 4, 4) and plan[:, 1, 3].tolist() == [0.75, -0.25]


def test_the_worst_pixels_of_each_image_are_counted_again():
    """Image 0 is wrong in one pixel by 0.6 in one channel: 0.36 / 3; image 1 in all four by 0.3 in all: 0.09 each."""
    image = torch.zeros(2, 3, 2, 2)
    drawn = image.clone()
    drawn[0, 1, 0, 1] = 0.6
    drawn[1] = 0.3
    loss, parts = drawing_loss(drawn, image, worst_pixels=2)
    assert torch.allclose(parts["squared"], torch.tensor((0.12 + 4 * 0.09) / 8))
    assert torch.allclose(parts["worst"], torch.tensor((0.12 + 0 + 2 * 0.09) / 4))
    assert torch.allclose(loss, parts["squared"] + parts["worst"])
