"""Fitting: the learning rate by hand."""

import pytest
import torch
from torch import nn

from glocal.training import Fit, FitConfig


def test_without_a_warm_up_the_first_update_has_the_whole_learning_rate():
    fit = Fit(FitConfig(updates=10, rate=0.5, warm_up=0), nn.Linear(1, 1), lambda: (torch.zeros(()), {}))
    assert fit.rate() == pytest.approx(0.5)
