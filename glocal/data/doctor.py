"""The doctor: what is the matter with recorded logs, found before a model is trained on them."""

from collections.abc import Iterable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from glocal.data.dataset import Array, Dataset
from glocal.data.dimensions import extreme, finite, outliers, spans
from glocal.data.findings import STILL, Finding, few, lengths
from glocal.data.looks import Seen
from glocal.data.mapping import Mapping, check, moments, ways
from glocal.runtime.files import UserError

LAGS = range(-3, 7)
"""Steps by which images may lag actions."""
CUT = 1.02
"""Share of the reach beyond which an action counts as cut."""
MOVES = 0.005
"""Share of a state's range that counts as motion."""


def as_json(path: Path, findings: Sequence[Finding]) -> dict[str, Any]:
    """Findings as plain values."""
    return {"dataset": str(path), "findings": [asdict(one) for one in findings]}


def raise_grave(path: Path, findings: Sequence[Finding]) -> None:
    """Raise `UserError` where something failed."""
    grave = [f"{one.name}: {one.found}; {one.advice}" for one in findings if one.verdict == "fail"]
    if grave:
        raise UserError(
            f"the doctor will not let {path} pass. {'. '.join(grave)}. Episodes named under leave_out in its mapping "
            "are left out; `glocal data doctor --leave-out` writes those there that it finds"
        )


def examine(dataset: Dataset, mapping: Mapping, context: int, looks: Iterable[Seen]) -> list[Finding]:
    """Everything that can be said without training anything; `context` is what the global model needs to see.

    No look at an episode is taken where the mapping does not fit the dataset.
    """
    wrong = check(mapping, dataset)
    if wrong:
        return [Finding("mapping", "fail", "; ".join(wrong), "mend the mapping (glocal.json)")]
    if not mapping.episodes(len(dataset)):
        return [Finding("episodes", "fail", f"all {len(dataset)} are left out", "mend leave_out in the mapping")]
    return judge(mapping, sorted(looks, key=lambda seen: seen.number), context)


@np.errstate(over="ignore", invalid="ignore")  # numbers that overflow are findings of their own
def judge(mapping: Mapping, seen: Sequence[Seen], context: int) -> list[Finding]:
    """What looks at all episodes come to."""
    action = np.concatenate([one.action for one in seen])
    control_steps = {one.number: (len(one.action) - 1) // mapping.stride for one in seen}
    findings = [lengths(control_steps, context), finite(mapping, seen), extreme(mapping, seen), _twins(seen)]
    findings += [*spans(mapping, seen), outliers(mapping, seen)]
    if mapping.representation != "absolute" or mapping.state is not None:
        findings.append(_reach(mapping, seen))
    if mapping.representation != "absolute":
        findings.append(_coverage("actions", action))
    elif mapping.state is not None:
        findings.append(_coverage("actions", np.concatenate([one.action - _state(one) for one in seen])))
    if mapping.state is not None:
        findings += [_jumps(seen), _coverage("states", np.concatenate([_state(one) for one in seen]))]
    return [*findings, _repeated(seen), *_frozen(mapping, seen), _delay(seen, mapping)]


def _state(one: Seen) -> Array:
    assert one.state is not None
    return one.state


def _reach(mapping: Mapping, seen: Sequence[Seen]) -> Finding:
    """Actions beyond what 1 gives, which are cut; or so small that it is hardly used."""
    asked = np.concatenate([np.abs(_ways(mapping, one)).max(1) for one in seen]) / mapping.reach
    asked = asked[np.isfinite(asked)]
    if not len(asked):
        return Finding("reach", "warn", "no episode holds a whole control step with finite numbers")
    cut, far = float(np.mean(asked > CUT)), float(np.quantile(asked, 0.99))
    spoilt = cut > 0.05 or far < 0.5
    advice = f"set the mapping's reach to about {far * mapping.reach:.2g}, and --task.reach" if spoilt else ""
    found = f"{cut:.1%} of actions go farther than {mapping.reach:.4g} and are cut; 99 % stay under {far:.0%} of it"
    return Finding("reach", "warn" if spoilt else "ok", found, advice, {"cut": cut, "99 %": far})


def _ways(mapping: Mapping, one: Seen) -> Array:
    return ways(mapping, one.action, one.state, moments(mapping, len(one.action)))


def _jumps(seen: Sequence[Seen]) -> Finding:
    """Steps in which the state goes much farther than it ever does: frames were dropped."""
    steps = [np.linalg.norm(np.diff(one.state, axis=0), axis=1) for one in seen if one.state is not None]
    every = np.concatenate(steps)
    every = every[np.isfinite(every)]
    if not len(every):
        return Finding("dropped frames", "warn", "no step holds finite states: no jump can be told")
    limit = 6 * np.quantile(every, 0.95) + 1e-12
    jumps = tuple(one.number for one, step in zip(seen, steps, strict=True) if (step[np.isfinite(step)] > limit).any())
    if not jumps:
        return Finding("dropped frames", "ok", f"no step is longer than {limit:.3g}, six times what 95 % stay under")
    found = f"{len(jumps)} episodes jump by more than {limit:.3g}: {few(jumps)}"
    return Finding("dropped frames", "warn", found, "split them there, or leave them out", episodes=jumps)


def _twins(seen: Sequence[Seen]) -> Finding:
    """Episodes with the very numbers of an earlier one: copies, that would be trained on and held out as well.

    Actions alone may be repeated on purpose; where there is no state that says what came of them, that is no failure.
    """
    known: dict[bytes, int] = {}
    keys = [one.action.tobytes() + (b"" if one.state is None else one.state.tobytes()) for one in seen]
    first = [(one.number, known.setdefault(key, one.number)) for one, key in zip(seen, keys, strict=True)]
    twins = tuple(number for number, before in first if number != before)
    if not twins:
        return Finding("copies", "ok", "no two episodes hold the same numbers")
    found = f"{len(twins)} episodes hold the very numbers of earlier ones: {few(twins)}"
    verdict = "warn" if seen[0].state is None else "fail"
    return Finding("copies", verdict, found, "leave them out, if they are copies", episodes=twins)


def _coverage(of: str, values: Array) -> Finding:
    """How much of the space that states or actions span was visited, in a grid of 10 by 10; a percent at each edge of
    each dimension does not count."""
    values = values[np.isfinite(values).all(1)]
    if not len(values):
        return Finding(f"coverage of {of}", "warn", "none is finite: nothing can be told")
    low, high = np.quantile(values, [0.01, 0.99], axis=0)
    inside = values[((values >= low) & (values <= high)).all(1)]
    cells = np.floor((inside - low) / np.maximum(high - low, 1e-12) * 9.999).astype(int)
    share = len(np.unique(cells, axis=0)) / 100
    verdict = "ok" if share > 0.5 else "warn"
    advice = "" if share > 0.5 else f"models know nothing of {of} that were never recorded: record more widely"
    found = f"{share:.0%} of the cells between their 1 % and 99 % quantiles"
    return Finding(f"coverage of {of}", verdict, found, advice, {"share": share})


def _repeated(seen: Sequence[Seen]) -> Finding:
    """Pictures that are the one before although the robot moved."""
    moved, still = 0, 0
    for one in seen:
        if one.state is None:
            continue
        way = np.linalg.norm(np.diff(one.state, axis=0), axis=1)
        known = one.state[np.isfinite(one.state)]
        if not len(known):
            continue
        moving = np.isfinite(way) & (way > MOVES * max(1e-12, float(np.ptp(known))))
        moved, still = moved + int(moving.sum()), still + int((moving & (one.peak < STILL)).sum())
    share = still / max(1, moved)
    verdict = "warn" if share > 0.05 else "ok"
    advice = (
        "the camera is slower than the log says, or frames were repeated: record at its own rate"
        if share > 0.05
        else ""
    )
    return Finding(
        "repeated frames", verdict, f"{share:.1%} of steps in which the robot moves", advice, {"share": share}
    )


def _frozen(mapping: Mapping, seen: Sequence[Seen]) -> list[Finding]:
    """Cameras that show the same picture throughout an episode; grave in the one that is used."""
    findings = []
    for camera in seen[0].cameras:
        name = "camera" if camera == mapping.camera else f"camera {camera}"
        frozen = tuple(one.number for one in seen if len(one.peak) > 4 and one.cameras[camera] < STILL)
        found = f"{camera} shows the same picture throughout {len(frozen)} episodes: {few(frozen)}"
        if not frozen:
            findings.append(Finding(name, "ok", f"{camera} changes in every episode"))
        elif camera == mapping.camera:
            findings.append(Finding(name, "fail", found, "leave them out", episodes=frozen))
        else:
            findings.append(Finding(name, "warn", found, "the mapping does not use it; do not let it"))
    return findings


def _delay(seen: Sequence[Seen], mapping: Mapping) -> Finding:
    """By how many steps what the images show follows the commands: the lag at which their strengths go together."""
    commands, changes = [], []
    for one in seen:
        command = one.action
        if mapping.representation == "absolute":
            command = (
                np.diff(one.action, axis=0, prepend=one.action[:1]) if one.state is None else one.action - one.state
            )
        commands.append(np.linalg.norm(command, axis=1)[:-1])
        changes.append(one.change)
    every = {lag: _correlation(commands, changes, lag) for lag in LAGS}
    found = {lag: value for lag, value in every.items() if value is not None}
    if not found:
        return Finding("delay", "warn", "too few steps with finite numbers: no delay can be told")
    best = max(found, key=lambda lag: found[lag])
    numbers = {f"lag {lag}": value for lag, value in found.items()}
    if found[best] < 0.1:
        text = f"images and actions hardly go together (correlation {found[best]:.2f}): no delay can be told"
        return Finding("delay", "warn", text, "check that camera and actions are of the same clock", numbers)
    fits = 0 <= best <= 1
    advice = "" if fits else f"shift the actions by {best} steps, or mend the clocks"
    verdict = "ok" if fits else "warn"
    text = f"images follow actions after {best} steps (correlation {found[best]:.2f})"
    return Finding("delay", verdict, text, advice, numbers)


def _correlation(commands: Sequence[Array], changes: Sequence[Array], lag: int) -> float | None:
    """Over the steps that hold finite numbers; None where these are too few, or too large, to tell."""
    pairs = [
        (command[max(0, -lag) : len(command) - max(0, lag)], change[max(0, lag) : len(change) - max(0, -lag)])
        for command, change in zip(commands, changes, strict=True)
        if len(command) > 2 * max(abs(one) for one in LAGS)
    ]
    if not pairs:
        return None
    a, b = (np.concatenate(side) for side in zip(*pairs, strict=True))
    known = np.isfinite(a) & np.isfinite(b)
    if known.sum() < len(LAGS):
        return None
    a, b = a[known], b[known]
    found = 0.0 if a.std() < 1e-12 or b.std() < 1e-12 else float(np.corrcoef(a, b)[0, 1])
    return found if np.isfinite(found) else None
