"""What would spoil a model of a robot's logs, found in what was read of them before anything is trained."""

from collections.abc import Iterator, Mapping

import numpy as np

from glocal.data.dataset import Array, Dataset
from glocal.data.findings import STILL, Finding, few, lengths
from glocal.data.streams import RobotMapping, unused

Looks = Mapping[int, Mapping[str, Array]]
"""What `RobotReading.look` kept, by episode."""
CUT_WARN, CUT_FAIL = 0.05, 0.4
"""Shares of control steps that ask for more than the limits, and are cut."""
LARGEST = 1e6
"""Of numbers that a robot may measure, in whatever unit."""
FEW = 4
"""Control steps up to which a camera need not show that anything changes."""
SLACK = 1.02
"""Of the limits, beyond which an action counts as cut."""


def check_robot_logs(mapping: RobotMapping, looks: Looks, context: int) -> list[Finding]:
    """Everything that can be said without training anything; `context` is what the global model needs to see."""
    return [
        lengths({number: len(look["asked"]) for number, look in looks.items()}, context),
        _finite(looks),
        _copies(looks),
        *_limits(mapping, np.concatenate([look["asked"] for look in looks.values()])),
        *_still(mapping, looks),
        _reward(looks),
    ]


def left_unused(mapping: RobotMapping, dataset: Dataset) -> list[Finding]:
    """What of a dataset models do not see."""
    advice = "name it in the mapping, if they are to"
    return [Finding("unused", "warn", line, advice) for line in unused(mapping, dataset)]


def _finite(looks: Looks) -> Finding:
    """Numbers that are not finite, or that nothing can have measured."""
    fields = [key.removeprefix("low:") for key in next(iter(looks.values())) if key.startswith("low:")]
    spoilt = {name: tuple(n for n, look in looks.items() if _is_spoilt(look, name)) for name in fields}
    lost = {name: numbers for name, numbers in spoilt.items() if numbers}
    if not lost:
        return Finding("numbers", "ok", "all are finite")
    found = "; ".join(f"{name} in {len(numbers)} episodes ({few(numbers)})" for name, numbers in lost.items())
    found = f"NaN, infinite or beyond {LARGEST:g}: {found}"
    everywhere = [name for name, numbers in lost.items() if len(numbers) == len(looks)]
    if everywhere:
        advice = f"in every episode: take {', '.join(everywhere)} out of the mapping, or mend it in the logs"
        return Finding("numbers", "fail", found, advice)
    every = tuple(sorted({n for numbers in lost.values() for n in numbers}))
    return Finding("numbers", "fail", found, "leave these episodes out", episodes=every)


def _is_spoilt(look: Mapping[str, Array], name: str) -> bool:
    ends = np.concatenate([look[f"low:{name}"], look[f"high:{name}"]]).astype(np.float64)
    return not (np.isfinite(ends).all() and (np.abs(ends) <= LARGEST).all())


def _copies(looks: Looks) -> Finding:
    """Episodes with the very numbers of an earlier one: copies, that would be trained on and held out as well."""
    known: dict[bytes, int] = {}
    twins = tuple(n for n, look in looks.items() if known.setdefault(look["digest"].tobytes(), n) != n)
    if not twins:
        return Finding("copies", "ok", "no two episodes hold the same numbers")
    found = f"{len(twins)} episodes hold the very numbers of earlier ones: {few(twins)}"
    return Finding("copies", "fail", found, "leave them out", episodes=twins)


def _limits(mapping: RobotMapping, asked: Array) -> Iterator[Finding]:
    """Actions beyond what 1 gives, which are cut; or so small that it is hardly used: a finding for each feature's
    numbers of which the same is to be said."""
    used, begin = np.abs(asked), 0
    cut, far = np.mean(used > SLACK, axis=0), np.quantile(used, 0.99, axis=0)
    kinds = np.select([cut > CUT_FAIL, cut > CUT_WARN, far < 0.1], ["fail", "warn: cut", "warn: unused"], "ok")
    for part in mapping.action:
        own = np.arange(begin, begin := begin + len(part.columns))
        for kind in dict.fromkeys(kinds[own]):
            those, verdict = own[kinds[own] == kind], kind.partition(":")[0]
            name = f"limits of {part.feature} {' '.join(str(part.columns[i - own[0]]) for i in those)}"
            found = (
                f"{_span(cut[those], '.1%')} of actions go beyond them and are cut; 99 % use "
                f"{_span(np.minimum(far[those], 9.99), '.0%')} of them or less"
            )
            advice = "" if verdict == "ok" else "set low and high in the mapping to what the robot is asked for"
            most = {"cut": float(cut[those].max()), "99 %": float(far[those].max())}
            yield Finding(name, verdict, found, advice, most)


def _span(values: Array, form: str) -> str:
    """The smallest and the largest of some numbers, or the only one."""
    return " to ".join(dict.fromkeys(format(value, form) for value in (values.min(), values.max())))


def _still(mapping: RobotMapping, looks: Looks) -> list[Finding]:
    """Numbers that are always the same."""
    findings = []
    for stream in mapping.streams:
        low, high = _ends(looks, stream.name)
        still = [str(stream.columns[i]) for i in np.flatnonzero(high - low < 1e-9)]
        if still:
            found = f"of its {len(stream.columns)} numbers these never change, by column: {' '.join(still)}"
            advice = "they tell nothing; take these columns out of the mapping"
            findings.append(Finding(f"stream {stream.name}", "warn", found, advice))
    findings += [_camera(camera.name, looks) for camera in mapping.cameras]
    asked = np.concatenate([look["asked"] for look in looks.values()])
    told = [(part.feature, number) for part in mapping.action for number in part.columns]
    for i in np.flatnonzero(np.ptp(asked, axis=0) < 1e-9):
        advice = "what was never varied cannot be learned: leave it out"
        findings.append(Finding("{} {}".format(*told[i]), "warn", f"is always {asked[0, i]:.3g} of its limits", advice))
    return findings


def _camera(name: str, looks: Looks) -> Finding:
    """Pictures that are of one colour, or do not change."""
    low, high = _ends(looks, name)
    if low[0] == high[0]:
        found = f"all of its pictures are of one colour, {low[0]:.0f} of 255"
        return Finding(f"camera {name}", "warn", found, "it tells nothing; leave it out")
    changes = {number: float(look[f"change:{name}"]) for number, look in looks.items() if len(look["asked"]) > FEW}
    frozen = tuple(number for number, change in changes.items() if change < STILL)
    if not frozen:
        return Finding(f"camera {name}", "ok", "it changes in every episode")
    found = f"it shows the same picture throughout {len(frozen)} of {len(looks)} episodes: {few(frozen)}"
    if len(frozen) == len(looks):
        return Finding(f"camera {name}", "warn", found, "it tells nothing; leave it out")
    return Finding(f"camera {name}", "warn", found, "leave these episodes out, unless nothing moved", episodes=frozen)


def _reward(looks: Looks) -> Finding:
    if "low:reward" not in next(iter(looks.values())):
        return Finding("reward", "fail", "there is none", "name one in the mapping, or make some: `glocal data label`")
    low, high = (float(end[0]) for end in _ends(looks, "reward"))
    if high - low < 1e-9:
        return Finding("reward", "fail", f"is always {low:.3g}", "nothing is to be learned from it; name another")
    return Finding("reward", "ok", f"{low:.3g} to {high:.3g}")


def _ends(looks: Looks, name: str) -> tuple[Array, Array]:
    """The smallest and the largest of each of a field's numbers."""
    low, high = (np.stack([look[f"{end}:{name}"] for look in looks.values()]) for end in ("low", "high"))
    return low.min(0).astype(np.float64), high.max(0).astype(np.float64)
