"""Mappings and logs of robots that do not fit: each is refused in one sentence, and nothing is written.

A row is what of the mapping is changed, by its path in the file, and what is said of it.
"""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from glocal.data.formats import open_dataset
from glocal.data.ingest import beside, robot_mapping_of
from glocal.data.streams import to_dict
from glocal.runtime.files import write_json
from tests.refusals import refused
from tests.robots import seeing_logs

ONE = ("--threads", "1", "--processes", "1")
ROWS: list[tuple[str, Any, str]] = [
    ("streams.0.feature", "observation.nothing", "stream state is 'observation.nothing', which the dataset has not"),
    ("streams.0.feature", "observation.images.top", "which holds pictures, expected numbers"),
    ("streams.0.columns", [0, 9], "stream state has the columns (0, 9), but observation.state has 4 numbers"),
    ("streams.0.columns", [0, 0], "stream state has the columns (0, 0), expected at least one, each once"),
    ("streams.0.columns", [-1], "streams"),
    ("streams.0.columns", "all", "is no mapping"),
    ("streams.0.feature", "action", "stream state reads action, which is the action; expected what is observed"),
    ("reward", "observation.state", "reward is observation.state, which holds 4 numbers, expected one"),
    ("success", "next.reward", "success is next.reward, which holds "),
    ("leave_out", [1, 4], "leave_out names 4, but there are 4 episodes, from 0 on"),
    ("streams.0.name", "action", "a stream or camera is called 'action'"),
    ("streams.0.name", "../../outside", "a stream or camera is called '../../outside', expected a word"),
    ("streams.0.name", "goal", "2 streams and cameras are called 'goal', expected a name for each"),
    ("streams.0.sees", "all", "is no mapping"),
    (
        "cameras.0.feature",
        "observation.images.nothing",
        "camera top is 'observation.images.nothing', which the dataset",
    ),
    ("cameras.0.feature", "observation.state", "camera top is 'observation.state', which holds numbers"),
    (
        "cameras.0.crop",
        [0, 0, 25, 10],
        "camera top has the crop (0, 0, 25, 10), which reaches beyond pictures of (24, 32)",
    ),
    ("cameras.0.crop", [0, 0, 0, 10], "crop"),
    ("cameras.0.size", 48, "camera top has size 48, expected a power of two"),
    ("cameras.0.size", 100_000, "size"),
    ("cameras.0.name", "state", "2 streams and cameras are called 'state', expected a name for each"),
    ("action.0.low", [9.0, 9.0, 9.0], "expected the low limit below the high one"),
    ("action.0.low", [0.0], "1 low and 3 high limits, expected 3 of each"),
    ("action.0.low", [float("nan")] * 3, "low"),
    ("action.0.kind", "sideways", "is no mapping"),
    ("action.0.feature", "action.nothing", "action is 'action.nothing', which the dataset has not"),
    ("action.0.columns", [4, 5, 6], "but action has 4 numbers"),
    ("action", [], "there is no action: nothing is told"),
    ("rate", 7.0, "20 steps a second are no multiple of 7 control steps a second"),
    ("rate", 40.0, "rate is 40 control steps a second, expected at most the 20 of fps"),
    ("rate", 0.0, "rate"),
    ("fps", 30.0, "fps is 30, the dataset's is 20"),
    ("reward", "next.nothing", "reward is 'next.nothing', which the dataset has not"),
    ("reward_scale", 0.0, "reward_scale"),
    ("done", "next.nothing", "done is 'next.nothing', which the dataset has not"),
    ("ends", True, "ends is true, but no feature is named that says done"),
    ("leave_out", list(range(4)), "no episode"),
]


@pytest.fixture(scope="module")
def logs(tmp_path_factory) -> Path:
    return seeing_logs(tmp_path_factory.mktemp("hostile") / "logs", episodes=4, steps=30)


def changed(mapping: Any, path: str, value: Any) -> Any:
    """The mapping with one place of it changed."""
    *above, last = path.split(".")
    whole = json.loads(json.dumps(mapping))
    part = whole
    for name in above:
        part = part[int(name)] if name.isdigit() else part[name]
    part[last] = value
    return whole


@pytest.mark.parametrize("path, value, said", ROWS, ids=[f"{path} {value}"[:40] for path, value, _ in ROWS])
def test_a_mapping_that_does_not_fit_is_refused_in_a_sentence(logs, tmp_path, capsys, path, value, said):
    proposed = to_dict(robot_mapping_of(logs, open_dataset(logs)))
    write_json(beside(logs), changed(proposed, path, value))
    try:
        found = refused(capsys, "run", "robot-images-debug", "--logs", logs, "--run", tmp_path / "run", *ONE)
    finally:
        beside(logs).unlink()
    assert said in found, found
    assert not (tmp_path / "run" / "data" / "index.json").exists()


def test_limits_that_cut_most_actions_are_refused(logs, tmp_path, capsys):
    proposed = to_dict(robot_mapping_of(logs, open_dataset(logs)))
    write_json(beside(logs), changed(changed(proposed, "action.0.low", [-1e-3] * 3), "action.0.high", [1e-3] * 3))
    try:
        found = refused(capsys, "run", "robot-debug", "--logs", logs, "--run", tmp_path / "run", *ONE)
    finally:
        beside(logs).unlink()
    assert "limits of action" in found and "are cut" in found


@pytest.mark.parametrize("change", ["one more", "another shape"])
def test_episodes_of_different_features_are_named(tmp_path, capsys, change):
    for number in range(3):
        episode = {"observation": np.random.rand(30, 3), "action": np.random.rand(30, 2), "reward": np.random.rand(30)}
        if number == 2:
            more = {"extra": np.zeros((30, 1))} if change == "one more" else {"observation": np.zeros((30, 4))}
            episode |= more
        (tmp_path / "logs").mkdir(exist_ok=True)
        np.savez(tmp_path / "logs" / f"ep{number}.npz", **episode)
    found = refused(capsys, "run", "robot-debug", "--logs", tmp_path / "logs", "--run", tmp_path / "run", *ONE)
    assert "ep2.npz" in found and "ep0.npz" in found and "None" not in found


@pytest.mark.parametrize("preset", ["pusht-debug", "pusht-keypoints-debug"])
def test_a_preset_of_another_task_is_refused(logs, tmp_path, capsys, preset):
    found = refused(capsys, "run", preset, "--logs", logs, "--run", tmp_path / "run", *ONE)
    assert "preset robot takes logs of any robot" in found


@pytest.mark.parametrize("asked", [("--evaluate.planned", "3"), ("--env.options", "a=b"), ("--env.senses", "x=y")])
def test_what_asks_for_an_environment_needs_one(logs, tmp_path, capsys, asked):
    found = refused(capsys, "run", "robot-debug", "--logs", logs, "--run", tmp_path / "run", *asked, *ONE)
    assert f"{' '.join(asked)} asks for an environment, and there is none; name one with --env ID" in found


def test_logs_that_are_not_there_are_named(tmp_path, capsys):
    found = refused(capsys, "run", "robot-debug", "--logs", tmp_path / "none", "--run", tmp_path / "run", *ONE)
    assert "there is nothing at" in found and "none" in found


@pytest.mark.parametrize("text", ["null", "3", "[]"])
def test_a_mapping_that_is_no_object_is_said_to_be_none(logs, tmp_path, capsys, text):
    beside(logs).write_text(text)
    try:
        found = refused(capsys, "run", "robot-debug", "--logs", logs, "--run", tmp_path / "run", *ONE)
    finally:
        beside(logs).unlink()
    assert "is no mapping: it holds" in found
