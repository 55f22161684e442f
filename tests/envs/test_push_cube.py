"""Push-Cube: what is observed, told and paid, and that a script can do it."""

import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env

from glocal.tasks.robot import make

pytest.importorskip("mujoco", reason="mujoco is not installed, which Push-Cube needs: pip install -e '.[tasks]'")

from glocal_envs.arena import USUAL
from glocal_envs.push_cube import LIMITS, PushCube, Start, mujoco, reward_of
from glocal_envs.scene import Cube
from glocal_envs.scripted import push

FAR = Start((0.0, 0.0, 0.0), (-1.1, -1.1, 0.0), (0.9, 0.9))


def rollout(env: PushCube, actions: np.ndarray, **reset) -> list[dict[str, np.ndarray]]:
    obs, _ = env.reset(**reset)
    return [obs, *(env.step(action)[0] for action in actions)]


@pytest.mark.filterwarnings("ignore:.*Box")
def test_gymnasiums_own_checks_pass_and_glocal_finds_it():
    check_env(PushCube(), skip_render_check=True)
    made = make("glocal/PushCube-v0")
    assert isinstance(made.unwrapped, PushCube)
    made.close()


def test_the_seed_says_everything():
    actions = np.random.default_rng(0).uniform(-LIMITS, LIMITS, (10, 3))
    used, new = PushCube(), PushCube()
    rollout(used, actions, seed=1)
    again, once, other = (rollout(env, actions, seed=seed) for env, seed in ((used, 5), (new, 5), (new, 6)))
    for name in once[0]:
        assert all(np.array_equal(a[name], b[name]) for a, b in zip(again, once, strict=True))
    assert not np.allclose(other[0]["task"], once[0]["task"])


def test_things_are_seen_from_the_robot():
    obs, _ = PushCube().reset(options={"state": Start((1.0, 0.0, np.pi / 2), (1.0, 1.0, np.pi / 2), (0.0, 0.5))})
    assert obs["task"][:4] == pytest.approx([1.0, 0.0, 0.0, 1.0], abs=0.1)
    assert obs["task"][7:] == pytest.approx([0.5, 1.0], abs=0.1)
    assert obs["place"] == pytest.approx([1.0, 0.0, 1.0, 0.0], abs=0.1)
    assert obs["proprio"][[3, 4]] == pytest.approx([0.0, 0.0], abs=0.1)


def test_the_cubes_velocity_is_told_of_the_last_step():
    env = PushCube()
    obs, _ = env.reset(options={"state": Start((-0.7, 0.0, 0.0), (0.0, 0.05, 3.1), (0.9, 0.0))})
    before = env.cube
    for _ in range(6):
        before = env.cube
        obs, *_ = env.step(np.array([0.6, 0, 0]))
    s, c = obs["place"][2:]
    moved = np.array([[c, s], [-s, c]]) @ (env.cube.position - before.position)
    assert obs["task"][4:6] == pytest.approx(moved / 0.2, abs=1e-4) and moved[0] > 0.05
    assert abs(obs["task"][6]) < 3


def test_nothing_but_place_tells_where_in_the_arena_it_happens():
    one = Start((-0.6, 0.1, 0.3), (0.1, 0.2, 0.4), (0.7, 0.5))
    turned = Start((-0.1, -0.6, 0.3 + np.pi / 2), (-0.2, 0.1, 0.4 + np.pi / 2), (-0.5, 0.7))
    actions = np.tile([0.6, 0.0, 0.1], (3, 1))
    env = PushCube()
    first, second = (rollout(env, actions, options={"state": start}) for start in (one, turned))
    for a, b in zip(first, second, strict=True):
        for name in ("proprio", "command", "task"):
            assert a[name] == pytest.approx(b[name], abs=5e-3)
        assert a["place"][:2] == pytest.approx([b["place"][1], -b["place"][0]], abs=5e-3)
    assert np.linalg.norm(first[0]["task"][7:] - first[0]["task"][:2]) == pytest.approx(np.hypot(0.6, 0.3), abs=1e-3)


def test_the_command_follows_the_action_at_its_pace():
    env = PushCube()
    actions = np.array([[0.6, 0, 0]] * 2 + [[0, 0, 9]] * 2)
    told = [obs["command"] for obs in rollout(env, actions, options={"state": FAR})]
    assert np.array(told) == pytest.approx(np.array([[0, 0, 0], [0.3, 0, 0], [0.6, 0, 0], [0.3, 0, 1.0], [0, 0, 1.2]]))


@pytest.mark.parametrize("action", [[0.5, 0, 0], [-0.4, 0, 0], [0, 0.25, 0], [0, 0, 1.0], [0.3, 0, -0.6]])
def test_it_walks_as_it_is_told(action: list[float]):
    env = PushCube()
    seen = rollout(env, np.tile(action, (15, 1)), options={"state": FAR})
    walked = np.mean([obs["proprio"][:3] for obs in seen[6:]], axis=0)
    assert walked == pytest.approx(action, abs=0.1) and not env.fallen


def test_a_script_that_sees_the_observation_pushes_the_cube_to_the_goal_and_leaves_it_there():
    env = PushCube()
    for seed in range(4):
        obs, info = env.reset(seed=seed)
        for _ in range(150):
            obs, _, fallen, _, info = env.step(push(obs))
            assert not fallen
            if info["held"]:
                break
        assert info["held"]


def test_success_is_held_after_a_second():
    env = PushCube()
    env.reset(options={"state": Start((-1.0, 0.0, 0.0), (0.5, 0.1, 0.0), (0.5, 0.0))})
    infos = [env.step(np.zeros(3))[4] for _ in range(6)]
    assert [info["is_success"] for info in infos] == [True] * 6
    assert [info["held"] for info in infos] == [False] * 4 + [True] * 2


def test_a_robot_on_its_side_has_fallen():
    env = PushCube()
    env.reset(options={"state": FAR})
    assert not env.step(np.zeros(3))[2]
    env.data.qpos[10:14] = [np.cos(np.pi / 4), np.sin(np.pi / 4), 0, 0]
    assert env.step(np.zeros(3))[2]


def test_the_reward_is_told_by_distances():
    cube, goal = np.zeros(2), np.array([1.0, 0.0])
    assert reward_of(np.array([-0.5, 0.0]), cube, goal) == pytest.approx(-1)
    assert reward_of(np.array([0.5, 0.0]), cube, goal) == pytest.approx(-1.25)
    assert reward_of(np.array([0.5, 0.0]), cube, goal / 10) == pytest.approx(-0.1 - 0.125)
    assert reward_of(np.array([0.5, 0.0]), cube, cube) == 0


def test_where_cubes_vary_the_seed_says_how_and_the_start_stays():
    plain, varied = PushCube(), PushCube(varied=True)
    same, other = (env.reset(seed=3)[0] for env in (plain, varied))
    assert np.array_equal(same["place"], other["place"]) and np.allclose(same["task"], other["task"], atol=0.02)
    found = {(varied.reset(seed=seed), varied.now)[1] for seed in (1, 2, 1)}
    assert len(found) == 2 and USUAL not in found
    assert varied.model.geom("cube").size == pytest.approx([varied.now.edge] * 3)
    assert varied.model.body("cube").mass == pytest.approx(1.5 * (varied.now.edge / 0.15) ** 3)
    varied.reset(seed=1, options={"cube": USUAL})
    assert varied.now == USUAL and varied.data.qpos[2] == pytest.approx(0.15, abs=1e-3)


@pytest.mark.parametrize("edge", [0.12, 0.17])
def test_a_cube_of_any_size_is_touched_where_it_is(edge: float):
    """By the trunk, a few millimetres into its face; as many contacts as MuJoCo finds where it compares all pairs."""
    env, found = PushCube(), []
    env.reset(options={"state": FAR, "cube": USUAL.grown(edge, 0.3, 1.0)})
    front = env.robot.position[0] + 0.34
    for disabled in (0, 2**14):  # mjDSBL_MIDPHASE
        env.model.opt.disableflags = disabled
        env.data.qpos[:7] = [front + edge - 0.005, 0, env.data.qpos[9], 1, 0, 0, 0]
        mujoco.mj_forward(env.model, env.data)
        cube = env.model.geom("cube").id
        found.append(sum(cube in (one.geom1, one.geom2) for one in env.data.contact[: env.data.ncon]))
    assert found[0] == found[1] > 0


def test_what_a_cube_is_like_decides_how_it_is_pushed():
    ways = []
    for friction, mass in ((0.3, 1.5), (0.05, 1.5), (0.3, 6.0)):
        env = PushCube()
        cube = Cube(0.15, mass, friction)
        env.reset(options={"state": Start((-0.6, 0.0, 0.0), (0.0, 0.0, 0.0), (0.9, 0.0)), "cube": cube})
        env.data.qvel[0] = 1.0  # slides by itself
        env.step(np.zeros(3))
        ways.append(env.cube.position[0])
    assert ways[1] > ways[0] + 0.03 and ways[2] == pytest.approx(ways[0], abs=0.01)
    assert env.model.body("cube").inertia == pytest.approx([6.0 * 0.3**2 / 6] * 3)


@pytest.mark.parametrize("action", [[np.nan, 0, 0], [0, np.inf, 0], [0, 0], 0.0])
def test_actions_that_are_none_are_refused(action):
    env = PushCube()
    env.reset(options={"state": FAR})
    with pytest.raises(ValueError, match=r"an action of \(3,\) finite numbers was expected, not "):
        env.step(np.array(action))


def test_a_camera_that_it_does_not_have_is_refused():
    with pytest.raises(ValueError, match=r"no camera 'side'; expected one of above, head, chase"):
        PushCube(camera="side")  # pyright: ignore[reportArgumentType]
