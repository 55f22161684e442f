"""The doctor finds what was done to healthy logs, and nothing in those."""

from dataclasses import replace

import numpy as np
import pytest

from glocal.data.dataset import Dataset, Feature
from glocal.data.doctor import Finding, examine
from glocal.data.looks import look_at
from glocal.data.mapping import Mapping

MAPPING = Mapping("image", (64, 64), "state", "action", fps=10, rate=5, representation="delta", reach=8.0)
STEPS = 80


class Logs(Dataset):
    """Episodes in memory."""

    fps, format = 10.0, "memory"

    def __init__(self, episodes):
        self.episodes = episodes
        self.lengths = [len(one["action"]) for one in episodes]
        first = episodes[0]
        self.features = {k: Feature(v.shape[1:], str(v.dtype), picture=v.ndim == 4) for k, v in first.items()}

    def episode(self, number, names):
        return {name: self.episodes[number][name] for name in names}


def healthy(seed: int, delay: int = 0) -> dict[str, np.ndarray]:
    """A dot that goes where it is told; pictures lag by `delay` steps."""
    rng = np.random.default_rng(seed)
    action = (rng.uniform(-4, 4, (STEPS, 2)) * (rng.random((STEPS, 1)) < 0.6)).astype(np.float32)
    way = np.cumsum(np.concatenate([np.zeros((1, 2)), action[:-1]]), axis=0)
    state = 12 + np.abs((way + 20) % 80 - 40)  # back and forth between two walls
    image = np.full((STEPS, 64, 64, 3), 200, np.uint8)
    for t in range(STEPS):
        x, y = state[max(0, t - delay)].astype(int)
        image[t, y - 6 : y + 6, x - 6 : x + 6] = 0
    return {"image": image, "state": state.astype(np.float32), "action": action}


def findings_of(episodes, mapping=MAPPING) -> list[Finding]:
    logs = Logs(episodes)
    return examine(logs, mapping, 4, (look_at(mapping, logs, n) for n in reversed(range(len(logs)))))


def verdicts(episodes, mapping=MAPPING) -> dict[str, str]:
    return {one.name: one.verdict for one in findings_of(episodes, mapping)}


def damaged(change) -> list[dict[str, np.ndarray]]:
    episodes = [healthy(seed) for seed in range(4)]
    for one in episodes:
        change(one)
    return episodes


def test_healthy_logs_are_healthy():
    assert set(verdicts([healthy(seed) for seed in range(4)]).values()) == {"ok"}


@pytest.mark.parametrize("delay", [0, 3])
def test_a_delay_is_told_in_steps(delay):
    (found,) = [one for one in findings_of([healthy(seed, delay) for seed in range(4)]) if one.name == "delay"]
    assert f"after {delay} steps" in found.found and found.verdict == ("ok" if delay == 0 else "warn")


def freeze(one):
    one["image"][:] = one["image"][0]


def repeat(one):
    one["image"][1::2] = one["image"][0:-1:2]


def drop(one):
    one["state"][40:] += 400


def stick(one):
    one["action"][:, 1] = 0.5


def saturate(one):
    one["action"][:] = np.clip(one["action"] * 100, -4, 4)


def spoil(one):
    one["action"][5] = np.nan


@pytest.mark.parametrize(
    "change, name, verdict",
    [
        (freeze, "camera", "fail"),
        (repeat, "repeated frames", "warn"),
        (drop, "dropped frames", "warn"),
        (stick, "action 1", "fail"),
        (saturate, "action 0", "warn"),
    ],
)
def test_what_was_done_is_found(change, name, verdict):
    assert verdicts(damaged(change))[name] == verdict


def test_a_copy_of_an_episode_is_found_and_named():
    (found,) = [one for one in findings_of([healthy(0), healthy(1), healthy(0)]) if one.name == "copies"]
    assert found.verdict == "fail" and found.episodes == (2,)


@pytest.mark.parametrize("reach, share", [(8.0, 0.0), (2.0, 0.75), (100.0, 0.0)], ids=["fits", "cut", "too much"])
def test_a_reach_that_commands_exceed_or_do_not_use_is_found(reach, share):
    (found,) = [
        one for one in findings_of([healthy(n) for n in range(4)], replace(MAPPING, reach=reach)) if one.name == "reach"
    ]
    assert found.verdict == ("ok" if reach == 8.0 else "warn")
    assert found.numbers["cut"] == pytest.approx(share, abs=0.1)


def test_only_what_was_visited_counts_as_covered():
    rng = np.random.default_rng(0)
    logs = [healthy(seed) for seed in range(6)]
    assert verdicts(logs)["coverage of actions"] == "ok"
    for one in logs:
        one["action"] = np.outer(rng.uniform(-4, 4, STEPS), [1.0, 1.0]).astype(np.float32)
    assert verdicts(logs)["coverage of actions"] == "warn"


def test_numbers_that_are_not_finite_are_found():
    with np.errstate(invalid="ignore"):
        assert verdicts(damaged(spoil))["numbers"] == "fail"


def test_a_mapping_that_does_not_fit_is_all_that_is_said():
    wrong = Mapping("camera", (64, 64), "state", "action", fps=10, rate=5)
    assert verdicts([healthy(0)], wrong) == {"mapping": "fail"}
