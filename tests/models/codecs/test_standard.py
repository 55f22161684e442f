"""Vectors as models see them: of mean 0 and standard deviation 1, but for what never changes."""

import torch

from glocal.core.spec import Part
from glocal.models.codecs.standard import StandardCodec

PARTS = (Part("joints", (2,)), Part("cube", (1,)))


def fitted() -> StandardCodec:
    codec = StandardCodec(PARTS)
    codec.fit_statistics({"joints": torch.tensor([[0.0, 7.0], [4.0, 7.0]]), "cube": torch.tensor([[10.0], [30.0]])})
    return codec


def test_numbers_are_told_in_standard_deviations_from_their_mean():
    obs = fitted().encode({"cube": torch.tensor([[40.0]]), "joints": torch.tensor([[2.0, 7.0]])})
    assert obs.tolist() == [[0.0, 0.0, 2.0]]


def test_what_never_changed_keeps_its_own_scale():
    assert fitted().std.tolist() == [2.0, 1.0, 10.0]
    assert fitted().encode({"joints": torch.tensor([[0.0, 7.5]]), "cube": torch.tensor([[20.0]])})[0, 1] == 0.5


def test_decoding_undoes_encoding():
    fields = {"joints": torch.randn(3, 5, 2), "cube": torch.randn(3, 5, 1)}
    again = fitted().decode(fitted().encode(fields))
    assert all(torch.allclose(again[name], fields[name], atol=1e-5) for name in fields)
    assert fitted().reads == ("joints", "cube")
