"""Something goes wrong in the middle of an episode: what is seen and felt then, and what is told of it."""

import sys
from importlib import import_module
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from glocal.data.streams import RobotMapping
from glocal.pipeline.config import EnvConfig, RobotConfig
from glocal.runtime.files import UserError
from glocal.tasks.robot import GymRobot, Sensed, make
from tests.logs import ROOT

pytest.importorskip("mujoco", reason="mujoco is not installed, which the environments need: pip install -e '.[tasks]'")

from glocal_envs.disturbances import Disturbed
from glocal_envs.push_cube import LIMITS, NAMES, PushCube, Start
from glocal_envs.scripted import lift, push

AHEAD = Start((-1.2, 0.0, 0.0), (-0.3, 0.0, 0.0), (0.6, 0.0))
STILL = np.zeros(3)


class Painted(PushCube):
    """Every picture of it is brighter than the last by 10."""

    drawn = 0

    def _observed(self):
        self.drawn += 10
        return super()._observed() | {"head": np.full((2, 2, 3), self.drawn, np.uint8)}


def heads(kind: str, steps: int = 4, since: int = 2) -> list[int]:
    env = Disturbed(Painted(), kind, since)
    obs = [env.reset(seed=0)[0], *(env.step(STILL)[0] for _ in range(steps))]
    assert all(np.ptp(one["head"]) == 0 for one in obs)
    return [int(one["head"][0, 0, 0]) for one in obs]


def test_pictures_are_as_they_were_until_then():
    assert heads("none") == [10, 20, 30, 40, 50]
    assert heads("frozen") == [10, 20, 30, 30, 30]
    assert heads("dark") == [10, 20, 30, 16, 20]
    assert heads("bright") == [10, 20, 30, 60, 75]


def test_what_is_rendered_is_disturbed_where_the_robot_sees_it():
    for rendered, expected in ((False, [30, 40]), (True, [30, 30])):
        env = Disturbed(Painted(), "frozen", 1, rendered)
        env.render = lambda env=env: Disturbed.render(env)
        env.env.render = lambda env=env: np.full((2, 2, 3), env.env.drawn + 10, np.uint8)
        env.reset(seed=0)
        env.step(STILL)
        seen = [env.render()]
        env.step(STILL)
        assert [int(one[0, 0, 0]) for one in (*seen, env.render())] == expected


def test_each_episode_begins_undisturbed():
    env = Disturbed(PushCube(), "no-cube", 2)
    for _ in range(2):
        env.reset(options={"state": AHEAD})
        assert not env.unwrapped.taken
        for _ in range(3):
            env.step(LIMITS * [0.5, 0, 0])
        assert env.unwrapped.taken
    assert [len(past.effort) for past in env.past] == [1, 1]
    assert env.past[0].effort[0] == pytest.approx(0.5 / np.sqrt(3), abs=1e-6) and not env.past[0].terminated


def test_a_cube_that_is_taken_away_is_walked_through_and_tracked_where_it_was():
    came = {}
    for kind in ("none", "no-cube"):
        env = Disturbed(PushCube(), kind, 1)
        env.reset(options={"state": AHEAD})
        before = env.unwrapped.cube.position
        for _ in range(14):
            obs, *_, info = env.step(LIMITS * [1, 0, 0])
        came[kind] = np.linalg.norm(env.unwrapped.cube.position - before)
        if kind == "no-cube":
            assert obs["task"][0] < 0 and not info["is_success"]
    assert came["none"] > 0.2 and came["no-cube"] < 0.01


def test_a_cube_that_is_taken_away_at_its_goal_is_at_no_goal():
    env = Disturbed(PushCube(), "no-cube", 2)
    env.reset(options={"state": Start((-1.2, 0, 0), (0.5, 0, 0), (0.5, 0))})
    assert [env.step(STILL)[-1]["is_success"] for _ in range(4)] == [True, True, False, False]


def test_a_cube_in_the_hand_can_be_taken_away_and_is_no_longer_lifted():
    env = Disturbed(make("glocal/GraspLift-v0").unwrapped, "no-cube", 20)
    obs, _ = env.reset(seed=0)
    lifted = []
    for _ in range(24):
        obs, *_, info = env.step(lift(obs))
        lifted.append(info["lifted"])
    assert lifted[19] and not any(lifted[20:])


@pytest.mark.parametrize("kind, since, said", [("rain", 3, "no disturbance 'rain'"), ("dark", 0, "at least 1 step")])
def test_what_cannot_be_is_named(kind, since, said):
    with pytest.raises(ValueError, match=said):
        Disturbed(PushCube(), kind, since)


def test_an_environment_without_a_cube_has_none_to_take():
    with pytest.raises(ValueError, match="PendulumEnv has no cube that could be taken away"):
        Disturbed(make("Pendulum-v1"), "no-cube", 1)


def test_the_table_tells_what_a_scripted_policy_comes_to(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "runs"))
    script = import_module("disturb")
    sensed = [Sensed(name, name, tuple(range(len(numbers)))) for name, numbers in NAMES.items()]

    def robots(put):
        return GymRobot(put(PushCube()), sensed, lambda action: action, 1, "is_success")

    def controllers(seed):
        seen = yield np.zeros((0, 3))
        while True:
            seen = yield np.stack([push(one) for one in seen])

    rows = [script.disturbed(kind, robots, controllers, (150, 10), False, 3, 100) for kind in ("none", "no-cube")]
    sys.modules.pop("disturb")
    assert [row[1].split()[0] for row in rows] == ["3/3", "0/3"] and rows[0][3] == "0/3"
    assert 0.1 < float(rows[0][4]) < 1


def test_what_a_policy_cannot_see_is_not_disturbed_in_silence(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "runs"))
    script = import_module("disturb")
    task = RobotConfig(RobotMapping(fps=5.0, rate=5.0))
    config = SimpleNamespace(task=task, env=EnvConfig("glocal/PushCube-v0"))
    run = SimpleNamespace(config=config, folder=Path("blind"), policy=lambda _: None)
    monkeypatch.setattr(script, "open_run", lambda _: run)
    with pytest.raises(UserError, match="the policy of blind sees no camera, so that frozen, dark would change"):
        script.table(Path("blind"), ("none", "no-cube", "frozen", "dark"), 1, 15)
    sys.modules.pop("disturb")
