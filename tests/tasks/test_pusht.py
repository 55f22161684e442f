"""Push-T as this project sees it, against the environment's own word."""

import numpy as np
import pytest

from glocal.tasks.collect import record_episode
from glocal.tasks.play import PlayConfig, outline_points, predict_push
from glocal.tasks.pusht import (
    GOAL,
    GOAL_KEYPOINTS,
    PushT,
    PushTConfig,
    keypoint_distance,
    place,
    pose_of,
    pose_reached,
    reward_of,
)


def test_keypoints_are_where_the_environment_puts_them():
    seen = PushT(PushTConfig()).reset(3)
    assert np.allclose(place(seen.pose).ravel(), seen.keypoints, atol=1e-6)


def test_the_pose_is_read_off_keypoints():
    pose = np.array([[120.0, 300.0, 2.5], [256.0, 256.0, -3.0]])
    keypoints = np.stack([place(p).ravel() for p in pose])
    assert np.allclose(pose_of(keypoints), pose, atol=1e-9)


def test_the_block_lies_where_it_is_put_by_hand():
    wanted = np.array([100.0, 100.0, 300.0, 250.0, 1.0])
    seen = PushT(PushTConfig()).reset(0, wanted)
    assert np.allclose(seen.agent, wanted[:2]) and np.allclose(seen.pose, wanted[2:], atol=1e-3)


def test_at_the_goal_everything_is_best():
    seen = PushT(PushTConfig()).reset(0, np.array([50.0, 50.0, *GOAL]))
    assert seen.coverage > 0.99 and keypoint_distance(seen.keypoints) < 0.01
    assert reward_of(GOAL_KEYPOINTS.ravel()) == pytest.approx(1.0)
    assert pose_reached(seen.pose)


def test_the_reward_falls_with_distance_and_stays_bounded():
    rewards = [float(reward_of((GOAL_KEYPOINTS + np.array([d, 0.0])).ravel())) for d in (0, 1, 5, 20, 80, 400)]
    assert rewards == sorted(rewards, reverse=True) and 0 < rewards[-1] < rewards[0] <= 1


@pytest.mark.parametrize(
    "offset, reached", [((19, 0, 0), True), ((21, 0, 0), False), ((0, 0, 0.34), True), ((0, 0, 0.36), False)]
)
def test_pose_success_is_twenty_pixels_and_twenty_degrees(offset, reached):
    assert bool(pose_reached(GOAL + np.array(offset))) is reached
    assert bool(pose_reached(GOAL + np.array(offset) + [0, 0, 2 * np.pi])) is reached


def test_an_action_moves_the_agent_towards_its_target():
    env = PushT(PushTConfig())
    before = env.reset(0, np.array([100.0, 100.0, 300.0, 300.0, 0.0])).agent.copy()
    after = env.step(np.array([1.0, 0.0])).agent
    assert 20 < after[0] - before[0] < 50 and abs(after[1] - before[1]) < 1e-6


def test_targets_outside_the_table_are_clipped():
    env = PushT(PushTConfig())
    env.reset(0, np.array([500.0, 100.0, 200.0, 300.0, 0.0]))
    for _ in range(10):
        seen = env.step(np.array([9.0, 0.0]))
    assert seen.agent[0] <= 512.5


def test_outline_normals_point_inwards():
    pose = np.array([200.0, 200.0, 0.4])
    points, normals = outline_points(pose)
    centre = place(pose).mean(0)
    inwards = ((centre - points) * normals).sum(1)
    assert (inwards > 0).mean() > 0.8 and np.allclose(np.linalg.norm(normals, axis=1), 1)


def test_a_push_through_the_centre_of_mass_does_not_turn():
    pose = np.array([200.0, 200.0, 0.0])
    after = predict_push(pose, np.array([200.0, 320.0]), np.array([0.0, -1.0]), np.array([10.0]))
    assert np.allclose(after[0], [200.0, 190.0, 0.0])


def test_play_is_the_same_for_the_same_seed_and_moves_the_block():
    task, play = PushTConfig(control_steps=40), PlayConfig()
    one, two = record_episode(task, play, 5, 2), record_episode(task, play, 5, 2)
    assert all(np.array_equal(one[name], two[name]) for name in one)
    assert np.abs(one["pose"][-1] - one["pose"][0]).max() > 1
    assert one["action"][0].tolist() == [0, 0] and np.abs(one["action"]).max() <= 1


def test_images_are_recorded_where_they_are_asked_for():
    episode = record_episode(PushTConfig(images=True, control_steps=2), PlayConfig(), 0, 0)
    assert episode["image"].shape == (3, 64, 64, 3) and episode["image"].dtype == np.uint8
