"""Places around a robot that moves: found from how things look and what is felt, without labels."""

import math

import pytest
import torch
from torch import Tensor

from glocal.models.codecs.surroundings import Looks, Motion, Surroundings, SurroundingsConfig

THINGS, ROWS, SIGHT = 3, 12, 0.9
CONFIG = SurroundingsConfig(width=32, rows=ROWS, view=math.degrees(2 * SIGHT), led=200)


def walk(count: int, seed: int = 0, rows: int = ROWS) -> tuple[Looks, Tensor, Tensor]:
    """Robots that walk about among things that stand still: how these look, what is felt (speed and turn, of the step
    before), and where things truly are, x ahead and y to the left; each robot has things of its own."""
    random = torch.Generator().manual_seed(seed)
    position, heading = torch.zeros(count, 2), 2 * math.pi * torch.rand(count, generator=random)
    things = 3 * torch.rand(count, THINGS, 2, generator=random) - 1.5
    speed, turn = torch.rand(count, generator=random) * 0.2, torch.randn(count, generator=random) * 0.15
    places, felt = [], []
    for _ in range(rows):
        way = things - position[:, None]
        ahead = torch.stack([heading.cos(), heading.sin()], -1)[:, None]
        places.append(
            torch.stack([(way * ahead).sum(-1), ahead[..., 0] * way[..., 1] - ahead[..., 1] * way[..., 0]], -1)
        )
        felt.append(torch.stack([10 * speed - 1, 5 * turn], -1))
        speed = (speed + 0.05 * torch.randn(count, generator=random)).clamp(0, 0.3)
        turn = 0.8 * turn + 0.1 * torch.randn(count, generator=random)
        heading = heading + turn
        position = position + speed[:, None] * torch.stack([heading.cos(), heading.sin()], -1)
    true = torch.stack(places, 1)
    reach, bearing = true.norm(dim=-1), torch.atan2(true[..., 1], true[..., 0])
    area, middle = 4 - 2 * reach.clamp_min(0.1).log(), -bearing / SIGHT
    numbers = torch.stack([area - 4, middle, torch.randn(area.shape, generator=random)], -1)
    return Looks(numbers, area, middle, (bearing.abs() < SIGHT) & (reach > 0.1)), torch.stack(felt, 1), true


def learned(updates: int = 400, pushed: bool = False) -> Surroundings:
    torch.manual_seed(0)
    looks, felt, _ = walk(2000)
    if pushed:
        looks = _pushed(looks)
    model = Surroundings(CONFIG, THINGS, 3, 2)
    model.fit_statistics(looks.at((slice(None), 0)))
    optimizer = torch.optim.AdamW(model.parameters(), 3e-3)
    for _ in range(updates):
        rows = torch.randint(2000, (96,))
        loss, *_ = model.loss(looks.at(rows), felt[rows])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return model.requires_grad_(False)


def _pushed(looks: Looks) -> Looks:
    """The first thing is always where it was at first, before the robot, the second where it is in another window."""
    numbers, area, middle, seen = (part.clone() for part in looks)
    for part in (numbers, area, middle, seen):
        part[:, :, 0] = part[:, :1, 0]
        part[:, :, 1] = part[torch.randperm(len(part)), :, 1]
    return Looks(numbers, area, middle, seen)


@pytest.fixture(scope="module")
def model() -> Surroundings:
    return learned()


def off(places: Tensor, true: Tensor) -> tuple[float, Tensor]:
    """The median distance of places (n, 2) from the truth after the best affine map, and that map (2, 2)."""
    told = torch.cat([places, torch.ones(len(places), 1)], 1)
    fit = torch.linalg.lstsq(told, true).solution
    return float((told @ fit - true).norm(dim=1).median()), fit[:2]


def test_places_are_found_without_labels_and_all_in_one_frame(model):
    looks, _, true = walk(500, seed=1)
    places, maps = model.places(looks), []
    for thing in range(THINGS):
        seen = looks.seen[..., thing]
        far, fit = off(places[..., thing, :][seen], true[..., thing, :][seen])
        assert far < 0.08, "of things that are about 1.2 away"
        maps.append(fit)
        spread = torch.linalg.svdvals(fit)
        assert spread[0] < 1.6 * spread[1], "as much is told of the way ahead as of the way aside"
    assert all(torch.allclose(one, maps[0], atol=0.25 * float(maps[0].norm())) for one in maps)
    assert torch.det(maps[0]) > 0


def test_what_is_not_seen_is_carried_along(model):
    looks, felt, true = walk(500, seed=2)
    places = model.places(looks)
    motion = model.motion(felt[:, :-1], felt[:, 1:])
    seen = looks.seen[:, 0]
    carried = places[:, 0]
    for t in range(ROWS - 1):
        carried = Motion(motion.shift[:, t], motion.turn[:, t]).carried(carried)
    stays = (true[:, 0] - true[:, -1]).norm(dim=-1)[seen].median()
    found = off(carried[seen], true[:, -1][seen])[0]
    assert found < 0.35 * stays


def test_the_motion_is_that_of_what_stands_still():
    """Of three things one keeps its place before the robot, as what it pushes does, and one strays; the third tells how
    the robot turns, by as much as bearings tell, and the others' own motions do not."""
    model = learned(pushed=True)
    assert model.known and model.leader == 2 and model.nearer.argmax() != 2
    looks, felt, _ = walk(500, seed=3)
    turned = (looks.middle[:, 1:, 2] - looks.middle[:, :-1, 2]) * SIGHT
    motion = model.motion(felt[:, :-1], felt[:, 1:])
    far = looks.seen[:, :-1, 2] & looks.seen[:, 1:, 2] & (looks.area[:, 1:, 2] < 3.5)
    slope = (motion.turn * -turned)[far].sum() / turned[far].square().sum()
    assert 0.8 < slope < 1.2
    others = (model._own(torch.cat([felt[:, :-1], felt[:, 1:]], -1)).turn[..., 0] * -turned)[far].sum()
    assert others / turned[far].square().sum() < 0.5


def test_a_thing_is_brought_nearer_by_as_much_as_medians_say():
    model = Surroundings(CONFIG, 2, 3, 2)
    before, seen = torch.zeros(12, 2, 2), torch.ones(12, 2, dtype=torch.bool)
    carried = torch.tensor([0.75, 0.0])[None, :, None].expand(12, 2, 2)
    model._strayed(before, carried, torch.ones(12, 2, 2), seen)
    assert model.nearer.tolist() == pytest.approx([0.98 + 0.02 * 0.25, 0.98 + 0.02 * 1.0])
    model._strayed(before, carried, torch.ones(12, 2, 2), seen & torch.tensor([False, True]))
    assert model.nearer.tolist() == pytest.approx([0.985, 0.98 * 1.0 + 0.02])
    model.eval()
    model._strayed(before, before, torch.ones(12, 2, 2), seen)
    assert model.nearer.tolist() == pytest.approx([0.985, 1.0])


def test_carrying_by_hand():
    motion = Motion(torch.tensor([[1.0, 0.0]]), torch.tensor([math.pi / 2]))
    assert torch.allclose(
        motion.carried(torch.tensor([[[2.0, 0.0], [0.0, 1.0]]])), torch.tensor([[[1.0, 2.0], [0.0, 0.0]]]), atol=1e-6
    )


def test_what_cannot_be_told_apart_costs_one_and_what_can_be_nothing():
    model = Surroundings(CONFIG, 1, 3, 2)
    seen = torch.ones(20, 1, dtype=torch.bool)
    alike = torch.zeros(20, 1, 2)
    assert model.missed(alike, alike, seen).item() == pytest.approx(1.0)
    model.sharp.data.fill_(-9.0)
    apart = 1e3 * torch.arange(40.0).view(20, 1, 2)
    assert model.missed(apart, apart, seen).item() < 1e-3


def test_sight_is_learned_of_later_moments_of_what_was_seen_at_first(monkeypatch):
    model, asked = Surroundings(CONFIG, THINGS, 3, 2), []
    looks, felt, _ = walk(50)
    monkeypatch.setattr(
        model, "_unforeseen", lambda carried, places, *seen: asked.append(seen) or carried.new_zeros(())
    )
    model.loss(looks, felt)
    assert len(asked) == CONFIG.compared
    for before, now in asked:
        assert torch.equal(before, looks.seen[:, 0]) and not torch.equal(now, before)


def test_what_is_seen_is_where_it_is_seen_and_what_is_not_where_it_is_carried_to(monkeypatch):
    model, asked = Surroundings(CONFIG, THINGS, 3, 2), []
    monkeypatch.setattr(
        model.sight, "forward", lambda places: asked.append(places) or torch.zeros(*places.shape[:-1], 1)
    )
    carried, places = torch.zeros(4, THINGS, 2), torch.ones(4, THINGS, 2)
    now = torch.rand(4, THINGS) < 0.5
    model._unforeseen(carried, places, torch.ones_like(now), now)
    assert torch.equal(asked[0], now[..., None].float().expand(-1, -1, 2))


def test_of_whether_things_are_in_sight_places_learn_nothing():
    model = Surroundings(CONFIG, THINGS, 3, 2)
    carried = torch.randn(20, THINGS, 2, requires_grad=True)
    seen = torch.ones(20, THINGS, dtype=torch.bool)
    for now in (seen, ~seen):
        model._unforeseen(carried, carried, seen, now).backward()
    assert carried.grad is None
    assert model.shown(carried).max() < 0.1, "to begin with nothing is forgotten"


def test_things_that_are_seen_too_seldom_do_not_count_and_spoil_nothing():
    model = Surroundings(CONFIG, THINGS, 3, 2)
    looks, felt, _ = walk(200)
    looks = looks._replace(seen=looks.seen & torch.tensor([True, False, True]))
    model.loss(looks, felt)[0].backward()
    assert all(torch.isfinite(p.grad).all() for p in model.parameters() if p.grad is not None)
    nothing = looks._replace(seen=torch.zeros_like(looks.seen))
    assert float(model.loss(nothing, felt)[0]) == 0.0
    missed = model.missed(*torch.zeros(2, 200, THINGS, 2), looks.seen[:, 0])
    assert missed.isnan().tolist() == [False, True, False]
