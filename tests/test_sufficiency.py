"""The forecast of what more logs would bring."""

import pytest

from glocal.pipeline.sufficiency import fitted


def test_a_law_that_losses_follow_is_found_and_foretells_the_next_one():
    counts = (25, 50, 100, 200)
    law = fitted(counts, [0.2 + 3.0 * n**-0.5 for n in counts])
    assert (law.floor, law.scale, law.exponent) == pytest.approx((0.2, 3.0, 0.5), rel=1e-3)
    assert law.at(400) == pytest.approx(0.2 + 3.0 / 20)


def test_losses_that_do_not_fall_promise_nothing():
    law = fitted((1, 2, 4, 8), [0.5, 0.49, 0.51, 0.5])
    assert law.at(16) == pytest.approx(law.at(8), rel=0.02)
    assert fitted((1, 2, 4, 8), [0.1, 0.2, 0.3, 0.4]).scale == 0


def test_no_loss_below_zero_is_foretold():
    law = fitted((1, 2, 4, 8), [1.0, 0.3, 0.05, 0.01])
    assert law.floor >= 0 and law.at(1000) >= 0
