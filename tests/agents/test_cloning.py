"""Behaviour cloning with chunks."""

import math

import torch

from glocal.agents.cloning import Ensemble


def test_the_ensemble_is_the_weighted_mean_of_what_earlier_plans_had_in_mind():
    ensemble = Ensemble(forget=0.5)
    first, second = torch.tensor([[[1.0], [2.0], [3.0]]]), torch.tensor([[[10.0], [20.0], [30.0]]])
    assert ensemble(first).item() == 1.0
    fall = math.exp(-0.5)
    assert math.isclose(ensemble(second).item(), (2.0 + fall * 10.0) / (1 + fall), rel_tol=1e-6)


def test_plans_that_no_longer_reach_are_forgotten():
    ensemble = Ensemble(forget=0.0)
    for value in (1.0, 2.0, 3.0):
        action = ensemble(torch.full((1, 2, 1), value))
    assert action.item() == 2.5
