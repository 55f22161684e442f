"""Returns, against arithmetic."""

import torch

from glocal.core.returns import alive, discount_weights, lambda_return, weighted_mean


def test_weights_are_powers_of_gamma_until_the_episode_ends():
    cont = torch.tensor([[1.0, 0.0, 1.0]])
    assert torch.allclose(discount_weights(cont, 0.5), torch.tensor([[1.0, 0.5, 0.0, 0.0]]))


def test_the_step_that_ends_an_episode_is_its_last_one():
    cont = torch.tensor([[1.0, 0.4, 1.0, 0.0], [0.5, 0.9, 0.6, 0.1]])
    assert alive(cont).tolist() == [[1, 1, 0, 0], [1, 1, 1, 1]]


def test_a_weighted_mean_by_hand():
    assert float(weighted_mean(torch.tensor([1.0, 2.0, 9.0]), torch.tensor([1.0, 3.0, 0.0]))) == 7 / 4
    assert float(weighted_mean(torch.tensor([1.0]), torch.tensor([0.0]))) == 0.0


def test_lambda_zero_is_one_step():
    reward, value, cont = torch.tensor([[1.0, 2.0]]), torch.tensor([[10.0, 20.0]]), torch.ones(1, 2)
    assert torch.allclose(lambda_return(reward, value, cont, 0.9, 0.0), torch.tensor([[10.0, 20.0]]))


def test_lambda_one_is_the_discounted_sum_and_the_last_value():
    reward, value, cont = torch.tensor([[1.0, 2.0]]), torch.tensor([[10.0, 20.0]]), torch.ones(1, 2)
    assert torch.allclose(lambda_return(reward, value, cont, 0.5, 1.0), torch.tensor([[1 + 0.5 * 12.0, 12.0]]))


def test_between_them_by_hand():
    reward, value, cont = torch.tensor([[1.0, 2.0]]), torch.tensor([[10.0, 20.0]]), torch.ones(1, 2)
    last = 2 + 0.5 * 20
    first = 1 + 0.5 * (0.25 * 10 + 0.75 * last)
    assert torch.allclose(lambda_return(reward, value, cont, 0.5, 0.75), torch.tensor([[first, last]]))


def test_nothing_counts_after_the_end():
    reward, value, cont = torch.tensor([[1.0, 2.0]]), torch.tensor([[10.0, 20.0]]), torch.tensor([[0.0, 1.0]])
    assert lambda_return(reward, value, cont, 0.9, 0.95)[0, 0] == 1.0
