"""Tracked logs of Push-T that a run goes on with, and what is refused of them."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from glocal.cli import main
from glocal.data.dataset import Feature
from glocal.data.formats import open_dataset
from glocal.data.formats.lerobot_writer import Layout, write_lerobot
from glocal.pipeline.run import open_run
from tests.refusals import refused

ONE = ("--threads", "1", "--processes", "1")
KEYS, STATE = "observation.environment_state", "observation.state"


@pytest.fixture(scope="module")
def pushed(tmp_path_factory) -> Path:
    """A run from keypoints, and logs of other play."""
    folder = tmp_path_factory.mktemp("pushed")
    main(["run", "pusht-keypoints-debug", "--run", str(folder / "run"), *ONE])
    main(["collect", "pusht-keypoints-debug", "--run", str(folder / "more"), "--seed", "5", *ONE])
    main(["data", "export", str(folder / "more"), str(folder / "logs")])
    return folder


def rewritten(folder: Path, out: Path, fps: float = 5.0, **changes: Any) -> Path:
    """Logs in which features are otherwise."""
    dataset = open_dataset(folder)
    names = [KEYS, STATE, "action"]
    short = {"keys": KEYS, "state": STATE, "action": "action"}
    episodes = []
    for number in range(len(dataset)):
        rows = {name: np.asarray(x, np.float32) for name, x in dataset.episode(number, names).items()}
        episodes.append(rows | {short[name]: change(rows).astype(np.float32) for name, change in changes.items()})
    features = {name: Feature(x.shape[1:], "float32") for name, x in episodes[0].items()}
    write_lerobot(out, iter(episodes), Layout(fps, features))
    return out


def test_more_play_is_taken_in_as_it_was_recorded(pushed, tmp_path):
    main(["run", "--after", str(pushed / "run"), "--logs", str(pushed / "logs"), "--run", str(tmp_path / "run"), *ONE])
    new, more = open_run(tmp_path / "run").store, open_run(pushed / "more").store
    ours, theirs = new.episode(18), more.episode(0)
    np.testing.assert_allclose(ours["keypoints"], theirs["keypoints"][: len(ours["keypoints"])], atol=1e-3)
    np.testing.assert_allclose(ours["reward"], theirs["reward"][: len(ours["reward"])], atol=1e-4)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"action": lambda rows: rows["action"][:, :1]}, "action of"),
        ({"keys": lambda rows: rows[KEYS][:, :3]}, "has the shape (3,), expected (16,)"),
        ({"state": lambda rows: np.tile(rows[STATE], 2)}, "has the shape (4,), expected (2,)"),
        ({"keys": lambda rows: rows[KEYS] / 512}, "sides of the T are"),
        ({"keys": lambda rows: rows[KEYS].reshape(-1, 2, 8).swapaxes(1, 2).reshape(-1, 16)}, "sides of the T are"),
        ({"action": lambda rows: 1000 * rows["action"]}, "% ask for more than the reach"),
        ({"action": lambda rows: rows["action"] - rows[STATE]}, "% ask for more than the reach"),
    ],
    ids=["one number", "three", "four", "other units", "other order", "far", "deltas"],
)
def test_tracks_of_another_kind_are_refused(pushed, tmp_path, capsys, changes, said):
    logs = rewritten(pushed / "logs", tmp_path / "logs", **changes)
    assert said in refused(capsys, "run", "--after", pushed / "run", "--logs", logs, *ONE, "--run", tmp_path / "run")
    assert not (tmp_path / "run" / "data").exists()


def test_an_episode_that_is_broken_can_be_left_out(pushed, tmp_path, capsys):
    count = iter(range(100))
    spoilt = {"keys": lambda rows: np.where(next(count) == 1, np.nan, rows[KEYS])}
    logs = rewritten(pushed / "logs", tmp_path / "logs", **spoilt)
    after = ("run", "--after", pushed / "run", "--logs", logs, "--run", tmp_path / "run", *ONE)
    assert "not finite" in refused(capsys, *after)
    main(["data", "inspect", str(logs), "--write"])
    known = (logs / "glocal.json").read_text()
    (logs / "glocal.json").write_text(known.replace('"leave_out": []', '"leave_out": [1]'))
    main(list(map(str, after)))
    assert len(open_run(tmp_path / "run").store) == 20 + len(open_dataset(logs)) - 1


def test_tracks_of_another_rate_are_refused(pushed, tmp_path, capsys):
    logs = rewritten(pushed / "logs", tmp_path / "logs", fps=10.0)
    said = refused(capsys, "run", "--after", pushed / "run", "--logs", logs, *ONE, "--run", tmp_path / "run")
    assert "has 10 steps a second, expected 5" in said
