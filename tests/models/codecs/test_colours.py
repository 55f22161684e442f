"""Pictures cut up by colour."""

import pytest
import torch

from glocal.data.mapping import subsampled
from glocal.models.codecs import colours
from glocal.models.codecs.colours import TOLD, Colours

SIDE = 32
GROUND, RED, BLUE = (120, 120, 120), (220, 30, 30), (30, 40, 230)


def pictures(count: int = 60, seed: int = 0) -> torch.Tensor:
    """A red square anywhere, in the light or in the shade, and a blue one in every second picture, on grey ground."""
    random = torch.Generator().manual_seed(seed)
    shown = torch.tensor(GROUND, dtype=torch.uint8).expand(count, SIDE, SIDE, 3).clone()
    for i in range(count):
        for colour, often in ((RED, 1), (BLUE, 2)):
            x, y = torch.randint(SIDE - 6, (2,), generator=random).tolist()
            if i % often == 0:
                shown[i, y : y + 6, x : x + 6] = torch.tensor(colour, dtype=torch.uint8)
    return shown


def fitted(count: int = 3) -> Colours:
    colours = Colours(count)
    colours.fit_statistics(pictures())
    return colours


def square(x: int, y: int, colour: tuple[int, int, int], side: int = 6) -> torch.Tensor:
    shown = torch.tensor(GROUND, dtype=torch.uint8).expand(1, SIDE, SIDE, 3).clone()
    shown[:, y : y + side, x : x + side] = torch.tensor(colour, dtype=torch.uint8)
    return shown


def which(colours: Colours, colour: tuple[int, int, int]) -> int:
    """The colour of the palette that a picture full of it is of."""
    whole = torch.tensor(colour, dtype=torch.uint8).expand(1, SIDE, SIDE, 3)
    return int(colours(whole).area[0].argmax())


def told(colours: Colours, shown: torch.Tensor, index: int) -> dict[str, float]:
    numbers = (colours(shown).numbers * colours.std + colours.mean)[0, index]
    return dict(zip(TOLD, numbers.tolist(), strict=True))


def test_each_colour_is_found_and_ground_is_one():
    colours = fitted()
    assert {which(colours, one) for one in (GROUND, RED, BLUE)} == {0, 1, 2}


def test_where_a_square_is_and_how_far_it_reaches():
    colours = fitted()
    red = which(colours, RED)
    there = told(colours, square(20, 4, RED), red)
    assert there["x"] == pytest.approx((23 / 16 - 1) * 9 / 10, abs=0.02)
    assert there["y"] == pytest.approx((7 / 16 - 1) * 9 / 10, abs=0.02)
    assert there["left"] == pytest.approx(20.5 / 16 - 1, abs=0.1) and there["right"] == pytest.approx(
        25.5 / 16 - 1, abs=0.1
    )
    assert there["top"] == pytest.approx(4.5 / 16 - 1, abs=0.1) and there["bottom"] == pytest.approx(
        9.5 / 16 - 1, abs=0.1
    )
    wide = told(colours, square(4, 4, RED, 20), red)
    assert wide["width"] > 2 * there["width"] and wide["size"] > there["size"]


def test_what_is_not_there_is_not_seen():
    colours = fitted()
    red, blue = which(colours, RED), which(colours, BLUE)
    looks = colours(square(20, 4, RED))
    assert bool(looks.seen[0, red]) and not bool(looks.seen[0, blue])
    assert torch.isfinite(looks.numbers).all() and torch.isfinite(looks.area).all()
    assert looks.area[0, red].exp() == pytest.approx(9, abs=0.5)


def test_what_a_video_blurs_at_the_edge_of_a_square_looks_nearly_the_same():
    fit, shown = fitted(), pictures(20, seed=3)
    written = torch.stack([torch.from_numpy(subsampled(one.numpy())) for one in shown])
    assert (shown != written).any()
    as_drawn, as_kept = fit(shown), fit(written)
    assert torch.equal(as_drawn.seen, as_kept.seen)
    assert (as_drawn.numbers - as_kept.numbers)[as_drawn.seen].abs().max() < 0.2


def test_a_little_less_light_makes_no_other_colour():
    colours = fitted()
    shade = tuple(round(0.8 * x) for x in RED)
    assert which(colours, shade) == which(colours, RED)


def test_pictures_are_looked_at_a_few_at_a_time_to_the_same_end(monkeypatch):
    fit, shown = fitted(), pictures(7, seed=4)
    whole = fit(shown)
    monkeypatch.setattr(colours, "AT_ONCE", 2 * 3 * SIDE * SIDE)
    assert all(torch.equal(a, b) for a, b in zip(whole, fit(shown), strict=True))


def test_edges_that_are_blurred_are_no_colours_of_their_own():
    """Squares of three by three pixels after halving, whose edges are mixtures with the ground."""
    shown = pictures(200).permute(0, 3, 1, 2).float()
    kernel = torch.ones(3, 1, 3, 3) / 9
    blurred = torch.nn.functional.conv2d(shown, kernel, padding=1, groups=3).permute(0, 2, 3, 1).round().byte()
    fit = Colours(6)
    fit.fit_statistics(blurred)
    hues = colours.hues(torch.tensor([GROUND, RED, BLUE]).float().div(255).T[None, :, :, None])[0, :, :, 0].T
    away = torch.cdist(fit.palette, hues).min(1).values
    assert away.max() < 0.2  # mixtures half way are 0.6 from both
    assert len(set(torch.cdist(fit.palette, hues).argmin(1).tolist())) == 3


def test_the_shaded_side_of_a_thing_is_the_thing_and_another_paint_is_not():
    paints = torch.tensor([(220, 110, 20), (120, 60, 11), (20, 180, 60), (125, 125, 125), (60, 62, 60), (60, 110, 220)])
    hues = colours.hues(paints.float().div(255).T[None, :, :, None])[0, :, :, 0].T
    assert colours.things(hues).tolist() == [0, 0, 2, 3, 4, 5]
    pale = torch.tensor([(220, 110, 20), (140, 120, 105)])  # the same hue, hardly any of it: a wooden floor
    assert colours.things(colours.hues(pale.float().div(255).T[None, :, :, None])[0, :, :, 0].T).tolist() == [0, 1]


def test_what_two_shades_of_a_thing_show_is_counted_together():
    fit = fitted(4)
    shade = tuple(round(0.45 * x) for x in RED)
    red = which(fit, RED)
    fit.palette[3] = colours.hues(torch.tensor([[shade]]).float().div(255).permute(2, 0, 1)[None])[0, :, 0, 0]
    fit.thing.copy_(colours.things(fit.palette))
    assert int(fit.thing[3]) == red
    both = square(8, 8, RED)
    both[:, 8:14, 14:20] = torch.tensor(shade, dtype=torch.uint8)
    looks, one = fit(both), fit(square(8, 8, RED))
    assert looks.area[0, red].exp() == pytest.approx(2 * float(one.area[0, red].exp()), rel=0.1)
    assert not bool(looks.seen[0, 3])
