"""The narrow code: what a moving picture shows can be drawn again from a few numbers."""

import pytest
import torch

from glocal.models.codecs.compact import CompactAutoencoder, CompactCodecConfig
from glocal.runtime.files import UserError
from glocal.runtime.trainer import Fit, FitConfig


def squares(count: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Bright squares of 5 by 5 pixels on a floor whose stripes are shifted as if the camera moved; where they are."""
    x, y, shift = (torch.randint(0, 12, (count,)) for _ in range(3))
    stripes = ((torch.arange(16)[None] + shift[:, None]) // 4 % 2 * 60 + 40).byte()
    images = stripes[:, None, :, None].expand(-1, 16, -1, 3).clone()
    for i in range(count):
        images[i, y[i] : y[i] + 5, x[i] : x[i] + 5] = torch.tensor([250, 120, 20], dtype=torch.uint8)
    return images, torch.stack([x, y], -1).float()


def test_a_square_is_drawn_where_it_was_though_the_camera_moves():
    torch.manual_seed(0)
    codec = CompactAutoencoder(CompactCodecConfig(numbers=16, width=16, noise=0.02), 16)
    codec.fit_statistics(squares(64)[0])
    fit = Fit(FitConfig(updates=250, batch=32, lr=3e-3, average=0.95), codec, lambda: codec.loss(squares(32)[0]))
    for _ in range(250):
        fit.iterate()
    images, place = squares(64)
    drawn = fit.model.decode(fit.model.encode(images))  # pyright: ignore[reportCallIssue]
    bright = ((drawn[..., 0] > 150) & (drawn[..., 2] < 80)).float()
    centres = [(bright.sum(dim) * torch.arange(16)).sum(1) / bright.sum((1, 2)).clamp_min(1) - 2 for dim in (1, 2)]
    assert (torch.stack(centres, -1) - place).abs().median() < 0.7
    assert (drawn.float() - images.float()).abs().mean() < 25


def test_numbers_are_bounded_and_one_token_of_them_stands_for_a_picture():
    codec = CompactAutoencoder(CompactCodecConfig(numbers=6, width=8), 32)
    code = codec.compress(100 * torch.randn(3, 3, 32, 32))
    assert code.shape == (3, 1, 6) and code.abs().max() <= 1
    assert codec.shape == (1, 6) and codec.encode(torch.zeros(2, 5, 32, 32, 3).byte()).shape == (2, 5, 6)


def test_untrained_it_draws_the_mean_of_what_was_recorded():
    codec = CompactAutoencoder(CompactCodecConfig(numbers=6, width=8), 32)
    codec.fit_statistics(torch.full((4, 32, 32, 3), 100, dtype=torch.uint8))
    torch.nn.init.zeros_(codec.decoder[-1].weight)  # pyright: ignore[reportArgumentType]
    torch.nn.init.zeros_(codec.decoder[-1].bias)  # pyright: ignore[reportArgumentType]
    assert (codec.decode(torch.randn(2, 6)) == 100).all()


def test_numbers_are_blurred_in_training():
    torch.manual_seed(0)
    images = squares(8)[0]
    losses = {}
    for noise in (0.0, 0.5):
        codec = CompactAutoencoder(CompactCodecConfig(numbers=6, width=8, noise=noise), 16)
        losses[noise] = [codec.loss(images)[0] for _ in range(2)]
    assert losses[0.0][0] == losses[0.0][1] and losses[0.5][0] != losses[0.5][1]


@pytest.mark.parametrize("size", [8, 24, 48])
def test_pictures_that_do_not_halve_are_refused(size: int):
    with pytest.raises(UserError, match=f"of 16, 32, 64 ... pixels, not of {size}; choose another size in"):
        CompactAutoencoder(CompactCodecConfig(), size)
