"""Meta-World stands for its robot: initial states are those of a seed, goals are seen, options make the environment."""

from functools import cache
from typing import Any

import numpy as np
import pytest

from glocal.data.formats import open_dataset
from glocal.data.ingest import robot_mapping_of
from glocal.data.streams import ActionPart, RobotMapping, Stream, misfits
from glocal.pipeline.config import EnvConfig, RobotConfig
from glocal.pipeline.real import check_environment, open_robot
from glocal.runtime.files import UserError
from glocal.tasks.robot import begin, make
from tests.logs import bench

pytest.importorskip("metaworld", reason="metaworld is not installed")
ID, GOALS = "Meta-World/MT1", 5
STATE = Stream("state", "observation.state", tuple(range(39)))
MAPPING = RobotMapping((STATE,), (ActionPart("action", (0, 1, 2, 3), (-5,) * 4, (5,) * 4, "delta"),), 80, 16)
TASKS = ("push-v3", "drawer-open-v3", "pick-place-v3")


def env_of(*options: str) -> EnvConfig:
    return EnvConfig(ID, options, "success", ("observation.state=",))


@cache
def env(task: str, twin: int = 0) -> Any:
    """One of a few environments of a task, made with the same seed."""
    del twin
    return make(ID, env_name=task, seed=0, num_goals=GOALS)


@pytest.mark.parametrize("task", TASKS)
def test_the_same_seed_begins_the_same_whatever_came_before_and_others_begin_elsewhere(task):
    one, twin = env(task), env(task, twin=1)
    first = begin(one, 3)
    for _ in range(20):
        one.step(one.action_space.sample())
    assert np.array_equal(begin(one, 3), first) and np.array_equal(begin(twin, 3), first)
    assert len({begin(one, seed).tobytes() for seed in range(20)}) > 2


@pytest.mark.parametrize("task", TASKS)
def test_the_same_actions_lead_to_the_same(task):
    one, twin = env(task), env(task, twin=1)
    begin(one, 1), begin(twin, 2), begin(twin, 1)
    actions = np.random.default_rng(0).uniform(-1, 1, (30, 4)).astype(np.float32)
    assert all(np.array_equal(one.step(action)[0], twin.step(action)[0]) for action in actions)


@pytest.mark.parametrize("task", TASKS)
def test_the_goal_is_seen_and_is_another_in_another_task(task):
    goals = np.array([begin(env(task), seed)[36:] for seed in range(10)])
    assert (np.abs(goals[:, 1]) > 0.3).all() and len(np.unique(goals, axis=0)) > 2


def test_success_is_told_and_an_episode_ends_where_meta_world_ends_it():
    robot = open_robot(RobotConfig(MAPPING), env_of("env_name=push-v3", "seed=0", f"num_goals={GOALS}"))
    assert robot.reset(0)["state"].shape == (39,)
    happened = [robot.step(np.zeros(4)) for _ in range(100)]
    assert [one.ended for one in happened] == [False] * 99 + [True] and not happened[0].success


def test_the_environment_is_the_robot_of_its_logs():
    check_environment(RobotConfig(MAPPING), env_of("env_name=push-v3", "seed=0", f"num_goals={GOALS}"))


@pytest.mark.parametrize(
    "options, said",
    [
        (["seed=0"], "Meta-World/MT1 cannot be made with seed=0 (.*missing 1 required .*'env_name'.*)"),
        (["env_name=pull-v9"], "cannot be made with env_name=pull-v9 (Invalid MT env name.*)"),
        (["env_name=push-v3", "colour=red"], "cannot be made with env_name=push-v3 colour=red (.*'colour'.*)"),
        (["env_name=push-v3", f"num_goals={GOALS}"], "in different states whenever it is made.*--env.options seed=0"),
    ],
)
def test_options_that_do_not_do_are_one_sentence(options, said):
    pattern = said.replace("(", r"\(").replace(")", r"\)")
    with pytest.raises(UserError, match=pattern) as refused:
        check_environment(RobotConfig(MAPPING), env_of(*options))
    assert "\n" not in str(refused.value)


def test_recordings_are_rewarded_where_there_is_success_and_leave_out_what_never_changes(tmp_path):
    logs = tmp_path / "logs"
    counts = ("--scripted", 2, "--cloned", 1, "--random", 1, "--play", 1)
    bench("record", "metaworld-drawer-open", logs, *counts, "--steps", 130)
    dataset = open_dataset(logs)
    mapping = robot_mapping_of(logs, dataset)
    assert misfits(mapping, dataset) == [] and (dataset.fps, mapping.stride, mapping.action_dim) == (80, 5, 4)
    assert [one.name for one in mapping.streams] == ["hand", "thing", "before", "goal"]
    assert set(range(11, 18)).isdisjoint(column for one in mapping.streams for column in one.columns)
    episodes = [dataset.episode(number, ["next.reward", "next.success", "action"]) for number in range(5)]
    first = {dataset.episode(number, ["observation.state"])["observation.state"][0].tobytes() for number in range(5)}
    assert len(first) == 5
    assert all(np.array_equal(one["next.reward"], one["next.success"].astype(np.float32)) for one in episodes)
    assert sum(one["next.success"].any() for one in episodes) >= 2
    held = episodes[0]["action"].reshape(26, 5, 4)
    assert (held == held[:, :1]).all()


def test_a_camera_shows_what_numbers_tell_and_the_environment_fits_such_logs(tmp_path):
    counts = ("--scripted", 2, "--cloned", 0, "--random", 0, "--play", 0, "--steps", 130)
    bench("record", "metaworld-drawer-open", tmp_path / "told", *counts)
    bench("record", "metaworld-drawer-open-seen", tmp_path / "seen", *counts)
    told, dataset = open_dataset(tmp_path / "told"), open_dataset(tmp_path / "seen")
    mapping = robot_mapping_of(tmp_path / "seen", dataset)
    assert misfits(mapping, dataset) == [] and (dataset.fps, mapping.stride, mapping.action_dim) == (16, 1, 4)
    for number in range(2):
        every = told.episode(number, ["observation.state", "action", "next.success"])
        seen = dataset.episode(number, ["observation.hand", "observation.images.front", "action", "next.success"])
        assert np.allclose(seen["observation.hand"], every["observation.state"][::5, :4], atol=1e-4)
        assert np.allclose(seen["action"], every["action"][::5], atol=1e-3)
        assert np.array_equal(seen["next.success"], every["next.success"][4::5])
        pictures = seen["observation.images.front"].astype(int)
        assert pictures.shape == (26, 96, 96, 3) and np.abs(pictures[-1] - pictures[0]).max() > 100
    senses = ("observation.images.front=front", "observation.hand=hand")
    options = ("env_name=drawer-open-v3", "seed=0", f"num_goals={GOALS}", "camera=true")
    env = EnvConfig("glocal/MetaWorld-v0", options, "success", senses)
    check_environment(RobotConfig(mapping, images=True), env)
