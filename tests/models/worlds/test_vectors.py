"""The diffusion of points: its sampler and its schedule."""

import pytest
import torch

from glocal.core.types import Segment
from glocal.models.rigid2d.scene import SceneConfig, scene_spec
from glocal.models.worlds.vectors import VectorWorld, VectorWorldConfig
from tests.toys import control_steps

SPEC, LOOSE = scene_spec(2), SceneConfig(rigid=False, reach=0.2)


class IdealDenoiser:
    """The posterior mean of a Gaussian with this mean and standard deviation: the best there is."""

    def __init__(self, mean: float, std: float):
        self.mean, self.std = mean, std

    def __call__(self, noisy, sigma, seen):
        weight = self.std**2 / (self.std**2 + sigma**2)
        return self.mean + weight * (noisy - self.mean)


def segment(count: int, length: int = 4) -> Segment:
    torch.manual_seed(0)
    ones = torch.ones(count, length)
    return Segment(torch.rand(count, length, 6) - 0.5, torch.rand(count, length, 2), ones, ones)


@pytest.mark.parametrize("mean, std", [(0.7, 0.5), (-1.0, 0.1)])
def test_the_ideal_denoiser_makes_the_sampler_recover_a_gaussian(mean, std):
    world = VectorWorld(VectorWorldConfig(sampling_steps=200, sigma_max=40.0, sigma_min=0.002), SPEC, LOOSE)
    world.denoise = IdealDenoiser(mean, std)
    start = segment(4000)
    after = world.sample(start.obs, start.action, torch.randn(4000, SPEC.obs_dim))
    change = world.features.delta(start.obs[:, -1], after)
    assert abs(float(change.mean()) - mean) < 0.05
    assert abs(float(change.std()) - std) < 0.05


@pytest.mark.parametrize("steps", [1, 2, 3, 5])
def test_the_schedule_falls_from_the_largest_noise_to_none(steps):
    sigmas = [float(sigma) for sigma in VectorWorldConfig(sampling_steps=steps).schedule(torch.tensor(5.0))]
    assert len(sigmas) == steps + 1
    assert abs(sigmas[0] - 5.0) < 1e-5 and sigmas[-1] == 0.0
    assert sigmas == sorted(sigmas, reverse=True)


def test_a_world_that_sees_too_little_says_so():
    world = VectorWorld(VectorWorldConfig(), SPEC, LOOSE)
    with pytest.raises(ValueError, match="needs 4 observations to begin, found 2"):
        world.begin(segment(3, 2), 0)


def test_the_loss_falls_on_a_world_of_constant_motion():
    torch.manual_seed(0)
    world = VectorWorld(VectorWorldConfig(size=0), SPEC, LOOSE)
    start = segment(256)
    after = start.obs[:, -1:] + 0.05
    whole = Segment(
        torch.cat([start.obs, after], 1),
        torch.rand(256, 5, 2),
        torch.ones(256, 5),
        torch.ones(256, 5),
    )
    world.fit_statistics(control_steps(start.obs[:, -1], after[:, 0], torch.ones(256)))
    optimizer = torch.optim.Adam(world.parameters(), 1e-2)
    losses = []
    for _ in range(150):
        loss, _ = world.loss(whole)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    assert sum(losses[-10:]) < 0.3 * sum(losses[:10])
