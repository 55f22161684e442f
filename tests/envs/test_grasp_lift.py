"""Grasp and lift: what is observed, told and paid, and that a script can do it."""

import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env

from glocal.tasks.robot import make

pytest.importorskip("mujoco", reason="mujoco is not installed, which the environment needs: pip install -e '.[tasks]'")

from glocal_envs.grasp_lift import HIGH, LIMITS, LOW, TABLE, USUAL, GraspLift, Start, reward_of
from glocal_envs.scene import Cube
from glocal_envs.scripted import lift, move_hand

MIDDLE = Start((0.3, -0.1, 0.0))


def rollout(env: GraspLift, actions: np.ndarray, **reset) -> list[dict[str, np.ndarray]]:
    obs, _ = env.reset(**reset)
    return [obs, *(env.step(action)[0] for action in actions)]


@pytest.mark.filterwarnings("ignore:.*Box")
def test_gymnasiums_own_checks_pass_and_glocal_finds_it():
    check_env(GraspLift(), skip_render_check=True)
    made = make("glocal/GraspLift-v0")
    assert isinstance(made.unwrapped, GraspLift)
    made.close()


def test_the_seed_says_everything():
    actions = np.random.default_rng(0).uniform(-LIMITS, LIMITS, (8, 4))
    used, new = GraspLift(varied=True), GraspLift(varied=True)
    rollout(used, actions, seed=1)
    again, once, other = (rollout(env, actions, seed=seed) for env, seed in ((used, 5), (new, 5), (new, 6)))
    for name in once[0]:
        assert all(np.array_equal(a[name], b[name]) for a, b in zip(again, once, strict=True))
    assert not np.allclose(other[0]["task"], once[0]["task"])
    assert {(used.reset(seed=seed), used.now.light, used.now.friction)[1:] for seed in (5, 6, 5)} == {
        (new.reset(seed=seed), new.now.light, new.now.friction)[1:] for seed in (6, 5)
    }
    assert used.now != USUAL and used.now.light != 1 and used.now.friction != 1


def test_the_hand_goes_where_it_is_told_and_points_down():
    env, rng = GraspLift(), np.random.default_rng(0)
    env.reset(options={"state": Start((0.25, -0.2, 0.0))})
    for place in rng.uniform(LOW + 0.05, HIGH - 0.05, (4, 3)):
        for _ in range(9):
            obs, *_ = env.step(np.append(place - env.target, -1))
        assert env.target == pytest.approx(place, abs=1e-6)
        assert obs["hand"] == pytest.approx(place, abs=0.012)
        assert obs["command"] == pytest.approx([*place, 0], abs=1e-6)
        assert env.data.site_xmat[env.arm.tip][8] > 0.97


def test_the_target_is_kept_within_reach():
    env = GraspLift()
    for sign, end in ((1, HIGH), (-1, LOW)):
        obs = rollout(env, np.tile([sign * 9.0, sign * 9.0, sign * 9.0, -1.0], (20, 1)), options={"state": MIDDLE})[-1]
        assert obs["command"][:3] == pytest.approx(end)


def test_an_action_is_at_most_its_limit():
    env = GraspLift()
    first, second = rollout(env, np.array([[0.5, 0, 0, -1]]), options={"state": MIDDLE})
    assert second["command"][:3] - first["command"][:3] == pytest.approx([0.05, 0, 0], abs=1e-6)


def test_the_cube_is_seen_from_the_hand_and_its_faces_look_alike():
    env = GraspLift()
    turned = [
        rollout(env, np.zeros((0, 4)), options={"state": Start((0.3, -0.15, a))})[0] for a in (0.3, 0.3 + np.pi / 2)
    ]
    for obs in turned:
        assert obs["hand"] + obs["task"][:3] == pytest.approx([0.3, -0.15, TABLE + 0.025], abs=2e-3)
        assert obs["task"][3:5] == pytest.approx([np.sin(1.2), np.cos(1.2)], abs=0.02)
        assert obs["task"][5:] == pytest.approx([0, 0, 0, 0], abs=0.01)


def test_a_script_that_sees_the_observation_lifts_the_cube_whatever_it_is_like():
    env = GraspLift(varied=True)
    for seed in range(4):
        obs, info = env.reset(seed=seed)
        for _ in range(60):
            obs, _, ended, _, info = env.step(lift(obs))
            assert not ended
            if info["is_success"]:
                break
        assert info["is_success"]


def test_success_is_a_cube_that_stays_lifted_for_a_second():
    env = GraspLift()
    obs, _ = env.reset(options={"state": MIDDLE})
    told = []
    for _ in range(40):
        obs, reward, *_, info = env.step(lift(obs))
        told.append((info["lifted"], info["is_success"], obs["task"][5], reward))
    first = [lifted for lifted, *_ in told].index(True)
    assert [success for _, success, *_ in told[first : first + 6]] == [False] * 4 + [True] * 2
    assert told[first][2] > 0.1 >= told[first - 1][2]
    assert told[-1][3] > -0.02 > told[0][3]
    for _ in range(5):
        obs, *_, info = env.step(move_hand(obs, np.zeros(3), -1.0))
    assert not info["lifted"] and not info["is_success"] and obs["task"][5] < 0.1


def test_the_reward_is_told_by_distances():
    hand, cube = np.zeros(3), np.array([0.0, 0.3, 0.4])
    assert reward_of(hand, cube, 0.0) == pytest.approx(-0.5 - 0.24)
    assert reward_of(hand, cube, 0.2) == pytest.approx(-0.5)
    assert reward_of(cube, cube, 0.05) == pytest.approx(-0.14)


def test_a_cube_that_is_given_is_the_one_that_is_there():
    env = GraspLift()
    small = Cube(edge=0.02, mass=0.05, friction=0.8)
    env.reset(options={"state": MIDDLE, "cube": small})
    assert env.cube[2] == pytest.approx(TABLE + 0.02, abs=1e-3) and env.rise == pytest.approx(0, abs=1e-3)
    assert env.model.body("cube").mass == pytest.approx(0.05)
    env.reset(options={"state": MIDDLE})
    assert env.cube[2] == pytest.approx(TABLE + 0.025, abs=1e-3)
    assert env.model.body("cube").mass == pytest.approx(0.1)


def test_a_camera_that_it_does_not_have_is_refused():
    with pytest.raises(ValueError, match=r"no camera 'above'; expected one of head, side"):
        GraspLift(camera="above")  # pyright: ignore[reportArgumentType]


def test_the_cubes_velocity_is_told_of_the_last_step():
    env = GraspLift()
    obs, _ = env.reset(options={"state": MIDDLE})
    while env.rise < 0.05:
        before = env.cube
        obs, *_ = env.step(lift(obs))
    assert obs["task"][6:] == pytest.approx((env.cube - before) / 0.2, abs=1e-4) and obs["task"][8] > 0.1


def test_the_waist_sways_by_itself_and_the_hand_stays_where_it_was_told():
    env = GraspLift()
    seen = rollout(env, np.tile([0.0, 0.0, 0.0, -1.0], (20, 1)), options={"state": MIDDLE})
    waist, hand = (np.array([obs[name] for obs in seen]) for name in ("joints", "hand"))
    assert 0.05 < np.ptp(waist[:, 0]) < 0.13
    assert np.ptp(hand, axis=0).max() < 0.02


def test_actions_that_are_none_are_refused():
    env = GraspLift()
    env.reset(options={"state": MIDDLE})
    with pytest.raises(ValueError, match=r"an action of \(4,\) finite numbers was expected, not "):
        env.step(np.array([np.nan, 0, 0, 1]))
    assert np.isfinite(env.target).all()
