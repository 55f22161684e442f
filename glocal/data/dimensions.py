"""What the doctor finds in each dimension of what was recorded, whether the mapping uses it or not."""

from collections.abc import Iterator, Sequence
from collections.abc import Mapping as Mapped

import numpy as np

from glocal.data.dataset import Array
from glocal.data.findings import Finding, few
from glocal.data.looks import Seen
from glocal.data.mapping import Mapping, features_of

EDGE = 1e-3
"""Share of a dimension's range that counts as its edge."""
IMPOSSIBLE = 1e6
"""What no number that is used is beyond, as no corner of a mapping's table is; and how many times as far as 99 % of its
dimension no number is off the median."""
SPREADS = 10.0
"""Spreads from the median, robustly estimated, beyond which a number is an outlier."""


def finite(mapping: Mapping, seen: Sequence[Seen]) -> Finding:
    """Numbers that are not finite, by feature and dimension; grave in what the mapping uses."""
    lost = {(name, dim): tuple(one.number for one in seen if one.numbers[name].lost[dim])
            for name in seen[0].numbers for dim in range(len(seen[0].numbers[name].lost))}  # fmt: skip
    return _by_dimension(mapping, "numbers", "NaN or infinite numbers", lost, "all are finite")


def extreme(mapping: Mapping, seen: Sequence[Seen]) -> Finding:
    """Numbers that nothing can have measured, by feature and dimension; grave in what the mapping uses."""
    beyond = {}
    for name in seen[0].numbers:
        parts = [one.numbers[name] for one in seen]
        values = np.concatenate([part.sample for part in parts]).astype(np.float64)
        for dim in range(values.shape[1]):
            low, high = _limits(values[np.isfinite(values[:, dim]), dim], _used(mapping, name, dim))
            far = [part.low[dim] < low or part.high[dim] > high for part in parts]
            beyond[name, dim] = tuple(one.number for one, is_far in zip(seen, far, strict=True) if is_far)
    what = f"numbers beyond {IMPOSSIBLE:g}, or {IMPOSSIBLE:g} times as far off as nearly all of their dimension"
    return _by_dimension(mapping, "magnitudes", what, beyond, "none is of a size that nothing measures")


def _limits(values: Array, used: bool) -> tuple[float, float]:
    """Between which numbers of a dimension can have been measured; those that are not used may be in any unit."""
    low, high = (-IMPOSSIBLE, IMPOSSIBLE) if used else (-np.inf, np.inf)
    if not len(values):
        return low, high
    middle = np.median(values)
    reach = IMPOSSIBLE * np.quantile(np.abs(values - middle), 0.99)
    return (max(low, middle - reach), min(high, middle + reach)) if reach > 0 else (low, high)


def _by_dimension(
    mapping: Mapping, name: str, what: str, places: Mapped[tuple[str, int], tuple[int, ...]], fine: str
) -> Finding:
    """What is the matter with some episodes in some dimensions of some features; grave in what the mapping uses."""
    spoilt = {place: episodes for place, episodes in places.items() if episodes}
    if not spoilt:
        return Finding(name, "ok", fine)
    grave = sorted({number for place, episodes in spoilt.items() if _used(mapping, *place) for number in episodes})
    told = [f"{of} {dim} in {len(episodes)} episodes ({few(episodes)})" for (of, dim), episodes in spoilt.items()]
    more = f"; and {len(told) - 5} dimensions more" if len(told) > 5 else ""
    found = f"{what}: {'; '.join(told[:5])}{more}"
    if not grave:
        return Finding(name, "warn", found, "the mapping does not use them; do not let it")
    return Finding(name, "fail", found, "leave them out", episodes=tuple(grave))


def _used(mapping: Mapping, name: str, dim: int) -> bool:
    """Whether a number that cannot be used spoils an episode: in any dimension of an action, or in what is read."""
    if name == mapping.state and name != mapping.action:
        return dim in mapping.state_columns
    return name in features_of(mapping)


def spans(mapping: Mapping, seen: Sequence[Seen]) -> list[Finding]:
    """Dimensions of actions and states that never change or stand at an edge; those of the actions that are used in any
    case, others where something is to be said of them."""
    findings = []
    for name, dim, low, high, values in _dimensions(mapping, seen):
        chosen = name == mapping.action and dim in mapping.action_columns
        found = _span(f"{name} {dim}", low, high, values, chosen)
        if chosen or found.verdict != "ok":
            findings.append(found)
    return findings


def _span(name: str, low: float, high: float, values: Array, chosen: bool) -> Finding:
    if not high - low >= 1e-9:
        if not chosen:
            return Finding(name, "warn", f"is always {low:g}", "it tells nothing: do not use it")
        return Finding(name, "fail", f"is always {low:g}", "choose other action columns in the mapping")
    margin = EDGE * (high - low)
    edge = float(np.mean((values <= low + margin) | (values >= high - margin)))
    found = f"{low:.4g} to {high:.4g}, {edge:.0%} at an edge"
    if edge <= 0.25 or (not chosen and len(np.unique(values)) <= 2):  # a switch is at its edges always
        return Finding(name, "ok", found, "", {"edge": edge})
    return Finding(
        name, "warn", found, "it is saturated: record with a wider range, or smaller commands", {"edge": edge}
    )


def outliers(mapping: Mapping, seen: Sequence[Seen]) -> Finding:
    """Numbers far off the rest of their dimension; the share of steps in the dimension that has most of them."""
    shares = {f"{name} {dim}": _share_off(values) for name, dim, _, _, values in _dimensions(mapping, seen)}
    worst = max(shares, key=lambda name: shares[name])
    share = shares[worst]
    found = f"{share:.2%} of {worst} are more than {SPREADS:g} spreads off, less of the other dimensions"
    if share <= 0.001:
        return Finding("outliers", "ok", found, "", {"share": share})
    advice = "look at them: commands that the robot cannot have followed teach models wrong"
    return Finding("outliers", "warn", found, advice, {"share": share})


def _share_off(values: Array) -> float:
    if not len(values):
        return 0.0
    off = np.abs(values - np.median(values))
    spread = float(np.median(off)) * 1.4826
    spread = spread if spread > 0 else float(values.std())  # mostly the same number, as at rest
    return float(np.mean(off > SPREADS * spread)) if spread > 0 else 0.0


def _dimensions(mapping: Mapping, seen: Sequence[Seen]) -> Iterator[tuple[str, int, float, float, Array]]:
    """Of each dimension of actions and states: its name, its range, and its finite numbers, or a sample of them."""
    for name in dict.fromkeys(name for name in (mapping.action, mapping.state) if name is not None):
        parts = [one.numbers[name] for one in seen]
        values = np.concatenate([part.sample for part in parts]).astype(np.float64)
        low, high = np.array([part.low for part in parts]), np.array([part.high for part in parts])
        for dim in range(values.shape[1]):
            known = values[np.isfinite(values[:, dim]), dim]
            ends = low[np.isfinite(low[:, dim]), dim], high[np.isfinite(high[:, dim]), dim]
            if len(known):
                yield name, dim, float(ends[0].min()), float(ends[1].max()), known
