"""How sure success rates are: over episodes, over seeds, and the difference between two methods.

`scipy.stats` is imported where it is used: it takes most of a second, which verbs that count nothing need not wait for.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

LEAST_SEEDS = 3
"""Two seeds say next to nothing of how far seeds are apart: with fewer than this no interval over seeds is told."""
RESAMPLES = 9999
Array = NDArray[Any]


class Count(NamedTuple):
    """Successes `k` in `n` episodes of one seed."""

    k: int
    n: int


def wilson(k: int, n: int) -> dict[str, float]:
    """Successes, trials, and the 95 % Wilson score interval of the success rate (Wilson 1927)."""
    from scipy.stats import binomtest

    found = binomtest(k, n).proportion_ci(0.95, method="wilson")
    return {"k": k, "n": n, "low": float(found.low), "high": float(found.high)}


def in_words(count: Mapping[str, float]) -> str:
    """What `wilson` counts, as in 9/10 [0.60, 0.98]."""
    return f"{count['k']}/{count['n']} [{count['low']:.2f}, {count['high']:.2f}]"


def over_seeds(counts: Sequence[Count]) -> dict[str, Any]:
    """Mean of the success rates of all seeds, with its 95 % interval; None for its ends with fewer than three seeds.

    A hierarchical bootstrap: seeds are redrawn, then the episodes of each. Its percentiles are those that make up for
    the few seeds (`_level`), and it is never narrower than Wilson's interval of all episodes together, since seeds can
    only add to what episodes leave open: seeds that agree by chance do not make it a point. In simulations of three
    seeds of 100 episodes whose rates differ widely it holds the truth in 88 of 100 cases (95 % percentiles: 77), with
    five seeds in 94, and where seeds do not differ at all in 99. Each seed's episodes count as drawn anew, although all
    seeds begin from the same initial states.
    """
    rates = [count.k / count.n for count in counts]
    mean = float(np.mean(rates))
    if len(counts) < LEAST_SEEDS:
        return {"mean": mean, "low": None, "high": None, "rates": rates}
    rng, told = np.random.default_rng(0), np.array(counts)
    low, high = _bootstrap([counts], lambda rows, axis: _redrawn(told[rows], rng).mean(axis), paired=False)
    pooled = wilson(*_together(counts))
    return {"mean": mean, "low": min(low, pooled["low"]), "high": max(high, pooled["high"]), "rates": rates}


def difference(one: Mapping[int, Count], other: Mapping[int, Count]) -> dict[str, Any]:
    """Mean success rate of one method less that of another, by seed, with its 95 % interval and p-value.

    The interval is made as in `over_seeds`, and never narrower than Newcombe's of all episodes together (1998, method
    10). Where both methods have the same seeds these are redrawn in pairs, which keeps whatever a seed has done to
    both. The p-value is of a two-sided permutation test on the seeds' rates. It does not pair: seeds have nothing
    but random numbers in common, and five pairs could not come below 0.06 whatever they showed. With fewer than three
    seeds of either there is neither interval nor p-value.
    """
    samples = [[counts[seed] for seed in sorted(counts)] for counts in (one, other)]
    first, second = (np.array(counts) for counts in samples)
    rates, paired = [first[:, 0] / first[:, 1], second[:, 0] / second[:, 1]], sorted(one) == sorted(other)
    found = {"difference": float(rates[0].mean() - rates[1].mean()), "paired": paired}
    if min(map(len, samples)) < LEAST_SEEDS:
        return found | {"low": None, "high": None, "p": None}
    rng = np.random.default_rng(0)

    def apart(rows: Array, others: Array, axis: int) -> Array:
        return _redrawn(first[rows], rng).mean(axis) - _redrawn(second[others], rng).mean(axis)

    low, high = _bootstrap(samples, apart, paired)
    least, most = _newcombe(*map(_together, samples))
    return found | {"low": min(low, least), "high": max(high, most), "p": _permuted(*rates)}


def _redrawn(counts: Array, rng: np.random.Generator) -> Array:
    """Success rates (...) of seeds (..., 2), whose episodes are drawn again."""
    k, n = counts[..., 0], counts[..., 1]
    return rng.binomial(n, k / n) / n


def _bootstrap(samples: Sequence[Sequence[Count]], statistic: Any, paired: bool) -> tuple[float, float]:
    """The interval of a statistic of rows of one or more samples, which are redrawn."""
    from scipy.stats import bootstrap

    rows = [np.arange(len(sample)) for sample in samples]
    level = _level(min(map(len, samples)))
    found = bootstrap(
        rows, statistic, paired=paired, vectorized=True, method="percentile", confidence_level=level,
        n_resamples=RESAMPLES, rng=np.random.default_rng(1),
    ).confidence_interval  # fmt: skip
    return float(found.low), float(found.high)


def _level(seeds: int) -> float:
    """The level whose percentiles are 95 % intervals of so few: Hesterberg's expanded ones (arXiv 1411.5279).

    They make up for a bootstrap's spread, which is too small by sqrt((n - 1) / n), and for its thin tails.
    """
    from scipy.stats import norm, t

    return 1 - 2 * float(norm.cdf(-math.sqrt(seeds / (seeds - 1)) * t.ppf(0.975, seeds - 1)))


def _together(counts: Sequence[Count]) -> Count:
    return Count(sum(count.k for count in counts), sum(count.n for count in counts))


def _newcombe(one: Count, other: Count) -> tuple[float, float]:
    """The 95 % interval of the difference of two rates, made of their Wilson intervals."""
    a, b = wilson(*one), wilson(*other)
    p, q = one.k / one.n, other.k / other.n
    below = math.hypot(p - a["low"], b["high"] - q)
    above = math.hypot(a["high"] - p, q - b["low"])
    return p - q - below, p - q + above


def _permuted(one: Array, other: Array) -> float:
    from scipy.stats import permutation_test

    def apart(a: Array, b: Array, axis: int) -> Array:
        return a.mean(axis) - b.mean(axis)

    found = permutation_test((one, other), apart, vectorized=True, n_resamples=RESAMPLES, rng=np.random.default_rng(2))
    return float(found.pvalue)
