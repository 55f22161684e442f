"""What was recorded, counted by hand."""

from dataclasses import replace

import numpy as np
import pytest

from glocal.data.store import EpisodeStore, seal, write_episode
from glocal.evaluate.recording import describe, told


@pytest.fixture
def store(tmp_path) -> EpisodeStore:
    """Two episodes of three and two rows: a block that moves in one step of three, and leaps between episodes."""
    poses = [[[0, 0, 0], [0.05, 0, 0], [5, 0, 0]], [[90, 0, 0], [90, 0, 0.05]]]
    scores = [[0.0, 0.5, 0.81], [0.3, 1.0]]
    for number, (pose, score) in enumerate(zip(poses, scores, strict=True)):
        rows = np.array(score, np.float32)
        fields = {
            "action": np.zeros((len(rows), 2)),
            "pose": np.array(pose),
            "reward": rows,
            "coverage": rows,
            "success": (rows > 0.9) * 1.0,
        }
        write_episode(tmp_path / "data", number, {name: each.astype(np.float32) for name, each in fields.items()})
    seal(tmp_path / "data", {})
    return EpisodeStore.open(tmp_path / "data")


def test_a_recording_in_numbers(store):
    found = describe(store)
    assert (found["episodes"], found["control_steps"]) == (2, 3)
    assert found["reward"]["0.5"] == pytest.approx(0.5) and found["reward"]["0.1"] == pytest.approx(0.12)
    assert found["moving_share"] == pytest.approx(1 / 3)
    assert found["success_share"] == pytest.approx(1 / 5) and found["near_share"] == pytest.approx(2 / 5)
    by_hand = {"0": 0.2, "0.01": 0, "0.2": 0.2, "0.4": 0.2, "0.6": 0, "0.8": 0.2, "0.9": 0, "0.95": 0.2}
    assert found["coverage"] == pytest.approx(by_hand)


def test_a_robots_streams_mean_nothing_whatever_they_are_called(store):
    found = describe(replace(store, about={**store.about, "streams": {}}))
    assert set(found) == {"episodes", "control_steps", "reward", "success_share"}


def test_it_is_told_in_lines(store):
    lines = dict(told(describe(store)))
    assert lines["episodes"] == "2" and lines["control steps that move the block"] == "33.3%"
    assert lines["reward"].startswith("10% below 0.12, 50% below 0.5,")
    assert dict(told({"episodes": 1, "control_steps": 2})) == {
        "episodes": "1",
        "control steps": "2",
        "reward": "none yet",
    }
