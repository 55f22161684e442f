"""Episodes, videos."""

import av
import numpy as np
import pytest

from glocal.deploy.controllers import aimless, playing
from glocal.evaluate.episodes import Episodes, run_episodes, write_video
from glocal.tasks.play import PlayConfig
from glocal.tasks.pusht import GOAL_KEYPOINTS, PushT, PushTConfig


def test_episodes_of_a_seed_are_always_the_same():
    task = PushTConfig(control_steps=5)
    one, two = (run_episodes(task, aimless(0), 3, 100) for _ in range(2))
    assert np.array_equal(one.keypoints, two.keypoints) and one.keypoints.shape == (3, 6, 16)
    other = run_episodes(task, aimless(0), 3, 200)
    assert not np.array_equal(one.keypoints[:, 0], other.keypoints[:, 0])


def test_episodes_begin_where_their_own_seeds_put_them():
    found = run_episodes(PushTConfig(control_steps=1), aimless(0), 4, 100)
    env = PushT(PushTConfig())
    for i in range(4):
        start = env.reset(100 + i)
        assert np.array_equal(found.keypoints[i, 0], start.keypoints) and np.array_equal(found.agent[i, 0], start.agent)
    assert len(np.unique(found.keypoints[:, 0, 0])) == 4


def straight(way):
    """A controller that goes one way, whatever it sees."""
    seen = yield np.zeros((0, 2))
    while True:
        seen = yield np.stack([way] * len(seen))


def test_an_episodes_score_is_its_best_moment():
    """Every step is taken again by hand: the best is neither where the episode began nor where it ended."""
    way, seed, task = np.array([-1.0, 0.1]), 45, PushTConfig(control_steps=8)  # across the goal, and beyond
    found = run_episodes(task, straight(way), 1, seed)
    env = PushT(task)
    steps = [env.reset(seed)] + [env.step(way) for _ in range(8)]
    coverage = [one.coverage for one in steps]
    distance = [np.linalg.norm(one.keypoints.reshape(8, 2) - GOAL_KEYPOINTS, axis=1).mean() for one in steps]
    assert found.coverage == pytest.approx([max(coverage)]) and found.distance == pytest.approx([min(distance)])
    assert np.allclose(found.keypoints[0], [one.keypoints for one in steps])
    assert np.allclose(found.agent[0], [one.agent for one in steps])
    assert max(coverage[0], coverage[-1]) + 0.2 < max(coverage), "the example has to tell them apart"
    assert min(distance[0], distance[-1]) - 50 > min(distance), "the example has to tell them apart"


def episodes(coverage: list[float], pose: list[bool], distance: list[float]) -> Episodes:
    nothing = np.zeros((len(pose), 1, 2))
    return Episodes(np.array(pose), np.array(coverage), np.array(distance), nothing, nothing, [])


def test_a_summary_counts_poses_and_coverages_of_more_than_95_percent():
    found = episodes([0.95, 0.96, 0.2, 0.97], [True, False, False, False], [1.0, 2.0, 30.0, 5.0]).summary()
    assert (found["pose"]["k"], found["pose"]["n"]) == (1, 4)
    assert (found["coverage95"]["k"], found["coverage95"]["n"]) == (2, 4)
    assert found["max_coverage"] == pytest.approx(0.77) and found["median_best_keypoint_px"] == 3.5


def test_every_control_step_is_ticked_and_filmed():
    ticks: list[int] = []
    found = run_episodes(PushTConfig(control_steps=3), aimless(0), 4, 0, filmed=3, tick=ticks.append)
    assert ticks == [1, 2, 3] and len(found.frames) == 4
    assert found.frames[0].shape == (256, 256, 3)  # two by two of 128, the last one blank
    assert (found.frames[0][128:, 128:] == 255).all() and (found.frames[0][128:, :128] != 255).any()
    assert run_episodes(PushTConfig(control_steps=1), aimless(0), 1, 0).frames == []


def test_play_reaches_the_pose_where_aimless_actions_do_not():
    task = PushTConfig(control_steps=150)
    eager = PlayConfig(goal_share=1.0, elsewhere_share=0.0, shake=0.02)
    assert run_episodes(task, playing(eager, 0), 4, 0).pose.sum() >= 3
    assert run_episodes(task, aimless(0), 4, 0).pose.sum() <= 1


def test_a_video_can_be_read_back(tmp_path):
    frames = [np.full((32, 48, 3), value, np.uint8) for value in (0, 120, 250)]
    write_video(tmp_path / "a.mp4", frames)
    with av.open(str(tmp_path / "a.mp4")) as container:
        decoded = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
    assert [round(float(frame.mean())) for frame in decoded] == pytest.approx([0, 120, 250], abs=4)
