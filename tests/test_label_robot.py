"""`glocal data label` on any robot's logs: every way leads to rewards that the preset robot trains on, or refuses."""

import csv
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from glocal.cli import main
from glocal.data import mappings
from glocal.data.dataset import Feature
from glocal.data.formats import open_dataset
from glocal.data.formats.lerobot_writer import Layout, write_lerobot
from glocal.data.ingest import beside, robot_mapping_of
from glocal.data.streams import RobotMapping, misfits
from glocal.pipeline.label import labelled
from glocal.pipeline.label.camera import Camera
from glocal.pipeline.label.embedding import seen_by
from glocal.pipeline.label.job import shaped
from glocal.pipeline.run import open_run
from tests.hostile.case import tree
from tests.robots import FEATURES, robot_logs

EPISODES, STEPS = 8, 40
CAMERAS = ("observation.images.top", "observation.images.wrist")
ONE = ("--threads", "1", "--updates", "3", "--held-out", "0.3")


@pytest.fixture(scope="module")
def logs(tmp_path_factory) -> Path:
    return robot_logs(tmp_path_factory.mktemp("robot") / "logs", EPISODES, STEPS)


@pytest.fixture(scope="module")
def seen(tmp_path_factory) -> Path:
    """Logs of three numbers and two cameras, in which a box goes where the first number says; without rewards."""
    return seen_logs(tmp_path_factory.mktemp("seen") / "logs", CAMERAS)


def seen_logs(folder: Path, cameras: tuple[str, ...]) -> Path:
    numbers = {name: Feature((3,), "float32") for name in ("observation.state", "action")}
    pictures = {
        name: Feature((32, 48, 3), "uint8", picture=True, names=("height", "width", "channels")) for name in cameras
    }
    write_lerobot(folder, map(seen_episode, range(6), [cameras] * 6), Layout(10, numbers | pictures))
    return folder


def seen_episode(number: int, cameras: tuple[str, ...]) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(number)
    action = rng.uniform(-1, 1, (24, 3)).astype(np.float32)
    state = np.cumsum(action, 0, dtype=np.float32) - action
    frames = np.full((24, 32, 48, 3), 220, np.uint8)
    for t, x in enumerate(np.clip(20 + 4 * state[:, 0], 0, 36).astype(int)):
        frames[t, 10:22, x : x + 12] = (200, 40, 40)
    return {"observation.state": state, "action": action} | dict.fromkeys(cameras, frames)


def label(*arguments: object) -> None:
    main(["data", "label", *map(str, arguments)])


def refused(capsys: pytest.CaptureFixture[str], *arguments: object) -> str:
    with pytest.raises(SystemExit) as stopped:
        label(*arguments)
    assert stopped.value.code == 2
    said = " ".join(capsys.readouterr().err.split())
    assert said.count("glocal: ") == 1
    return said


def read(path: Path, number: int, name: str) -> np.ndarray:
    return open_dataset(path).episode(number, [name])[name]


def known(path: Path) -> RobotMapping:
    """The mapping beside labelled logs, which fits them."""
    found = mappings.load(beside(path))
    assert isinstance(found, RobotMapping) and misfits(found, open_dataset(path)) == []
    return found


def table_of(path: Path, names: tuple[str, ...], value, lengths: list[int]) -> Path:
    with path.open("w", newline="") as file:
        rows = [(e, t, *value(e, t)) for e, length in enumerate(lengths) for t in range(length)]
        csv.writer(file).writerows([("episode", "frame", *names), *rows])
    return path


def test_nearness_to_where_another_stream_wants_it(logs, tmp_path):
    out = tmp_path / "out"
    label(
        "near", logs, out, "--stream", "state", "--columns", 0, 1, 2, "--goal-stream", "goal", "--success-within", 0.25
    )
    every = [read(logs, n, "observation.state")[:, :3] - read(logs, n, "observation.goal") for n in range(EPISODES)]
    far = [np.linalg.norm(one, axis=1) for one in every]
    after = np.r_[far[3][1:], far[3][-1]]  # what came of a step is what the next frame shows
    assert np.allclose(
        read(out, 3, "next.reward")[:, 0], shaped(after, float(np.median(np.concatenate(far)))), atol=1e-5
    )
    assert np.array_equal(read(out, 3, "next.success")[:, 0], after < 0.25)
    mapping = known(out)
    assert (mapping.reward, mapping.done, mapping.success) == ("next.reward", "next.done", "next.success")
    rewards = np.concatenate([read(out, n, "next.reward") for n in range(EPISODES)])
    assert np.quantile(rewards, 0.9) < mapping.reward_scale <= rewards.max() + 1e-4


def test_nearness_to_numbers_and_to_what_frames_show(logs, tmp_path):
    label("near", logs, tmp_path / "numbers", "--stream", "observation.state", "--goal", -0.2, 0.1, 0.3, 0.5)
    label("near", logs, tmp_path / "frames", "--stream", "state", "--frames", "0:5", "2:7")
    assert read(tmp_path / "frames", 2, "next.reward")[6, 0] == pytest.approx(1)
    assert read(tmp_path / "frames", 2, "next.success")[6, 0]
    assert known(tmp_path / "numbers").reward == "next.reward"


def test_a_column_is_the_reward_and_success_stays_what_the_logs_say(logs, tmp_path):
    label("column", logs, tmp_path / "out", "--name", "observation.state", "--number", 3)
    assert np.allclose(read(tmp_path / "out", 1, "next.reward"), read(logs, 1, "observation.state")[:, 3:])
    assert np.array_equal(read(tmp_path / "out", 1, "next.success"), read(logs, 1, "next.success"))
    mapping = known(tmp_path / "out")
    before = robot_mapping_of(logs, open_dataset(logs))
    assert mapping.streams == before.streams and mapping.action == before.action
    assert mapping.success == "next.success" and 0.9 < mapping.reward_scale <= 1


def test_success_that_nobody_tells_is_not_made_up(seen, tmp_path):
    label("column", seen, tmp_path / "out", "--name", "observation.state", "--number", 0)
    mapping = known(tmp_path / "out")
    assert mapping.success is None and "next.success" not in open_dataset(tmp_path / "out").features
    assert "data:image/png" in (tmp_path / "out" / "meta" / "labels.html").read_text()


def test_ends_and_what_is_left_out_stay_as_a_person_said(tmp_path):
    features = FEATURES | {"fell": Feature((1,), "bool")}
    rows = open_dataset(robot_logs(tmp_path / "plain", 4, 20))
    episodes = [rows.episode(n, list(FEATURES)) | {"fell": np.arange(20)[:, None] == 19 - n} for n in range(4)]
    write_lerobot(tmp_path / "logs", episodes, Layout(20, features))
    own = robot_mapping_of(tmp_path / "logs", open_dataset(tmp_path / "logs"))
    streams = tuple(one for one in own.streams if one.feature != "fell")
    mine = replace(own, streams=streams, done="fell", ends=True, leave_out=(2,), success=None)
    mappings.save(beside(tmp_path / "logs"), mine)
    label("near", tmp_path / "logs", tmp_path / "out", "--stream", "goal", "--goal", 0, 0, 0)
    mapping = known(tmp_path / "out")
    assert mapping.ends and mapping.leave_out == (2,) and mapping.streams == streams
    assert np.flatnonzero(read(tmp_path / "out", 1, mapping.done)).tolist() == [18]


def test_a_reward_column_of_a_name_of_its_own_is_not_observed(tmp_path, capsys):
    features = FEATURES | {"score": Feature((1,), "float32")}
    rows = open_dataset(robot_logs(tmp_path / "plain", 4, 20))
    episodes = [rows.episode(n, list(FEATURES)) | {"score": np.arange(20.0)[:, None] / 20} for n in range(4)]
    write_lerobot(tmp_path / "logs", episodes, Layout(20, features))
    label("column", tmp_path / "logs", tmp_path / "out", "--name", "score")
    assert "not observed, as labels are made of it: score" in capsys.readouterr().err
    assert [one.name for one in known(tmp_path / "out").streams] == ["state", "goal"]


def test_a_table_and_a_function_tell_rewards(logs, tmp_path):
    told = table_of(
        tmp_path / "t.csv", ("reward", "success"), lambda e, t: (e + t / 10, int(t == 2)), [STEPS] * EPISODES
    )
    label("table", logs, tmp_path / "table", "--file", told, "--truth", told)
    assert np.allclose(read(tmp_path / "table", 2, "next.reward")[:3, 0], [2.1, 2.2, 2.3])
    parts = json.loads((tmp_path / "table" / "meta" / "labels.json").read_text())["calibration"]
    assert next(part for name, part in parts.items() if "against t.csv" in name)["accuracy"] == 1
    (tmp_path / "mine.py").write_text(
        "def left(frame):\n    return frame['observation.goal'][0], frame['action'][3] > 0.5\n"
    )
    label("function", logs, tmp_path / "function", "--name", f"{tmp_path / 'mine.py'}:left")
    goal, action = read(logs, 0, "observation.goal"), read(logs, 0, "action")
    assert np.allclose(read(tmp_path / "function", 0, "next.reward")[:-1], goal[1:, :1])
    assert np.array_equal(read(tmp_path / "function", 0, "next.success")[:-1, 0], action[1:, 3] > 0.5)
    assert known(tmp_path / "function").success == "next.success"


def test_logs_whose_format_tells_no_rate_are_asked_for_it(logs, tmp_path, capsys):
    (tmp_path / "npz").mkdir()
    for number in range(4):
        rows = open_dataset(logs).episode(number, ["observation.state", "action"])
        np.savez(tmp_path / "npz" / f"{number}.npz", state=rows["observation.state"], action=rows["action"])
    asked = ("near", tmp_path / "npz", tmp_path / "out", "--stream", "state", "--frames", "0:0")
    assert "does not tell its rate; say it with --fps" in refused(capsys, *asked)
    label(*asked, "--fps", 20)
    assert (known(tmp_path / "out").fps, known(tmp_path / "out").rate) == (20, 10)


def test_goal_pictures_marks_and_a_tracker_look_at_the_camera_that_is_named(seen, tmp_path, capsys):
    label("goal", seen, tmp_path / "goal", "--goals", "0:3", "--camera", CAMERAS[0], *ONE)
    marks = tmp_path / "marks.csv"
    marks.write_text("episode,frame,success\n" + "".join(f"{e},3,1\n{e},20,0\n" for e in range(6)))
    capsys.readouterr()
    label("classifier", seen, tmp_path / "marks", "--marks", marks, "--camera", "top", *ONE)
    said = capsys.readouterr().err
    assert "pictures  " not in said and "embed" not in said  # kept from the first time
    colour = ("--colour", 200, 40, 40)
    label("tracker", seen, tmp_path / "body", "--goal", "0:0", *colour, "--camera", "wrist", "--held-out", "0.3")
    assert "name observation.pose in the mapping's streams" in " ".join(capsys.readouterr().err.split())
    x = read(tmp_path / "body", 1, "observation.pose")[:, 0]
    assert np.abs(x - (np.clip(20 + 4 * read(seen, 1, "observation.state")[:, 0], 0, 36) + 6)).max() < 1.6
    for name in ("goal", "marks", "body"):
        reward = read(tmp_path / name, 3, "next.reward")
        assert ((reward > 0) & (reward <= 1)).all() and known(tmp_path / name).success == "next.success"
        assert "data:image/png" in (tmp_path / name / "meta" / "labels.html").read_text()


def test_one_camera_need_not_be_named(tmp_path):
    source = seen_logs(tmp_path / "logs", CAMERAS[:1])
    label("tracker", source, tmp_path / "out", "--goal", "0:0", "--colour", 200, 40, 40, "--held-out", "0.3")
    assert known(tmp_path / "out").reward == "next.reward"


def test_the_preset_robot_trains_on_labels(seen, tmp_path):
    label("near", seen, tmp_path / "out", "--stream", "state", "--goal", 0, 0, 0, "--held-out", "0.3")
    small = ("--threads", "1", "--processes", "1", "--held-out", "0.3")
    main(["run", "robot-debug", "--logs", str(tmp_path / "out"), "--run", str(tmp_path / "run"), *small])
    run = open_run(tmp_path / "run")
    assert (tmp_path / "run" / "report.html").is_file()
    reward = np.asarray(run.store.fields["reward"])
    assert reward.min() > 0 and 0.9 < reward.max() < 1.2  # divided by the scale that was fitted
    assert run.config.task.mapping == replace(known(tmp_path / "out"), cameras=())


@pytest.fixture(scope="module")
def spoilt(tmp_path_factory) -> Path:
    """Logs whose reward is always the same, and whose state is lost once."""
    features = FEATURES | {"note": Feature((1,), "int64")}
    rows = open_dataset(robot_logs(tmp_path_factory.mktemp("sound") / "logs", 4, 20))
    episodes = [rows.episode(n, list(FEATURES)) | {"note": np.ones((20, 1), np.int64)} for n in range(4)]
    episodes[2]["observation.state"][7, 1] = np.nan
    episodes[3]["next.reward"][2] = np.inf
    folder = tmp_path_factory.mktemp("spoilt") / "logs"
    write_lerobot(folder, episodes, Layout(20, features))
    return folder


HOSTILE = (
    ("column {logs} {out} --name joy", "has no 'joy'; it has observation.state"),
    ("column {logs} {out} --name next.reward --success joy", "has no 'joy'"),
    ("column {logs} {out} --name action", "action holds 4 numbers; say which one is meant with --number"),
    ("column {logs} {out} --name action --number 4", "--number is 4, but action holds 4 numbers, counted from 0"),
    ("column {logs} {out} --name action --number -1", "--number is -1, expected at least 0"),
    ("column {logs} {out} --name next.reward --camera top", "--camera is top, which {logs} has not; it has none"),
    ("column {spoilt} {out} --name note", "the reward is always 1: nothing is to be learned"),
    ("column {spoilt} {out} --name next.reward", "next.reward of episode 3 in {spoilt} holds numbers that"),
    ("column {seen} {out} --name observation.images.top", "observation.images.top holds pictures, expected numbers"),
    ("near {spoilt} {out} --stream state --frames 0:0", "state of episode 2 in {spoilt} holds numbers that"),
    ("near {logs} {out} --stream joy --goal 1", "has no 'joy'; it has the streams state, goal and the features"),
    ("near {logs} {out} --stream state --goal 1 2", "has 2 numbers, expected 4: of observation.state 0, 1, 2, 3"),
    ("near {logs} {out} --stream state", "by one of --goal, --frames and --goal-stream; found none of them"),
    ("near {logs} {out} --stream goal --goal 1 1 1 --frames 0:0", "found --goal and --frames"),
    ("near {logs} {out} --stream goal --goal 1 nan 1", "--goal is nan"),
    ("near {logs} {out} --stream state --goal-stream goal", "the goal is 3 numbers of observation.goal, and 4"),
    ("near {logs} {out} --stream goal --goal-stream goal", "all frames are at the goal: nothing is to be learned"),
    ("near {logs} {out} --stream goal --columns 3 --goal 1", "holds 3 numbers, counted from 0; found 3"),
    ("near {logs} {out} --stream goal --frames 0:999", "there is no frame 0:999"),
    ("near {logs} {out} --stream goal --frames first", "--frames is first, expected EPISODE:FRAME"),
    ("table {logs} {out} --file {short}", "does not tell reward of 1 frames of episode 7; expected a finite number"),
    ("table {logs} {out} --file {lost}", "does not tell reward of 8 frames of episode 0; expected a finite number"),
    ("table {logs} {out} --file {twice}", "does not read as labels"),
    ("table {logs} {out} --file {flat}", "the reward is always 2: nothing is to be learned"),
    ("table {logs} {out} --file {other}", "has no column reward"),
    ("table {logs} {out} --file {good} --truth {other}", "has neither a column reward nor success"),
    ("goal {logs} {out} --goals 0:0", "holds no pictures, which this way of labelling looks at; `near`, `column`"),
    ("classifier {logs} {out} --marks {short} --mark", "holds no pictures"),
    ("tracker {logs} {out} --goal 0:0 --colour 1 2 3", "holds no pictures"),
    ("goal {seen} {out} --goals 0:0", "has the cameras {cameras}; say which one is looked at with --camera"),
    ("classifier {seen} {out} --marks {short} --mark", "has the cameras {cameras}; say which one"),
    ("tracker {seen} {out} --goal 0:0 --colour 200 40 40", "has the cameras {cameras}; say which one"),
    ("tracker {seen} {out} --goal 0:0 --colour 0 255 0 --camera top", "the goal picture shows 0 pixels of colour"),
    ("goal {seen} {out} --goals 0:0 --camera side", "is side, which {seen} has not; it has the cameras {cameras}"),
    ("goal {seen} {out} --goals 0:0 --camera top --embedding codec", "leave out --embedding codec"),
    ("goal {seen} {out} --goals 0:99 --camera top", "there is no frame 0:99"),
)  # fmt: skip


@pytest.mark.parametrize("line, expected", HOSTILE)
def test_what_cannot_be_labelled_is_refused_and_nothing_is_written(
    logs, seen, spoilt, tmp_path, capsys, line, expected
):
    lengths, place = [STEPS] * EPISODES, tmp_path / "tables"
    place.mkdir()
    tables = {
        "good": table_of(place / "good.csv", ("reward",), lambda e, t: (e + t,), lengths),
        "short": table_of(place / "short.csv", ("reward",), lambda e, t: (t,), [*lengths[:-1], STEPS - 1]),
        "lost": table_of(place / "lost.csv", ("reward",), lambda e, t: ("nan" if t % 5 == 0 else "1",), lengths),
        "twice": table_of(place / "twice.csv", ("reward",), lambda e, t: (1,), lengths),
        "flat": table_of(place / "flat.csv", ("reward",), lambda e, t: (2,), lengths),
        "other": table_of(place / "other.csv", ("score",), lambda e, t: (t,), lengths),
    }
    tables["twice"].write_text(tables["twice"].read_text() + "0,0,5\n")
    places = {
        "logs": logs,
        "seen": seen,
        "spoilt": spoilt,
        "out": tmp_path / "out",
        "cameras": ", ".join(CAMERAS),
    } | tables
    folders = (tmp_path, logs.parent, spoilt.parent, seen.parent)
    before = [tree(folder) for folder in folders]
    assert expected.format(**places) in refused(capsys, *(word.format(**places) for word in line.split(" ")))
    assert [tree(folder) for folder in folders] == before


def test_a_mapping_that_does_not_fit_the_logs_is_refused_before_any_work(tmp_path, capsys):
    source = robot_logs(tmp_path / "logs", 4, 20)
    own = robot_mapping_of(source, open_dataset(source))
    mappings.save(beside(source), replace(own, fps=30.0, rate=10.0))
    found = refused(capsys, "near", source, tmp_path / "out", "--stream", "goal", "--goal", 0, 0, 0)
    assert "glocal.json does not fit the logs: fps is 30, the dataset's is 20; mend it" in found
    mappings.save(beside(source), replace(own, reward="score", success="won"))  # what labels are to be called
    label("near", source, tmp_path / "out", "--stream", "goal", "--goal", 0, 0, 0)
    assert known(tmp_path / "out").reward == "next.reward"


def test_labels_that_are_cut_off_leave_nothing(logs, tmp_path, monkeypatch):
    def full(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(labelled, "write_labels_page", full)
    with pytest.raises(SystemExit):
        label("near", logs, tmp_path / "out", "--stream", "goal", "--goal", 0, 0, 0)
    assert list(tmp_path.iterdir()) == []


def test_pictures_of_another_crop_or_size_have_another_folder():
    camera = Camera("observation.images.top", (16, 16), size=16)
    others = (camera, replace(camera, crop=(0, 0, 8, 8)), replace(camera, size=32), replace(camera, feature="other"))
    assert len({seen_by(one) for one in others}) == 4
    assert seen_by(camera) == seen_by(replace(camera))
