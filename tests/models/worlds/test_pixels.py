"""Diffusion of pictures: its sampler and its frames by hand, and that it learns what an action does."""

from contextlib import nullcontext
from dataclasses import replace

import pytest
import torch

from glocal.core.spec import Part, Spec
from glocal.core.types import Segment
from glocal.models.codecs.cameras import CamerasCodec
from glocal.models.codecs.grid import GridCodecConfig
from glocal.models.worlds import pixels
from glocal.models.worlds.diffusion import solved
from glocal.models.worlds.pixels import JUDGED, SIZES, PixelConfig, PixelWorld, in_bytes
from glocal.models.worlds.unet import UNet
from glocal.pipeline.presets import PATCHES
from glocal.runtime.files import UserError
from tests.toys import control_steps

SIDE = 16
CODEC = GridCodecConfig(side=4, channels=2, width=8, blocks=1)
SMALL = PixelConfig(context=2, size=0, told_width=32, memory=16, reward_steps=5)
JOINTS = (Part("joints", (3,)),)


def world(cfg: PixelConfig = SMALL, vectors: tuple[Part, ...] = (), cameras: int = 1) -> PixelWorld:
    torch.manual_seed(0)
    codec = CamerasCodec(CODEC, vectors, {f"camera{i}": SIDE for i in range(cameras)})
    return PixelWorld(cfg, Spec(codec.spec.parts, 2), codec)


def stirred(model: PixelWorld) -> PixelWorld:
    """So that what starts at zero takes part."""
    for parameter in model.parameters():
        parameter.data += 0.05 * torch.randn_like(parameter)
    return model.requires_grad_(False)


def moved(count: int, length: int) -> Segment:
    """A white square on black that goes where actions tell it to, four pixels at a time, and comes in again on the
    other side; the reward is how far right it is."""
    action = (torch.rand(count, length, 2) * 2 - 1).sign()
    places = (torch.randint(SIDE, (count, 1, 2)) + (4 * action).int().cumsum(1)) % SIDE
    inside = [(torch.arange(SIDE) - places[..., i : i + 1]) % SIDE < 5 for i in (0, 1)]
    pictures = (255 * (inside[1][..., :, None] & inside[0][..., None, :])).byte()
    reward = places[..., 0] / SIDE
    rows = pictures[..., None].expand(*pictures.shape, 3).flatten(2).contiguous()
    return Segment(torch.zeros(count, length, 2 * 16), action, reward, torch.ones(count, length), rows)


def recorded(model: PixelWorld, count: int = 3, length: int = 5) -> Segment:
    torch.manual_seed(1)
    pictures = torch.randint(256, (count, length, len(model.sides) * 3 * SIDE**2), dtype=torch.uint8)
    obs, flat = torch.randn(count, length, model.spec.obs_dim), torch.rand(count, length)
    return Segment(obs, torch.rand(count, length, 2), flat, flat, pictures)


def test_heuns_method_is_nearer_than_eulers_to_where_the_path_ends():
    """Of unit Gaussian data the denoiser is x / (1 + sigma^2), and noise ends at x / sqrt(1 + sigma^2)."""
    noise, sigmas = torch.randn(64, 3), [torch.tensor(s) for s in (3.0, 2.0, 1.4, 1.0, 0.7, 0.5, 0.3, 0.2, 0.1, 0.0)]
    expected = 3 * noise / (1 + 3.0**2) ** 0.5
    euler, heun = (solved(lambda x, s: x / (1 + s**2), noise, sigmas, heun) for heun in (False, True))
    off = [(found - expected).norm() for found in (euler, heun)]
    assert off[1] < 0.2 * off[0] and off[0] < 0.2 * expected.norm()


def test_heun_evaluates_twice_at_each_level_but_the_last():
    asked = []
    sigmas = [torch.tensor(s) for s in (4.0, 1.0, 0.0)]
    solved(lambda x, s: (asked.append(float(s[0])), 0 * x)[1], torch.ones(1, 1), sigmas, True)
    assert asked == [4.0, 1.0, 1.0]


def test_pixels_are_held_as_bytes_and_pass_their_gradient():
    x = torch.tensor([-1.3, -1.0, 0.0017, 0.9, 1.0], requires_grad=True)
    held = in_bytes(x)
    assert torch.allclose(held, (torch.tensor([0.0, 0, 128, 242, 255])) / 127.5 - 1, atol=1e-6)
    held.sum().backward()
    assert x.grad is not None and x.grad.tolist() == [0, 1, 1, 1, 1]


@pytest.mark.parametrize("diffuse", ["picture", "change"])
def test_what_is_diffused_stands_for_the_next_numbers_and_pictures(diffuse):
    model = world(replace(SMALL, diffuse=diffuse), JOINTS, cameras=2)
    segment = recorded(model)
    model.fit_statistics(control_steps(segment.obs[:, 1], segment.obs[:, 2], segment.reward[:, 2]))
    seen = model.seen(segment)
    before, truth = seen[:, :2], seen[:, 2]
    again = model._after(before, model._change(before, truth))
    assert torch.allclose(again, torch.cat([truth.numbers, truth.pictures], -1), atol=1e-4)
    change = model._change(before, truth)[:, 3:]
    assert torch.allclose(change, truth.pictures - (before.pictures[:, -1] if diffuse == "change" else 0), atol=1e-6)


@pytest.mark.parametrize("patch", [1, 2, 4])
def test_pictures_enter_and_leave_in_patches_without_loss(patch):
    model = world(replace(SMALL, patch=patch), cameras=2)
    pictures = torch.rand(2, 2 * 3 * SIDE**2)
    maps = model._maps(pictures)
    assert maps.shape == (2, 6 * patch**2, SIDE // patch, SIDE // patch)
    assert torch.equal(model._pictures(maps), pictures)


def test_answers_are_pictures_of_bytes_and_follow_from_the_key():
    model = stirred(world(replace(SMALL, diffuse="change", sigma_data=0.2), JOINTS, cameras=2))
    begun = model.begin(recorded(model), 3)
    after = model.answer(begun, torch.rand(3, 2))
    scaled = (after.seen.pictures[:, -1] + 1) * 127.5
    assert torch.allclose(scaled, scaled.round(), atol=1e-3) and scaled.min() >= 0 and scaled.max() <= 255
    assert torch.equal(after.seen.pictures[:, 0], begun.seen.pictures[:, 1]) and after.key == 4


def test_rewards_along_a_rollout_are_those_of_the_same_pictures_recorded(monkeypatch):
    """The recurrent network goes on from its memory as over a whole window."""
    monkeypatch.setattr(pixels, "half_precision", lambda device: nullcontext())
    model = stirred(world(vectors=JOINTS))
    segment = recorded(model)
    model.fit_statistics(control_steps(segment.obs[:, 0], segment.obs[:, 1], segment.reward[:, 1]))
    context, action = model.begin(segment[:, :2], 0), segment.action
    steps = []
    for t in (2, 3):
        context, seen = model.step(context, action[:, t])
        steps.append((seen, context.seen[:, -1]))
    numbers = torch.cat([segment.obs[:, :2, :3], torch.stack([one.numbers for _, one in steps], 1)], 1)
    rows = torch.cat([model.seen(segment[:, :2]).pictures, torch.stack([one.pictures for _, one in steps], 1)], 1)
    pictures = ((rows.unflatten(-1, (3, SIDE, SIDE)).movedim(2, -1) + 1) * 127.5).round().byte().flatten(2)
    whole = Segment(numbers, action[:, :4], segment.reward[:, :4], segment.cont[:, :4], pictures)
    told, cont = model.outcomes(whole)
    assert torch.allclose(told[:, 2:], torch.stack([seen.reward for seen, _ in steps], 1), atol=1e-3)
    assert torch.allclose(cont[:, 2:].sigmoid(), torch.stack([seen.cont for seen, _ in steps], 1), atol=1e-3)


def test_each_answer_of_the_loss_sees_what_was_made_of_those_before():
    model = stirred(world(replace(SMALL, answers=3)))
    segment, looked = recorded(model, 4), []
    see = model.see

    def kept(seen, action):
        looked.append((seen, action))
        return see(seen, action)

    model.see = kept  # pyright: ignore[reportAttributeAccessIssue]
    model.loss(segment)
    truth = model.seen(segment)
    assert [torch.equal(action, segment.action[:, t]) for t, (_, action) in enumerate(looked, 2)] == [True] * 3
    assert torch.equal(looked[0][0].pictures, truth.pictures[:, :2])
    assert torch.equal(looked[1][0].pictures[:, 0], truth.pictures[:, 1])
    assert not torch.equal(looked[1][0].pictures[:, 1], truth.pictures[:, 2])
    assert torch.equal(looked[2][0].pictures[:, 0], looked[1][0].pictures[:, 1])


def test_offset_noise_is_the_same_for_all_pixels_of_a_channel():
    model = world(replace(SMALL, sigma_offset=0.5), JOINTS, cameras=2)
    offset = model._offset(torch.zeros(500, 3 + 2 * 3 * SIDE**2))
    channels = offset[:, 3:].unflatten(-1, (6, -1))
    assert torch.equal(channels, channels[..., :1].expand_as(channels))
    assert 0.45 < offset[:, :3].std() < 0.55 and 0.45 < channels[..., 0].std() < 0.55
    assert abs(torch.corrcoef(channels[..., 0].T)[0, 1]) < 0.15


def test_errors_count_the_same_at_every_noise_level_and_the_worst_pixels_twice():
    sigma, off = torch.full((1, 1), 2.0), torch.zeros(1, 3 * SIDE**2)
    off[0, :10] = 1.0
    weight = (2.0**2 + 0.5**2) / (2.0 * 0.5) ** 2
    share = 10 / (3 * SIDE**2)
    assert torch.allclose(world()._error(off, sigma), torch.tensor(weight * share))
    assert torch.allclose(world(replace(SMALL, worst=share))._error(off, sigma), torch.tensor(weight * (share + 1)))


def test_cameras_of_different_sizes_are_refused():
    codec = CamerasCodec(CODEC, (), {"top": SIDE, "wrist": 2 * SIDE})
    with pytest.raises(UserError, match="cameras of one size, found top 16, wrist 32 pixels"):
        PixelWorld(SMALL, Spec(codec.spec.parts, 2), codec)


@pytest.mark.parametrize("size", range(len(SIZES)))
def test_networks_of_every_size_can_be_run(size):
    """On `meta`, where nothing is calculated."""
    channels, blocks = SIZES[size]
    with torch.device("meta"):
        net = UNet(channels, blocks, 16)
        assert net(torch.zeros(1, channels[0], 32, 32), torch.zeros(1, 16)).shape == (1, channels[0], 32, 32)


def test_noise_is_told_in_sampling_as_in_training(monkeypatch):
    """A pixel's own noise and its channel's offset together."""
    model, told = stirred(world(replace(SMALL, sigma_offset=0.4))), []
    features = pixels.level_features
    monkeypatch.setattr(pixels, "level_features", lambda sigma: (told.append(float(sigma[0])), features(sigma))[1])
    model.step(model.begin(recorded(model), 0), torch.zeros(3, 2))
    levels = model.cfg.schedule(model.first_sigma)[:-1]
    assert told == pytest.approx([float((level**2 + 0.4**2).sqrt()) for level in levels])


def test_the_preset_that_a_cpu_affords_makes_use_of_every_evaluation():
    """Its last one still changes a picture by more than a byte."""
    model = stirred(world(replace(PATCHES, size=0, reward_steps=5)))
    begun, action = model.begin(recorded(model), 0), torch.zeros(3, 2)
    noise, found = torch.randn(3, 3 * SIDE**2), []
    denoise = model.denoise
    model.denoise = lambda *told: (found.append(denoise(*told)), found[-1])[1]  # pyright: ignore
    model.sample(begun.seen, action, noise)
    assert len(found) == 2 and (found[0] - found[1]).abs().mean() > 2 / 255


def test_what_is_out_of_a_pictures_range_is_learned_from_nevertheless():
    """The loss sees what the network says, samples what bytes hold."""
    model = world()
    for parameter in model.denoiser.out.parameters():
        parameter.data += 5.0
    segment = recorded(model)
    loss, _ = model.loss(replace(segment, pictures=torch.full_like(segment.pictures, 255)))
    loss.backward()
    assert model.denoiser.out.bias.grad is not None and (model.denoiser.out.bias.grad.abs() > 1e-3).all()


def test_one_picture_of_context_is_enough():
    model = stirred(world(replace(SMALL, context=1), JOINTS))
    _, seen = model.step(model.begin(recorded(model), 0), torch.zeros(3, 2))
    assert torch.isfinite(seen.reward).all()


@pytest.mark.parametrize(("height", "width"), [(16, 16), (13, 10)])
def test_the_network_takes_sides_that_halve_unevenly(height, width):
    net = UNet((8, 16, 16), 1, 4)
    assert net(torch.randn(2, 8, height, width), torch.randn(2, 4)).shape == (2, 8, height, width)


def test_levels_of_the_network_differ_in_width_and_all_are_told():
    """Nothing of it is left without a gradient."""
    torch.manual_seed(0)
    net = UNet((8, 16, 24), 2, 4)
    for parameter in net.parameters():
        parameter.data += 0.1 * torch.randn_like(parameter)
    net(torch.randn(2, 8, 16, 16), torch.randn(2, 4)).pow(2).sum().backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in net.parameters())


@pytest.mark.slow
def test_it_learns_where_an_action_takes_a_square_and_what_that_is_worth():
    torch.manual_seed(0)
    told = {"sampling_steps": 2, "sigma_min": 0.1, "sigma_data": 0.3, "sigma_offset": 0.0}
    model = world(replace(SMALL, patch=4, diffuse="change", worst=0.1, **told))
    optimizer = torch.optim.Adam(model.parameters(), 2e-3)
    for _ in range(350):
        loss, _ = model.loss(moved(8 * JUDGED, 5))
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
    model.requires_grad_(False)
    held = moved(64, 6)
    off = {}
    for name, action in (("true", held.action), ("shuffled", held.action.roll(1, 0))):
        context = model.begin(held[:, :3], 0)
        for t in range(3, 6):
            context, seen = model.step(context, action[:, t])
        off[name] = (context.seen.pictures[:, -1] - model.seen(held).pictures[:, -1]).pow(2).mean()
        if name == "true":
            assert (seen.reward - held.reward[:, -1]).abs().mean() < 0.1
    assert off["true"] < 0.5 * off["shuffled"]
