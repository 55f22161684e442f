"""Observations in named parts."""

import pytest
import torch

from glocal.core.spec import Part, Spec

SPEC = Spec((Part("joints", (3,)), Part("points", (2, 2)), Part("map", (1, 2, 3))), 4)


def test_an_observation_has_all_numbers_of_its_parts():
    assert [part.size for part in SPEC.parts] == [3, 4, 6] and SPEC.obs_dim == 13
    assert SPEC.part("points").shape == (2, 2)


def test_parts_stand_one_behind_the_other():
    assert [SPEC.columns(name) for name in ("joints", "points", "map")] == [slice(0, 3), slice(3, 7), slice(7, 13)]
    with pytest.raises(KeyError):
        SPEC.columns("legs")


def test_splitting_undoes_joining():
    obs = torch.arange(26.0).view(2, 13)
    parts = SPEC.split(obs)
    assert parts["joints"].tolist() == [[0, 1, 2], [13, 14, 15]] and parts["map"].shape == (2, 1, 2, 3)
    assert parts["points"][0].tolist() == [[3, 4], [5, 6]]
    assert torch.equal(SPEC.join(parts), obs)
