"""What recordings of play hold, and what a joystick can say."""

import numpy as np
import pytest

from glocal.runtime.files import UserError

pytest.importorskip("mujoco", reason="mujoco is not installed, which the environments need: pip install -e '.[tasks]'")

from glocal_bench.record import cube, grasp, playing
from glocal_envs.pictures import Pictures


@pytest.fixture(params=[cube, grasp])
def play(request: pytest.FixtureRequest):
    return request.param.PLAY


def test_intents_are_chosen_as_often_as_is_said(play):
    assert sum(one.often for one in play.intents.values()) == pytest.approx(1)


@pytest.mark.parametrize("told", ["all", "own", "nothing"])
def test_beside_a_cameras_pictures_what_is_tracked_is_never_told(play, told):
    numbers = [name for name in play.features("head", told) if name.startswith("observation.") and "images" not in name]
    wanted = {"all": set(play.names) - {"task"}, "own": set(play.own), "nothing": set()}[told]
    assert {name.removeprefix("observation.") for name in numbers} == wanted and "place" not in play.own
    assert play.features("head", told)["observation.images.head"].shape == (64, 64, 3)


def test_without_a_camera_everything_is_told(play):
    found = play.features(None)
    assert {f"observation.{name}" for name in play.names} <= set(found)
    assert not any("images" in name for name in found)


def test_a_switch_is_at_one_limit_or_the_other_and_the_rest_within_theirs(play):
    rng = np.random.default_rng(0)
    for _ in range(20):
        action = rng.normal(0, 2, len(play.limits)) * play.limits
        told = play.told(action)
        assert (np.abs(told) <= play.limits).all()
        for i in range(len(told)):
            switched = play.limits[i] * (1 if action[i] > 0 else -1)
            assert told[i] == (switched if i in play.buttons else np.clip(action[i], -play.limits[i], play.limits[i]))


def test_the_same_number_is_the_same_episode_and_shorter_ones_are_its_beginning(play):
    recording, record = playing.Recording, playing.record_episode
    whole, again, other = (record(play, recording(9, 12, seed), number) for seed, number in ((0, 3), (0, 3), (0, 4)))
    short = record(play, recording(1, 5), 3)
    for name, rows in whole.items():
        assert np.array_equal(rows, again[name]) and np.array_equal(rows[:5], short[name])
    assert not np.array_equal(whole["observation.task"], other["observation.task"])


def test_a_row_is_what_was_seen_before_its_action_and_what_that_was_worth(play, monkeypatch):
    monkeypatch.setattr(Pictures, "draw", lambda _, data, *how: np.full((*how[1:], 3), round(data.time * 50), np.uint8))
    rows = playing.record_episode(play, playing.Recording(1, 4, 5, "head", "own"), 2)
    env = play.env(render_mode="rgb_array", width=64, height=64, camera="head")
    obs, _ = env.reset(seed=int(np.random.default_rng([5, 2]).integers(2**31)))
    actions = np.concatenate([rows[f"action.{name}"] for name in play.actions], axis=1)
    for t, action in enumerate(actions):
        assert np.array_equal(rows["observation.images.head"][t], env.render())
        for name in play.own:
            assert np.array_equal(rows[f"observation.{name}"][t], obs[name])
        obs, reward, *_ = env.step(action)
        assert rows["next.reward"][t] == pytest.approx(reward)


def test_left_alone_the_gripper_stays_as_it_is():
    play = grasp.PLAY
    hand = play.intents["pause"].hand(np.random.default_rng(0))
    next(hand)
    for grip in (1.0, 0.0, 1.0):
        told = play.told(hand.send({"command": np.array([0.3, 0.0, 0.8, grip])}))
        assert told.tolist() == [0, 0, 0, 1 if grip else -1]


@pytest.mark.parametrize("what, said", [
    ({"steps": 0}, "--steps is 0, expected at least 1"),
    ({"episodes": -1}, "--episodes is -1, expected at least 1"),
    ({}, "exists already; name a new folder"),
    ({"camera": "side"}, "--camera is side, expected one of .*head"),
])  # fmt: skip
def test_a_recording_that_cannot_be_is_refused_before_anything_is_played(play, tmp_path, what, said):
    with pytest.raises(UserError, match=said):
        playing.record(play, tmp_path, playing.Recording(**{"episodes": 10**6, "steps": 10, **what}), 1)
