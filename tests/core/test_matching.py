"""Derivative matching: zero where slopes agree, whatever the values; and it mends slopes that do not."""

import torch

from glocal.core.matching import Matching, MatchingConfig, varied
from glocal.core.types import Segment
from tests.toys import LinearSurrogate, LinearWorld

CONFIG = MatchingConfig(weight=1.0, action=0.1, agent=0.0)


def windows(count: int) -> Segment:
    flat = torch.zeros(count, 4)
    return Segment(torch.rand(count, 4, 1), torch.rand(count, 4, 1), flat, flat + 1)


def matching() -> Matching:
    return Matching(CONFIG, LinearWorld(), torch.ones(1), length=3)


def test_equal_slopes_cost_nothing_though_values_differ():
    assert float(matching().loss(LinearSurrogate(slope=0.5, offset=3.0), windows(8)).detach()) < 1e-9


def test_other_slopes_cost_their_difference_squared():
    loss = matching().loss(LinearSurrogate(slope=0.9), windows(8))
    assert torch.allclose(loss, torch.tensor(0.5 * 0.4**2), atol=1e-5)  # Huber's, by hand


def test_windows_in_which_an_episode_ended_do_not_count():
    some = windows(8)
    cont = some.cont.clone()
    cont[:, 1] = 0.0
    ended = Segment(some.obs, some.action, some.reward, cont)
    assert float(matching().loss(LinearSurrogate(slope=0.9), ended).detach()) == 0.0


def test_it_teaches_the_slope():
    torch.manual_seed(0)
    surrogate = LinearSurrogate(slope=-1.0)
    optimizer = torch.optim.SGD(surrogate.parameters(), lr=0.5)
    for _ in range(40):
        optimizer.zero_grad()
        matching().loss(surrogate, windows(16)).backward()
        optimizer.step()
    assert abs(float(surrogate.slope.detach()) - 0.5) < 1e-2


def test_a_varied_window_has_its_agent_elsewhere_and_another_last_action():
    obs, action, flat = torch.rand(2, 3, 6), torch.rand(2, 3, 2), torch.zeros(2, 3)
    moved = varied(Segment(obs, action, flat, flat), torch.full((2, 2), 0.1), torch.full((2, 2), 0.2))
    assert torch.allclose(moved.obs[..., -2:], obs[..., -2:] + 0.2) and torch.equal(moved.obs[..., :-2], obs[..., :-2])
    assert torch.allclose(moved.action[:, -1], action[:, -1] + 0.1) and torch.equal(
        moved.action[:, :-1], action[:, :-1]
    )
