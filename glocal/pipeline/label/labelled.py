"""How labels are written, compared and shown: the logs again, the mapping beside them, and a report."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from glocal.data import mappings
from glocal.data.dataset import Array, Feature
from glocal.data.formats.lerobot import LeRobotDataset
from glocal.data.formats.lerobot_labels import relabel
from glocal.data.formats.lerobot_writer import Layout, write_lerobot
from glocal.data.mapping import NAME
from glocal.data.mapping import Mapping as PlanarMapping
from glocal.data.mappings import AnyMapping
from glocal.data.outcomes import over_which
from glocal.data.propose_robot import reward_scale, rewards_of_control_steps
from glocal.evaluate.labels import QUANTILES, compared, write_labels_page
from glocal.pipeline.label.camera import shown_by
from glocal.pipeline.label.job import Logs, Shown, ticking
from glocal.runtime.files import UserError, atomic_write, write_json
from glocal.runtime.progress import console

WRITTEN = {"reward": "next.reward", "done": "next.done", "success": "next.success"}
"""The features that outcomes are written to."""
OUTCOMES = {
    WRITTEN["reward"]: Feature((1,), "float32"),
    WRITTEN["done"]: Feature((1,), "bool"),
    WRITTEN["success"]: Feature((1,), "bool"),
}
POSE = "observation.pose"
DRAWN = 8
"""Episodes whose rewards are drawn where there are no pictures."""


def finish(
    logs: Logs, shown: Sequence[Shown], how: Mapping[str, Any], quality: Mapping[str, Any] | None = None
) -> None:
    """Write the labelled logs, their mapping and the report: `meta/labels.json` and `meta/labels.html`.

    Raises `UserError`, before anything is written, where all rewards are the same.
    """
    job, out = logs.job, logs.job.out
    columns = [_outcomes(logs, number, one) for number, one in enumerate(shown)]
    labelled = _labelled(logs, columns)
    calibration = {**(quality or {}), **_calibration(logs, shown)}
    about = {"how": {**how, "logs": str(job.path), "seed": job.seed}, "calibration": calibration}
    features = {name: _feature(name, values) for name, values in columns[0].items()}
    with atomic_write(out) as draft:
        _write(logs, draft, features, columns)
        mappings.save(draft / NAME, labelled)
        write_json(draft / "meta" / "labels.json", about)
        write_labels_page(draft / "meta" / "labels.html", about, _examples(logs, shown), _curves(logs, shown))
    for line in told(about):
        console.print(line)
    console.print(f"the labelled logs are in {out}, how good labels are in {out / 'meta' / 'labels.html'}")


def told(about: Mapping[str, Any]) -> Iterator[str]:
    """How good labels are, in lines."""
    for name, part in about["calibration"].items():
        numbers = ", ".join(f"{key} {value:.4g}" for key, value in part.items() if isinstance(value, int | float))
        yield f"{name}: {numbers}"
        if "reliability" in part:
            rows = (f"{row['claimed']:.2f} is {row['true']:.2f} ({row['n']})" for row in part["reliability"])
            yield f"  claimed probability and how often it was so: {', '.join(rows)}"


def _feature(name: str, values: Array) -> Feature:
    return OUTCOMES.get(name) or Feature(values.shape[1:], str(values.dtype))


def _outcomes(logs: Logs, number: int, shown: Shown) -> dict[str, Array]:
    """The columns of an episode: what came of each of its steps, and what its frames show besides.

    What is not labelled stays as the logs' own mapping has it: success that a way says nothing of, and ends that no
    reward can follow.
    """
    known, count = logs.known, logs.dataset.lengths[number]
    after = np.minimum(np.arange(count) + 1, len(shown.reward) - 1)
    last = np.arange(count) == count - 1
    success = _own(logs, number, known.success) if shown.success is None else shown.success[after] > 0.5
    done = _own(logs, number, known.done) if known.ends else None
    if done is None:
        done = last if success is None else success | last
    found = {"reward": shown.reward[after].astype(np.float32), "done": done, "success": success}
    return {WRITTEN[role]: x[:, None] for role, x in found.items() if x is not None} | dict(shown.more)


def _own(logs: Logs, number: int, name: str | None) -> Array | None:
    """What the logs themselves say came of each step of an episode; None where they do not."""
    if name is None:
        return None
    count = logs.dataset.lengths[number]
    rows = np.arange(count) if logs.known.outcomes_at == "action" else np.minimum(np.arange(count) + 1, count - 1)
    return logs.dataset.episode(number, [name])[name].reshape(count, -1)[rows, 0] > 0.5


def _labelled(logs: Logs, columns: Sequence[Mapping[str, Array]]) -> AnyMapping:
    """The mapping of the labelled logs; raises `UserError` where nothing is to be learned from the rewards."""
    rewards = [columns[number][WRITTEN["reward"]] for number in logs.used]
    roles = {role: name if name in columns[0] else None for role, name in WRITTEN.items()}
    known = replace(logs.known, **roles, reward_over=over_which(rewards), outcomes_at="action")
    every = rewards_of_control_steps(known, rewards)
    if len(every) and np.ptp(every) < 1e-9:
        raise UserError(f"the reward is always {every[0]:.3g}: nothing is to be learned from that; label otherwise")
    if isinstance(known, PlanarMapping):
        return replace(known, pose=POSE if POSE in columns[0] else known.pose)
    scale = reward_scale(known, rewards)
    console.print(f"a control step has the {known.reward_over} of its rewards, over {scale:g}")
    return replace(known, reward_scale=scale)


def _write(logs: Logs, out: Path, features: Mapping[str, Feature], columns: Sequence[Mapping[str, Array]]) -> None:
    dataset = logs.dataset
    if isinstance(dataset, LeRobotDataset) and dataset.version == "v3.0":
        relabel(dataset, out, features, columns)
        return
    assert dataset.fps is not None
    kept = {name: feature for name, feature in dataset.features.items() if name not in features}

    def episodes() -> Iterator[dict[str, Array]]:
        for number in ticking(dataset, "write"):
            yield dataset.episode(number, list(kept)) | dict(columns[number])

    tasks = [dataset.task(number) for number in range(len(dataset))]
    write_lerobot(out, episodes(), Layout(dataset.fps, kept | dict(features), codec=logs.job.codec), tasks)


def _calibration(logs: Logs, shown: Sequence[Shown]) -> dict[str, Any]:
    """What labels look like on held-out episodes, and how they agree there with the truth, where one is given."""
    held_out = logs.held_out
    parts = [(one.reward[:length], one.success) for one, length in zip(shown, logs.dataset.lengths, strict=True)]
    label = {"reward": np.concatenate([parts[number][0] for number in held_out])}
    where = f"held-out episodes ({held_out.start} to {held_out.stop - 1})"
    shares = {f"reward at {q:.0%}": float(np.quantile(label["reward"], q)) for q in (0.1, 0.5, 0.9)}
    successes = [one[: len(reward)] for reward, one in (parts[number] for number in held_out) if one is not None]
    if successes:
        label["success"] = np.concatenate(successes)
        if not label["success"].any():
            console.print("warning: no frame of the held-out episodes counts as success; widen what counts as one")
        shares["share of frames with success"] = float(label["success"].mean())
        shares["share of episodes with success"] = float(np.mean([bool((one > 0.5).any()) for one in successes]))
    found = {where: shares}
    if logs.job.truth is not None:
        real = {name: np.concatenate(logs.truth[name][held_out.start :]) for name in logs.truth if name in label}
        found[f"{where}, against {logs.job.truth.name}"] = compared(label, real)
    return found


def _examples(logs: Logs, shown: Sequence[Shown]) -> list[tuple[float, Array]]:
    """Frames at quantiles of the reward, from the worst to the best; none where there is no camera."""
    camera = shown_by(logs)
    if camera is None:
        return []
    lengths = logs.dataset.lengths
    places = [(float(r), n, t) for n, one in enumerate(shown) for t, r in enumerate(one.reward[: lengths[n]])]
    places.sort()
    chosen = [places[round(share * (len(places) - 1))] for share in QUANTILES]
    return [(reward, camera.film(logs.dataset, number)[t]) for reward, number, t in chosen]


def _curves(logs: Logs, shown: Sequence[Shown]) -> dict[int, Array]:
    """The rewards along some held-out episodes, by their numbers."""
    return {number: shown[number].reward for number in logs.held_out[:DRAWN]}
