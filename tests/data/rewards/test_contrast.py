"""Time contrast embeds what changes slowly and leaves out what moves all the time."""

import torch

from glocal.data.rewards.contrast import Contrast, ContrastConfig

CONFIG = ContrastConfig(dim=4, width=8, near=4, far=8, episodes=16, frames=4)


def scenes(slow: torch.Tensor, fast: torch.Tensor) -> torch.Tensor:
    """Pictures of a bar whose height is `slow` and of a dot at `fast`, both from 0 to 1."""
    images = torch.full((len(slow), 64, 64, 3), 255, dtype=torch.uint8)
    for image, tall, place in zip(images, slow, fast, strict=True):
        image[4 : 8 + int(50 * tall), 8:24] = 60
        image[int(50 * place) : int(50 * place) + 10, 40:50] = 0
    return images


def test_slow_things_make_the_distance():
    torch.manual_seed(0)
    model = Contrast(CONFIG)
    optimizer = torch.optim.Adam(model.parameters(), 2e-3)
    episode = torch.arange(16).repeat_interleave(4)
    for _ in range(80):
        height, time = torch.rand(16)[episode], torch.arange(4).repeat(16) * 10
        loss, _ = model.loss(scenes(height, torch.rand(64)), scenes(height, torch.rand(64)), episode * 10 + time, time)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    with torch.no_grad():
        slow = model(scenes(torch.linspace(0, 1, 9), torch.full((9,), 0.5)))
        fast = model(scenes(torch.full((9,), 0.5), torch.linspace(0, 1, 9)))
    assert slow.std(0).norm() > 3 * fast.std(0).norm()


def test_frames_of_an_episode_that_are_neither_near_nor_far_are_left_out():
    torch.manual_seed(0)
    model, images = Contrast(CONFIG), torch.randint(0, 255, (2, 64, 64, 3), dtype=torch.uint8)
    same, other = torch.zeros(2).long(), torch.arange(2)
    near, far = torch.tensor([0, 5]), torch.tensor([0, 9])
    assert model.loss(images, images, same, near)[0].item() == 0.0  # nothing else to be told apart from
    assert model.loss(images, images, same, far)[0] == model.loss(images, images, other, near)[0] > 0
