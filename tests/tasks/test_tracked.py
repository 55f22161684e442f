"""Tracked logs of Push-T become the episodes that recording keeps."""

import numpy as np
import pytest

from glocal.tasks.collect import record_episode
from glocal.tasks.play import PlayConfig
from glocal.tasks.pusht import PushTConfig
from glocal.tasks.tracked import TrackedReading


@pytest.mark.parametrize("final", [False, True])
def test_what_was_recorded_comes_back(final):
    task = PushTConfig(control_steps=30)
    episode = record_episode(task, PlayConfig(), 3, 0)
    told = np.clip(episode["agent"][:-1] + task.reach * episode["action"][1:], 0, 512)
    logs = {"seen": episode["keypoints"][:-1], "agent": episode["agent"][:-1], "to": told}
    last = {"seen": episode["keypoints"][-1:], "agent": episode["agent"][-1:]} if final else {}
    reading = TrackedReading("seen", "agent", "to", task.reach)
    found = reading.apply(logs, last)
    rows = 31 if final else 30
    assert reading.rows(rows) == rows
    for name in ("keypoints", "agent", "pose", "reward", "cont"):
        np.testing.assert_allclose(found[name], episode[name][:rows], atol=2e-3)
        assert found[name].dtype == episode[name].dtype
    inside = (told[: rows - 1] > 0).all(1) & (told[: rows - 1] < 512).all(1)
    np.testing.assert_allclose(found["action"][1:][inside], episode["action"][1:rows][inside], atol=1e-4)
    assert not found["action"][0].any()


def test_episodes_that_are_left_out_are_not_used():
    assert TrackedReading("seen", "agent", "to", 50.0, (1,)).episodes(3) == [0, 2]


def test_targets_beyond_reach_are_at_their_limit():
    logs = {"seen": np.zeros((3, 16)), "agent": np.zeros((3, 2)), "to": np.array([[200.0, -9.0], [10.0, 0.0], [0, 0]])}
    found = TrackedReading("seen", "agent", "to", 50.0).apply(logs, {})
    np.testing.assert_allclose(found["action"], [[0, 0], [1, -0.18], [0.2, 0]], atol=1e-6)
