"""A few marks are enough to learn what success is near to."""

import numpy as np
import pytest
import torch

from glocal.data.rewards.success import Nearness, fit
from glocal.pipeline.label.seen import cross_validated
from glocal.runtime.files import UserError


def marked(count: int, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    """Frames in eight numbers, of which two decide: success is a disc about (1, -1)."""
    z = torch.randn(count, 8, generator=torch.Generator().manual_seed(seed)) * torch.tensor([1.0] * 6 + [30.0] * 2)
    return z, ((z[:, :2] - torch.tensor([1.0, -1.0])).norm(dim=1) < 1).float()


def test_it_generalises_from_two_hundred_marks():
    model, (z, success) = fit(*marked(200)), marked(2000, seed=1)
    assert ((model(z) > 0) == (success > 0.5)).float().mean() > 0.9
    weight = model.weight.exp()
    assert weight[:2].min() > 2 * weight[2:].max()


def test_the_logit_by_hand():
    model = Nearness(2)
    with torch.no_grad():
        model.goal.copy_(torch.tensor([1.0, 0.0]))
        model.weight.copy_(torch.tensor([4.0, 1.0]).log())
        model.bias.fill_(2.0)
    assert model(torch.tensor([[2.0, 3.0]])).item() == pytest.approx(2 - (4 * 1 + 1 * 9))


def test_marks_that_are_all_alike_are_refused():
    with pytest.raises(UserError, match="marked alike"):
        fit(torch.randn(5, 2), torch.ones(5))


def test_what_is_held_out_is_not_learned_from():
    """Marks that follow no rule are guessed no better than chance, however well they can be learned by heart."""
    rng = torch.Generator().manual_seed(0)
    z, success = torch.randn(60, 30, generator=rng), (torch.rand(60, generator=rng) < 0.5).float()
    claimed, real = cross_validated(z, success, np.arange(60) % 5)
    assert len(claimed) == 60 and ((claimed > 0.5) == (real > 0.5)).mean() < 0.7
    with pytest.raises(UserError, match="too few episodes"):
        cross_validated(z[:2], torch.tensor([0.0, 1.0]), np.array([0, 1]))
