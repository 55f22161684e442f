"""Intervals of success rates: over episodes, over seeds, and of differences."""

import numpy as np
import pytest

from glocal.evaluate import intervals
from glocal.evaluate.intervals import Count, difference, in_words, over_seeds, wilson

MANY = 10**7
"""So many episodes that they leave nothing open."""


def counts(*rates: float, n: int = MANY) -> list[Count]:
    return [Count(round(rate * n), n) for rate in rates]


def by_seed(*rates: float, n: int = MANY, first: int = 0) -> dict[int, Count]:
    return dict(enumerate(counts(*rates, n=n), first))


def test_wilson_against_the_textbook():
    found = wilson(8, 10)  # Wilson 1927: 0.4902 to 0.9433
    assert found["low"] == pytest.approx(0.4902, abs=1e-4) and found["high"] == pytest.approx(0.9433, abs=1e-4)
    assert wilson(0, 5)["low"] == 0.0 and wilson(5, 5)["high"] == 1.0
    assert in_words(found) == "8/10 [0.49, 0.94]"


@pytest.mark.parametrize("few", [counts(0.5), counts(0.0, 0.0, n=20), counts(0.2, 0.9)])
def test_of_fewer_than_three_seeds_no_interval_is_told(few):
    found = over_seeds(few)
    assert found["low"] is None and found["high"] is None
    assert found["mean"] == pytest.approx(np.mean(found["rates"]))


def test_seeds_that_agree_leave_open_what_their_episodes_do():
    found, pooled = over_seeds(counts(0.0, 0.0, 0.0, n=20)), wilson(0, 60)
    assert (found["low"], found["high"]) == (0.0, pooled["high"]) and found["high"] > 0.05
    middle = over_seeds(counts(0.5, 0.5, 0.5, n=20))
    assert middle["low"] <= wilson(30, 60)["low"] and middle["high"] >= wilson(30, 60)["high"]


def test_the_percentiles_make_up_for_few_seeds():
    # Of 5^5 equally likely means 1/3125 is 0.1 and 5/3125 are 0.14: the 0.1 % percentile, that of five seeds, is 0.14;
    # the 2.5 % percentile would be 0.26.
    found = over_seeds(counts(0.1, 0.3, 0.5, 0.7, 0.9))
    assert found["mean"] == pytest.approx(0.5)
    assert found["low"] == pytest.approx(0.14, abs=0.002) and found["high"] == pytest.approx(0.86, abs=0.002)


def test_episodes_within_seeds_are_redrawn_too():
    few, many = over_seeds(counts(0.2, 0.5, 0.8, 0.5, n=10)), over_seeds(counts(0.2, 0.5, 0.8, 0.5))
    assert few["high"] - few["low"] > many["high"] - many["low"] + 0.05


def test_intervals_over_seeds_hold_the_truth(monkeypatch):
    monkeypatch.setattr(intervals, "RESAMPLES", 999)
    rng, held, tried = np.random.default_rng(0), 0, 100
    for _ in range(tried):
        rates = rng.beta(4, 4, 4)  # with mean 0.5, and spread 0.17
        found = over_seeds([Count(int(k), 50) for k in rng.binomial(50, rates)])
        held += found["low"] <= 0.5 <= found["high"]
    assert held >= 0.93 * tried


def test_a_difference_between_methods_whose_seeds_do_not_overlap_is_as_sure_as_permutations_of_seeds_allow():
    found = difference(by_seed(0.9, 0.8, 0.85, 0.9, 0.95), by_seed(0.1, 0.2, 0.15, 0.1, 0.05))
    assert found["difference"] == pytest.approx(0.76) and found["low"] > 0.6
    assert found["p"] == pytest.approx(2 / 252)  # of choosing 5 from 10 seeds, either way round
    assert difference(by_seed(1, 1, 1), by_seed(0, 0, 0))["p"] == pytest.approx(2 / 20)


def test_a_difference_is_told_with_its_sign():
    assert difference(by_seed(0.1, 0.2, 0.3), by_seed(0.6, 0.7, 0.8))["difference"] == pytest.approx(-0.5)


def test_methods_that_do_the_same_do_not_differ():
    found = difference(by_seed(0.2, 0.5, 0.8, n=20), by_seed(0.2, 0.5, 0.8, n=20))
    assert found["difference"] == 0 and found["low"] < -0.1 and found["high"] > 0.1 and found["p"] == 1


def test_a_difference_of_seeds_that_agree_is_no_point():
    found = difference(by_seed(1, 1, 1, n=10), by_seed(0, 0, 0, n=10))
    # Newcombe: Wilson's interval of 30 of 30 begins at 0.8865, that of 0 of 30 ends at 0.1135.
    assert found["low"] == pytest.approx(1 - np.hypot(0.1135, 0.1135), abs=1e-3) and found["high"] == pytest.approx(1)


def test_what_a_seed_does_to_both_methods_is_kept_where_they_have_the_same_seeds():
    easy_and_hard, harder = (0.1, 0.3, 0.5, 0.7, 0.9), (0.05, 0.25, 0.45, 0.65, 0.85)
    paired = difference(by_seed(*easy_and_hard), by_seed(*harder))
    apart = difference(by_seed(*easy_and_hard), by_seed(*harder, first=5))
    assert paired["paired"] and paired["low"] == pytest.approx(0.05, abs=0.01)
    assert not apart["paired"] and apart["low"] < -0.2


def test_of_two_seeds_no_difference_is_sure():
    found = difference(by_seed(1, 1), by_seed(0, 0, 0))
    assert found["difference"] == 1 and found["low"] is None and found["p"] is None
