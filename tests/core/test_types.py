"""Bundles of tensors: stacked, cut, chosen between, and kept in checkpoints."""

from dataclasses import dataclass

import torch

from glocal.core.types import Batched, cat, stack, where


@dataclass(frozen=True)
class Inner(Batched):
    y: torch.Tensor


@dataclass(frozen=True)
class Outer(Batched):
    """A tensor, a bundle, a number, and something that is no data."""

    x: torch.Tensor
    inner: Inner
    key: int
    name: str = "kept"


def bundle(value: float, key: int = 3) -> Outer:
    return Outer(torch.full((2, 3), value), Inner(torch.full((2,), 10 * value)), key)


def test_functions_reach_every_tensor_and_nothing_else():
    added = bundle(1.0).tensors(lambda a, b: a + b, bundle(2.0, key=9))
    assert (added.x == 3).all() and (added.inner.y == 30).all() and added.key == 3 and added.name == "kept"


def test_bundles_are_stacked_in_time_and_joined():
    two = stack([bundle(1.0), bundle(2.0)])
    assert two.x.shape == (2, 2, 3) and two.x[0, :, 0].tolist() == [1, 2] and two.inner.y.shape == (2, 2)
    assert stack([bundle(1.0), bundle(2.0)], dim=0).inner.y[:, 0].tolist() == [10, 20]
    assert cat([two, stack([bundle(3.0)])]).x[0, :, 0].tolist() == [1, 2, 3]
    assert cat([bundle(1.0), bundle(2.0)], dim=0).x.shape == (4, 3)
    assert two[:, 1].x.shape == (2, 3) and (two[:, 1].inner.y == 20).all()


def test_elements_are_chosen_by_a_mask():
    chosen = where(torch.tensor([True, False]), bundle(1.0, key=1), bundle(2.0, key=2))
    assert chosen.x[:, 0].tolist() == [1, 2] and chosen.inner.y.tolist() == [10, 20] and chosen.key == 1


def test_a_detached_bundle_has_the_same_values_and_no_graph():
    x = torch.ones(2, requires_grad=True)
    bare = Outer(2 * x, Inner(3 * x), 1).detach()
    assert (bare.x == 2).all() and not bare.x.requires_grad and not bare.inner.y.requires_grad


def test_a_bundle_comes_back_from_its_tree():
    tree = bundle(5.0, key=7).tree()
    assert set(tree) == {"x", "inner", "key"} and set(tree["inner"]) == {"y"}
    again = bundle(1.0).filled(tree)
    assert (again.x == 5).all() and (again.inner.y == 50).all() and again.key == 7 and again.name == "kept"
    partly = bundle(1.0).filled({"key": 8})
    assert (partly.x == 1).all() and partly.key == 8
