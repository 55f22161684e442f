"""`glocal data label`: every way writes the outcomes that it should and says how good they are, or refuses."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from glocal.cli import main
from glocal.data.formats import open_dataset
from glocal.data.mapping import load
from tests.data.test_formats import EPISODES, LENGTHS, lerobot_v3, npz_folder
from tests.logs import small_logs


def label(*arguments: object) -> None:
    main(["data", "label", *map(str, arguments)])


def refused(capsys, *arguments: object) -> str:
    with pytest.raises(SystemExit) as stopped:
        label(*arguments)
    assert stopped.value.code == 2
    return " ".join(capsys.readouterr().err.split())


@pytest.fixture(scope="module")
def logs(tmp_path_factory) -> Path:
    return small_logs(tmp_path_factory.mktemp("logs"))


def outcomes(path: Path, number: int) -> dict[str, np.ndarray]:
    found = open_dataset(path).episode(number, ["next.reward", "next.done", "next.success"])
    return {name: values[:, 0] for name, values in found.items()}


def against_truth(path: Path) -> dict[str, float]:
    parts = json.loads((path / "meta" / "labels.json").read_text())["calibration"]
    return next(part for name, part in parts.items() if "against" in name)


def table_of(path: Path, rows: list[tuple[float, ...]], names: tuple[str, ...] = ("reward", "success")) -> Path:
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([("episode", "frame", *names), *rows])
    return path


EVERY = [(e, t, e + t / 10, int(t == 2)) for e, length in enumerate(LENGTHS) for t in range(length)]


def test_what_a_frame_shows_is_what_came_of_the_step_before_it(tmp_path):
    told = table_of(tmp_path / "labels.csv", EVERY)
    label("table", lerobot_v3(tmp_path / "set"), tmp_path / "out", "--file", told, "--held-out", "0.4")
    found = outcomes(tmp_path / "out", 0)
    assert np.allclose(found["next.reward"], [0.1, 0.2, 0.3, 0.4, 0.4])
    assert found["next.success"].tolist() == [False, True, False, False, False]
    assert found["next.done"].tolist() == [False, True, False, False, True]
    known = load(tmp_path / "out" / "glocal.json")
    assert (known.reward, known.done, known.success) == ("next.reward", "next.done", "next.success")


def test_videos_and_other_features_are_copied_as_they_are(tmp_path):
    source = lerobot_v3(tmp_path / "set")
    label("column", source, tmp_path / "out", "--name", "next.reward", "--held-out", "0.4")
    for path in source.rglob("*.mp4"):
        assert (tmp_path / "out" / path.relative_to(source)).read_bytes() == path.read_bytes()
    for number, one in enumerate(EPISODES):
        found = open_dataset(tmp_path / "out").episode(number, ["action", "next.reward"])
        assert np.array_equal(found["action"], one["action"])
        assert np.array_equal(found["next.reward"], one["next.reward"])


def test_other_formats_are_written_anew(tmp_path):
    told = table_of(tmp_path / "labels.csv", EVERY)
    label("table", npz_folder(tmp_path / "npz"), tmp_path / "out", "--file", told, "--held-out", "0.4", "--fps", "10")
    dataset = open_dataset(tmp_path / "out")
    assert dataset.format == "LeRobotDataset v3.0" and dataset.fps == 10
    assert np.array_equal(dataset.episode(1, ["action"])["action"], EPISODES[1]["action"])


def test_a_function_is_asked_of_every_frame(tmp_path, capsys):
    source, code = lerobot_v3(tmp_path / "set"), tmp_path / "mine.py"
    code.write_text(
        "def left(frame):\n    x = float(frame['observation.state'][0])\n    return x, x > 0\n"
        "def broken(frame):\n    return frame['nothing']\n"
        "def endless(frame):\n    return float('inf')\n"
        "three = 3\n"
    )
    label("function", source, tmp_path / "out", "--name", f"{code}:left", "--held-out", "0.4")
    state = EPISODES[1]["observation.state"][:, 0]
    assert np.allclose(outcomes(tmp_path / "out", 1)["next.reward"], [*state[1:], state[-1]])
    assert outcomes(tmp_path / "out", 1)["next.success"].tolist() == [*(state[1:] > 0), state[-1] > 0]
    for name, said in (
        ("broken", "failed at a frame of episode 0"),
        ("endless", "says inf"),
        ("x", "mine.py has no function 'x'; it has left, broken, endless"),
        ("three", "mine.py has no function 'three'"),
    ):
        assert said in refused(capsys, "function", source, tmp_path / name, "--name", f"{code}:{name}")
        assert not (tmp_path / name).exists()


def test_the_tracker_agrees_with_the_truth(logs, tmp_path):
    truth = ("--truth", logs.with_name("logs.truth.csv"), "--held-out", "0.5")
    goal = logs.with_name("logs.goals") / "0.png"
    label("tracker", logs, tmp_path / "out", "--goal", goal, "--colour", 143, 163, 184, *truth)
    assert against_truth(tmp_path / "out")["rank_correlation"] > 0.97
    found = open_dataset(tmp_path / "out").episode(0, ["observation.pose", "observation.coverage"])
    with logs.with_name("logs.truth.csv").open() as file:
        rows = [row for row in csv.DictReader(file) if row["episode"] == "0"]
    covered = np.array([float(row["coverage"]) for row in rows])
    assert np.abs(found["observation.coverage"][:, 0] - covered).max() < 0.1
    turn = found["observation.pose"][:, 2] - np.array([float(row["angle"]) for row in rows]) + np.pi / 4
    assert np.abs((turn + np.pi) % (2 * np.pi) - np.pi).max() < 0.05
    assert load(tmp_path / "out" / "glocal.json").pose == "observation.pose"


@pytest.mark.parametrize("embedding", ["codec", "contrast"])
def test_goal_images_and_marks_lead_to_labels(logs, tmp_path, embedding, capsys):
    """That they are any good takes a trained embedding; here everything is shrunk, and done all the way."""
    common = ("--embedding", embedding, "--updates", 3, "--preset", "pusht-debug", "--threads", 1, "--held-out", "0.5")
    goals = sorted(logs.with_name("logs.goals").iterdir())
    label("goal", logs, tmp_path / "goal", "--goals", goals[0], "0:0", *common)
    marks = logs.with_name("marks.csv")
    capsys.readouterr()
    label(
        "classifier", logs, tmp_path / "marks", "--marks", marks, *common, "--truth", logs.with_name("logs.truth.csv")
    )
    said = capsys.readouterr().err
    assert "by a classifier without its fold: frames" in said and "embed" not in said  # kept from the first time
    assert {"rank_correlation", "accuracy"} <= set(against_truth(tmp_path / "marks"))
    for name in ("goal", "marks"):
        reward = outcomes(tmp_path / name, 3)["next.reward"]
        assert ((reward > 0) & (reward <= 1)).all()
        assert "data:image/png" in (tmp_path / name / "meta" / "labels.html").read_text()


SHRUNK = ("--preset", "pusht-debug", "--threads", 1, "--held-out", "0.5", "--embedding", "contrast", "--updates", 3)


@pytest.mark.parametrize("here, name", [("", "."), ("videos", "..")])
def test_logs_are_labelled_from_within(tmp_path, monkeypatch, capsys, here, name):
    """What is learned lies beside the logs, and is found there again by another path."""
    source = small_logs(tmp_path)
    there = {path.name for path in source.iterdir()}
    monkeypatch.chdir(source / here)
    label("goal", name, tmp_path / "out", "--goals", "0:0", *SHRUNK)
    assert {path.name for path in source.iterdir()} == there and (tmp_path / "logs.work" / "config.json").is_file()
    capsys.readouterr()
    monkeypatch.chdir(tmp_path)
    label("goal", "logs", tmp_path / "again", "--goals", "0:0", *SHRUNK)
    assert "embed" not in capsys.readouterr().err


def test_nothing_is_learned_within_the_logs(tmp_path, logs, capsys):
    goal = ("goal", logs, tmp_path / "out", "--goals", "0:0")
    assert "is inside the data set" in refused(capsys, *goal, "--work", logs / "work")
    with pytest.raises(SystemExit):
        main(["collect", "pusht-debug", "--run", str(logs / "run"), "--logs", str(logs)])
    assert "is inside the data set" in " ".join(capsys.readouterr().err.split())
    assert not (logs / "run").exists() and not (logs / "work").exists()


@pytest.mark.parametrize(
    "rows, said",
    [
        (EVERY[:-1], "does not tell reward of 1 frames of episode 2"),
        ([*EVERY, (9, 0, 1.0, 0)], "does not read as labels"),
        ([*EVERY[:-1], (2, 3, "much", 0)], "does not read as labels"),
    ],
)
def test_a_table_that_does_not_fit_is_refused(tmp_path, capsys, rows, said):
    told = table_of(tmp_path / "labels.csv", rows)
    assert said in refused(capsys, "table", lerobot_v3(tmp_path / "set"), tmp_path / "out", "--file", told)
    assert not (tmp_path / "out").exists()


def test_what_cannot_be_labelled_is_refused(tmp_path, capsys, logs):
    out, marks = tmp_path / "out", tmp_path / "marks.csv"
    assert "say at least one goal image" in refused(capsys, "goal", logs, out, "--goals")
    assert "there is no frame 99:0" in refused(capsys, "goal", logs, out, "--goals", "99:0")
    assert "neither a picture" in refused(capsys, "goal", logs, out, "--goals", logs / "meta" / "info.json")
    Image.new("RGB", (64, 64)).save(tmp_path / "small.png")
    assert "is (64, 64), the camera's pictures are (96, 96)" in refused(
        capsys, "goal", logs, out, "--goals", tmp_path / "small.png"
    )
    assert "there are no marks" in refused(capsys, "classifier", logs, out, "--marks", marks)
    marks.write_text("episode,frame,success\n0,0,1\n0,1,1\n")
    assert "all alike" in refused(capsys, "classifier", logs, out, "--marks", marks)
    marks.write_text("episode,frame,success\n0,0,1\n0,999,0\n")
    assert "which" in refused(capsys, "classifier", logs, out, "--marks", marks)
    assert "has no 'joy'" in refused(capsys, "column", logs, out, "--name", "joy")
    assert "expected above 0 and below 1" in refused(
        capsys, "column", logs, out, "--name", "action", "--held-out", "1.5"
    )
    assert not out.exists()
