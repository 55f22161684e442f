"""The latent grid: relative to the background, and on the plan of the image."""

import pytest
import torch

from glocal.models.codecs.grid import GridAutoencoder, GridCodecConfig
from glocal.models.codecs.images import to_channels
from glocal.runtime.files import UserError

SMALL = GridCodecConfig(side=4, channels=2, width=8, blocks=1, worst_pixels=16)
SIZE = 16


def codec(**options) -> GridAutoencoder:
    torch.manual_seed(0)
    return GridAutoencoder(GridCodecConfig(**{**SMALL.__dict__, **options}), SIZE)


def images(count: int = 9) -> torch.Tensor:
    torch.manual_seed(1)
    return torch.randint(256, (count, SIZE, SIZE, 3), dtype=torch.uint8)


def test_the_background_is_the_median_of_what_was_recorded():
    model, seen = codec(), images()
    model.fit_statistics(seen)
    assert torch.equal(model.background, to_channels(seen.sort(0).values[4]))


def test_what_is_encoded_is_what_differs_from_the_background():
    """The same difference on another background is the same latent."""
    model, dark = codec(), torch.rand(3, 3, SIZE, SIZE) / 2
    on_black = model.compress(dark)
    model.background.fill_(0.25)
    assert torch.allclose(model.compress(dark + 0.25), on_black, atol=1e-5)
    assert not torch.allclose(model.compress(dark), on_black, atol=1e-5)


def test_what_is_drawn_is_drawn_on_the_background():
    model, latent = codec(), torch.rand(3, 2, 4, 4)
    on_black = model.draw(latent)
    model.background.copy_(torch.rand(3, SIZE, SIZE))
    assert torch.allclose(model.draw(latent), on_black + model.background, atol=1e-6)


def test_the_grid_lies_as_the_image_does():
    """Another corner of the image changes its own quarter of the grid most, and a cell draws most into its own."""
    model, image = codec(), torch.rand(1, 3, SIZE, SIZE)
    other, latent = image.clone(), torch.zeros(1, 2, 4, 4)
    other[..., :4, 12:] += 0.5
    moved = (model.compress(other) - model.compress(image)).abs().sum(1)[0]
    marked = latent.clone()
    marked[..., 0, 3] = 1.0
    drawn = (model.draw(marked) - model.draw(latent)).abs().sum(1)[0]
    for change in (moved, drawn):
        half = len(change) // 2
        quarters = change.unflatten(0, (2, half)).unflatten(-1, (2, half)).sum((1, 3))
        assert quarters.argmax() == 1, quarters  # upper right


def test_an_observation_is_the_grid_row_by_row_and_decodes_to_what_it_draws():
    model, seen = codec(), images(6).unflatten(0, (2, 3))
    obs = model.encode(seen)
    latent = model.compress(to_channels(seen.flatten(0, 1)))
    assert torch.allclose(obs, latent.flatten(1).unflatten(0, (2, 3)))
    drawn = (model.draw(latent) * 255).clamp(0, 255).round().byte().movedim(1, -1).unflatten(0, (2, 3))
    assert torch.equal(model.decode(obs), drawn)


def test_the_loss_counts_the_squared_error_and_that_of_the_worst_pixels():
    model, seen = codec(noise=0.0), images(4)
    image = to_channels(seen)
    error = (model.draw(model.compress(image)) - image).pow(2).mean(1).flatten(1).detach()
    loss, parts = model.loss(seen)
    assert torch.allclose(parts["squared"], error.mean(), rtol=0.02)  # bfloat16
    assert torch.allclose(parts["worst"], error.sort(1).values[:, -16:].mean(), rtol=0.02)
    assert torch.allclose(loss, parts["squared"] + parts["worst"])


def test_latents_are_blurred_in_training():
    model, seen = codec(noise=3.0), images(4)
    assert abs(float(model.loss(seen)[0].detach()) - float(model.loss(seen)[0].detach())) > 1e-4
    still = codec(noise=0.0)
    assert float(still.loss(seen)[0].detach()) == float(still.loss(seen)[0].detach())


def test_a_grid_that_does_not_divide_the_image_is_refused():
    with pytest.raises(UserError, match="a grid of 8 cells does not divide pictures of 24"):
        GridAutoencoder(GridCodecConfig(side=8), 24)
