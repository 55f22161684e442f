"""Improved actions: by hand, and the step that they ask of an actor."""

import pytest
import torch

from glocal.core.ascent import departure, improved
from glocal.core.fitting import minibatches

EVEN = torch.ones(2, 1)


def test_actions_move_along_the_slope_by_the_step_in_root_mean_square():
    action, gradient = torch.zeros(2, 1, 2), torch.tensor([[[3.0, 4.0]], [[0.0, 0.0]]])
    moved = improved(action, gradient, EVEN, step=0.1, longest=9.0)
    assert torch.allclose(moved[0, 0], 0.1 * 2**0.5 * torch.tensor([0.6, 0.8]))  # rms of (5, 0) is 5 / sqrt 2
    assert torch.equal(moved[1], action[1])


def test_what_counts_for_nothing_changes_neither_the_step_nor_the_fit():
    action, gradient, weight = torch.zeros(2, 1), torch.tensor([[2.0], [50.0]]), torch.tensor([1.0, 0.0])
    wanted = improved(action, gradient, weight, step=0.1, longest=9.0)
    assert wanted[0] == pytest.approx(0.1)
    assert departure(action, wanted, weight, 0.1) == pytest.approx(0.1**2 / 0.2)


def test_no_action_moves_by_more_than_the_longest_step_nor_out_of_range():
    action = torch.tensor([[0.0, 0.0], [0.95, 0.0], [0.0, 0.0]])
    gradient = torch.tensor([[100.0, 0.0], [1.0, 0.0], [0.0, -1.0]])
    moved = improved(action, gradient, torch.ones(3), step=10.0, longest=0.5)
    assert torch.allclose(moved, torch.tensor([[0.5, 0.0], [1.0, 0.0], [0.0, -0.1 * 3**0.5]]), atol=1e-3)


def test_the_longest_step_is_an_actions_own_and_not_its_windows():
    """Three steps of a window, each of length 0.5 / sqrt 2 along both axes: none is held back by the others."""
    gradient = torch.ones(1, 3, 2)
    moved = improved(torch.zeros(1, 3, 2), gradient, torch.ones(1, 3), step=0.5, longest=0.5)
    assert torch.allclose(moved, torch.full((1, 3, 2), 0.5 / 2**0.5))


@pytest.mark.parametrize("huge", [1.0, 1e6])
def test_what_one_in_a_hundred_is_moved_by_takes_nothing_from_the_others(huge):
    gradient = torch.ones(200, 1)
    gradient[7] = huge
    moved = improved(torch.zeros(200, 1), gradient, torch.ones(200), step=0.1, longest=0.5)
    assert moved[0] == pytest.approx(0.1) and moved[7] == pytest.approx(min(0.5, 0.1 * huge))


def test_of_less_than_one_in_a_hundred_the_mean_is_that_of_all():
    gradient = torch.zeros(200, 1)
    gradient[7] = 3.0
    moved = improved(torch.zeros(200, 1), gradient, torch.ones(200), step=0.01, longest=0.5)
    assert moved[7] == pytest.approx(0.01 * 200**0.5, abs=1e-4) and not moved[:7].any()


def test_where_nothing_is_better_anywhere_actions_stay():
    action = torch.rand(4, 3, 2)
    assert torch.equal(improved(action, torch.zeros(4, 3, 2), torch.ones(4, 3), 0.1, 0.5), action)


def test_the_first_step_of_the_fit_is_along_the_slope():
    action = torch.tensor([[0.1, 0.2], [-0.3, 0.4]], requires_grad=True)
    gradient = torch.tensor([[1.0, -2.0], [0.5, 0.0]])
    wanted = improved(action.detach(), gradient, torch.ones(2), step=0.01, longest=9.0)
    (down,) = torch.autograd.grad(departure(action, wanted, torch.ones(2), 0.01), action)
    size = gradient.norm(dim=-1).pow(2).mean().sqrt()
    assert torch.allclose(-down * 2, gradient / size, atol=1e-4)  # times 2: the mean over two rows


@pytest.mark.parametrize("passes, batches", [(1, 1), (3, 4)])
def test_every_row_is_met_once_in_a_pass(passes, batches):
    parts = minibatches(10, passes, batches, torch.device("cpu"))
    assert len(parts) == passes * batches
    assert sorted(torch.cat(parts).tolist()) == sorted(list(range(10)) * passes)
