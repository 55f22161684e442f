"""Episodes, videos."""

import av
import numpy as np
import pytest

from glocal.deploy.policy import aimless, playing
from glocal.evaluate.real import run_episodes, write_video
from glocal.tasks.play import PlayConfig
from glocal.tasks.pusht import PushTConfig


def test_episodes_of_a_seed_are_always_the_same():
    task = PushTConfig(decisions=5)
    one, two = (run_episodes(task, aimless(0), 3, 100) for _ in range(2))
    assert np.array_equal(one.keypoints, two.keypoints) and one.keypoints.shape == (3, 6, 16)
    other = run_episodes(task, aimless(0), 3, 200)
    assert not np.array_equal(one.keypoints[:, 0], other.keypoints[:, 0])


def test_play_reaches_the_pose_where_aimless_actions_do_not():
    task = PushTConfig(decisions=150)
    eager = PlayConfig(goal_share=1.0, elsewhere_share=0.0, shake=0.02)
    assert run_episodes(task, playing(eager, 0), 4, 0).pose.sum() >= 3
    assert run_episodes(task, aimless(0), 4, 0).pose.sum() <= 1


def test_a_video_can_be_read_back(tmp_path):
    frames = [np.full((32, 48, 3), value, np.uint8) for value in (0, 120, 250)]
    write_video(tmp_path / "a.mp4", frames)
    with av.open(str(tmp_path / "a.mp4")) as container:
        decoded = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
    assert [round(float(frame.mean())) for frame in decoded] == pytest.approx([0, 120, 250], abs=4)
