"""What is moved, as seen from what moves it."""

import math

import pytest
import torch

from glocal.core.features import StandardConfig
from glocal.core.relations import MOST, Relations
from glocal.core.relations import relations as among
from glocal.core.spec import Part, Spec
from tests.toys import control_steps

REACH = 0.1


def relations(before: torch.Tensor, after: torch.Tensor):
    every = torch.ones(before.shape[1], dtype=torch.bool)
    return among(before, after, every, every)


def pushed(count: int = 4000, seed: int = 0, size: float = 1.0, shift: float = 0.0):
    """A hand that wanders about in the plane, a disc that it pushes, and a goal: (n, 6) before and after, standardised.

    `size` and `shift` are the disc's units and origin, and its axes are swapped.
    """
    random = torch.Generator().manual_seed(seed)
    hand, disc, speed = torch.zeros(2), torch.tensor([0.3, 0.0]), torch.zeros(2)
    rows = []
    for i in range(count + 1):
        if i % 40 == 0:
            goal, aim = 2 * torch.rand(2, 2, generator=random) - 1
        if i % 40 == 20:
            aim = disc + 0.1 * torch.randn(2, generator=random)
        speed = 0.7 * speed + 0.01 * torch.randn(2, generator=random) + 0.1 * (aim - hand)
        hand = (hand + speed).clamp(-0.8, 0.8)
        way = disc - hand
        if way.norm() < REACH:
            disc = hand + REACH * way / way.norm()
        rows.append(torch.cat([hand, size * disc.flip(0) + shift, goal]))
    seen = torch.stack(rows)
    seen = (seen - seen.mean(0)) / seen.std(0)
    return seen[:-1], seen[1:], rows


@pytest.mark.parametrize(("size", "shift"), [(1.0, 0.0), (-300.0, 40.0)])
def test_what_is_pushed_is_seen_from_the_hand_in_whatever_units(size, shift):
    before, after, rows = pushed(size=size, shift=shift)
    found = {one.thing: one for one in relations(before.double(), after.double())}
    assert set(found) == {2, 3}
    assert found[2].by == (1,)  # the disc's axes are swapped
    assert found[3].by == (0,)
    plain = torch.stack(rows[:-1])
    exact = (plain[:, 2] - shift) / size - plain[:, 1]
    told = before @ found[2].weight + found[2].offset
    assert abs(float(torch.corrcoef(torch.stack([told, exact]))[0, 1])) > 0.98


def test_contacts_are_near_nought_and_what_is_apart_is_not():
    before, after, _ = pushed()
    model = Relations(6)
    model.find(before, after)
    told = model(before, 1)[:, :6]
    moved = ((after - before)[:, 2].abs() > 0.05) & ((after - before)[:, 3].abs() > 0.05)
    assert moved.sum() > 30
    assert told[moved].abs().mean() < 0.6 * told[~moved].abs().mean()
    assert (told[:, 2:] == 0).all()


def test_what_holds_at_all_times_is_no_relation():
    before, after, _ = pushed()
    doubled = [torch.cat([x, x[:, 2:4] - x[:, [1, 0]]], dim=1) for x in (before, after)]  # told already, exactly
    found = relations(*(x.double() for x in doubled))
    assert not {one.thing for one in found} & {2, 3}


def test_two_numbers_of_one_thing_are_not_seen_from_one_another():
    before, after, _ = pushed()
    twice = [torch.cat([x, 2 * x[:, 2:4] + 0.01 * torch.randn(len(x), 2)], dim=1) for x in (before, after)]
    by = {one.thing: one.by for one in relations(*(x.double() for x in twice))}
    assert all(by[thing][0] in (0, 1) for thing in (2, 3))


@pytest.mark.parametrize("kind", ["noise", "still", "jumps"])
def test_nothing_is_found_where_nothing_is_moved(kind):
    random = torch.Generator().manual_seed(1)
    before = torch.randn(4000, 5, generator=random)
    after = before + 0.1 * torch.randn(4000, 5, generator=random)
    if kind == "still":
        after = before.clone()
    if kind == "jumps":  # by itself, wherever the others are
        after = before + torch.randn(4000, 5, generator=random) * (torch.rand(4000, 5, generator=random) < 0.05)
    assert relations(before.double(), after.double()) == []


def test_of_few_moves_nothing_is_made():
    before, after, _ = pushed(400)
    assert relations(before.double(), after.double()) == []


@pytest.mark.parametrize("numbers", [0, 1, 3, 40])
def test_there_are_always_as_many(numbers):
    model = Relations(numbers)
    model.find(torch.randn(500, numbers), torch.randn(500, numbers))
    assert torch.equal(model(torch.randn(7, numbers), 2), torch.zeros(7, 5 * min(MOST, numbers)))


def test_finding_anew_forgets_what_was_found():
    before, after, _ = pushed()
    model = Relations(6)
    model.find(before, after)
    assert model.weight.any()
    model.find(torch.randn(500, 6), torch.randn(500, 6))
    assert not model.weight.any()
    assert not model.offset.any()


def test_where_there_are_too_many_each_says_something_else():
    before, after, _ = pushed()
    copies = [
        torch.cat([x[:, :2], *[x[:, 2:4] + 1e-3 * torch.randn(len(x), 2) for _ in range(MOST)]], 1)
        for x in (before, after)
    ]
    model = Relations(copies[0].shape[1])
    model.find(*copies)
    assert model.count == 2
    assert {model.weight[i, 2:].argmax().item() % 2 for i in range(2)} == {0, 1}


def test_they_are_looked_for_among_some_of_the_numbers():
    before, after, _ = pushed()
    model = Relations(6)
    model.find(before, after, torch.tensor([True, True, False, True, True, True]))
    assert model.count == 1 and model.weight[0, 3] > 0 and model.weight[0, 2] == 0
    model.find(before, after, movers=torch.tensor([False, True, True, True, True, True]))
    assert model.weight[:, 0].eq(0).all() and model.weight[0, 2] > 0 and model.weight[0, 1] != 0


def test_features_tell_them_and_words_name_them():
    before, after, _ = pushed()
    spec = Spec((Part("hand", (2,)), Part("disc", (2,)), Part("goal", (2,)), Part("grid", (1, 1, 1))), 2)
    features = StandardConfig().build(spec, 2, 3)
    grid = torch.zeros(len(before), 1)
    pairs = [torch.cat([x, grid], dim=1) for x in (before, after)]
    features.fit_statistics(control_steps(*pairs, torch.zeros(len(before))))
    assert features.found() == "disc 0 as seen from hand 1, disc 1 as seen from hand 0"
    window = torch.stack(pairs, dim=1)[:5]
    told = features.dynamics(window, torch.zeros(5, 2, 2), 1)
    assert torch.equal(told[:, -18:], features.relations(after[:5], 1))
    seen = told[:, -18:-12]
    assert torch.equal(seen[:, 2:], torch.zeros(5, 4))  # two are found
    assert torch.allclose(
        told[:, -12:], torch.cat([(math.pi * seen / 4).sin(), (math.pi * seen / 4).cos() * (seen != 0)], 1)
    )
    assert features.dynamics_dim() == told.shape[1] + 4 * 13  # of three scales
