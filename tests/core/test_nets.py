"""Blocks and steps that models are trained by, by hand."""

import math

import pytest
import torch
from torch import nn

from glocal.core.fitting import descend, flat, minibatches
from glocal.core.nets import Average, Residual, ResidualConv, harmonics, mlp, outcome_head


def test_a_network_has_its_layers_and_its_last_one_is_scaled():
    torch.manual_seed(0)
    whole = mlp(3, 8, 2, 5)
    torch.manual_seed(0)
    small = mlp(3, 8, 2, 5, last_scale=0.1)
    kinds = [nn.Linear, nn.LayerNorm, nn.SiLU] * 2 + [nn.Linear]
    assert [type(layer) for layer in whole] == kinds
    assert [whole[i].in_features for i in (0, 3, 6)] == [3, 8, 8] and whole[6].out_features == 5
    assert torch.allclose(small[6].weight, 0.1 * whole[6].weight) and torch.equal(small[0].weight, whole[0].weight)
    assert not whole[6].bias.any() and torch.allclose(small(torch.ones(1, 3)), 0.1 * whole(torch.ones(1, 3)), atol=1e-6)


def test_an_untrained_outcome_goes_on():
    bias = outcome_head(4, 8)[-1].bias
    assert bias.tolist() == [0.0, 3.0]


def test_residual_blocks_begin_as_the_identity_and_add_what_they_learn():
    torch.manual_seed(0)
    block, x = Residual(8), torch.randn(4, 8)
    assert torch.equal(block(x), x)
    block.outer.bias.data.fill_(2.0)
    assert torch.allclose(block(x), x + 2)
    block.outer.weight.data.copy_(torch.eye(8))
    hidden = nn.functional.silu(block.inner(nn.functional.layer_norm(x, (8,))))
    assert torch.allclose(block(x), x + hidden + 2, atol=1e-6)


def test_residual_convolutions_too():
    torch.manual_seed(0)
    block, x = ResidualConv(8), torch.randn(2, 8, 4, 4)
    assert torch.equal(block(x), x)
    block.outer.bias.data.fill_(2.0)
    assert torch.allclose(block(x), x + 2)
    assert block.inner[2].padding == block.outer.padding == (1, 1)


def test_waves_halve_their_length_with_every_scale():
    """x = 1/2: pi/2 and pi, sines before cosines; of two numbers, all scales of the first come first."""
    assert torch.allclose(harmonics(torch.tensor([0.5]), 2), torch.tensor([1.0, 0.0, 0.0, -1.0]), atol=1e-6)
    found = harmonics(torch.tensor([[0.1, 0.3]]), 2)[0, :4]
    assert torch.allclose(found, torch.tensor([math.sin(math.pi * x) for x in (0.1, 0.2, 0.3, 0.6)]))


def test_an_average_follows_fast_at_first_and_slowly_later():
    """At iteration 0 it keeps a tenth of itself, at iteration 8 half (9 / 18), and never more than its decay."""
    module = nn.Linear(1, 1, bias=False)
    module.weight.data.fill_(0.0)
    average = Average(module, decay=0.75)
    module.weight.data.fill_(1.0)
    for iteration, kept in ((0, 0.1), (8, 0.5), (10_000, 0.75)):
        average.module.weight.data.fill_(0.0)
        average.update(module, iteration)
        assert float(average.module.weight.detach()) == pytest.approx(1 - kept)
    assert float(module.weight.detach()) == 1.0 and not average.module.weight.requires_grad


def test_a_step_moves_a_modules_own_parameters_down_the_loss():
    own, other = nn.Linear(1, 1, bias=False), nn.Linear(1, 1, bias=False)
    own.weight.data.fill_(2.0)
    other.weight.data.fill_(3.0)
    optimizer = torch.optim.SGD(own.parameters(), lr=0.1)
    norm = descend((own.weight * other.weight).sum(), own, optimizer, clip=100.0)
    assert float(norm) == pytest.approx(3.0) and float(own.weight.detach()) == pytest.approx(2.0 - 0.1 * 3.0)
    assert other.weight.grad is None and float(other.weight.detach()) == 3.0
    norm = descend((own.weight * other.weight).sum(), own, optimizer, clip=1.0)  # anew, and clipped from 3 to 1
    assert float(norm) == pytest.approx(3.0) and float(own.weight.detach()) == pytest.approx(1.7 - 0.1, abs=1e-4)


def test_minibatches_are_shuffled_anew_in_every_pass():
    torch.manual_seed(0)
    parts = minibatches(40, 2, 4, torch.device("cpu"))
    assert [len(part) for part in parts] == [10] * 8
    assert torch.cat(parts[:4]).tolist() != torch.cat(parts[4:]).tolist() != list(range(40))


def test_rows_of_a_rollout_lie_one_environment_behind_the_other():
    assert torch.equal(flat(torch.arange(24).view(2, 3, 4)), torch.arange(24).view(6, 4))


def test_what_a_module_takes_note_of_is_not_averaged():
    module = nn.BatchNorm1d(2)
    average = Average(module, decay=0.9)
    module.running_mean = torch.tensor([3.0, 4.0])
    average.update(module, 100)
    assert average.module.get_buffer("running_mean").tolist() == [3.0, 4.0]
