"""Imagined environments: which begin anew, and from where."""

import torch

from glocal.core.environments import Environments
from glocal.core.types import Segment
from tests.toys import LinearSurrogate, LinearWorld


def environments(count: int, episode: int) -> Environments:
    """Every window that they begin from lies at 0.25."""

    def starts(count: int, length: int) -> Segment:
        zeros = torch.zeros(count, length)
        return Segment(zeros[..., None] + 0.25, zeros[..., None], zeros, zeros + 1)

    return Environments(LinearWorld(), LinearSurrogate(), starts, count, 2, episode)


def test_ages_count_steps_and_an_ended_episode_has_run_its_time():
    cont = torch.tensor([[1.0, 1.0, 1.0], [1.0, 0.2, 1.0], [0.6, 0.9, 0.4]])
    aged = environments(3, episode=16).aged(torch.tensor([0, 2, 5]), cont)
    assert aged.tolist() == [3, 16, 16]


def test_those_that_have_run_their_time_begin_anew_and_the_others_stay():
    some = environments(3, episode=4)
    now = some.begin(torch.tensor([3, 4, 7]))
    moved = now.tensors(lambda x: x + 10.0 if x.is_floating_point() else x)
    after = some.restart(moved)
    assert after.age.tolist() == [3, 0, 0]
    for place in (after.context.x, after.belief.x, after.recent.obs[:, -1]):
        assert place.flatten().tolist() == [10.25, 0.25, 0.25]


def test_noise_is_drawn_anew_with_every_restart():
    some = environments(2, episode=4)
    now = some.begin(torch.zeros(2, dtype=torch.long))
    assert some.restart(now).context.key != some.restart(now).context.key
