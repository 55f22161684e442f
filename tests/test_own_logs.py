"""Training on logs that somebody else recorded: what is carried along, what makes it stale, and what is refused."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from glocal.cli import main
from glocal.data import mapping
from glocal.data.dataset import Feature
from glocal.data.formats import open_dataset
from glocal.data.ingest import ingest
from glocal.data.propose import propose
from glocal.data.reading import PlanarReading
from glocal.data.store import recorded
from glocal.deploy.preprocess import check_planar, check_robot, through
from glocal.pipeline.build import build_scene
from glocal.pipeline.run import open_run, status
from glocal.runtime.checkpoints import load
from glocal.runtime.files import UserError
from glocal.tasks.pusht import PushT, PushTConfig
from tests.logs import EPISODES, STEPS, small_logs


def glocal(*arguments: object) -> None:
    main([str(argument) for argument in arguments])


def fails(capsys, *arguments: object) -> str:
    with pytest.raises(SystemExit) as stopped:
        glocal(*arguments)
    assert stopped.value.code == 2
    return " ".join(capsys.readouterr().err.split())


@pytest.fixture(scope="module")
def labelled(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("labelled")
    truth = small_logs(folder).with_name("logs.truth.csv")
    glocal("data", "label", "table", folder / "logs", folder / "labelled", "--file", truth, "--held-out", "0.5")
    return folder / "labelled"


@pytest.fixture
def logs(labelled, tmp_path) -> Path:
    """Logs with rewards, and their mapping beside them: a copy to be spoilt."""
    return shutil.copytree(labelled, tmp_path / "labelled")


def edit(path: Path, **changes: object) -> None:
    known = mapping.load(path / mapping.NAME)
    mapping.save(path / mapping.NAME, replace(known, **changes))


def test_logs_are_taken_in_by_their_mapping(logs, tmp_path):
    edit(logs, reward_over="last")
    glocal("collect", "pusht-debug", "--run", tmp_path / "run", "--logs", logs)
    store, dataset = open_run(tmp_path / "run").store, open_dataset(logs)
    assert len(store) == EPISODES and (np.diff(store.starts) == STEPS // 2).all()
    rows, found = store.episode(4), dataset.episode(4, ["observation.state", "action", "next.reward"])
    assert np.allclose(rows["agent"], found["observation.state"][::2])
    way = (found["action"][1:-1:2] - found["observation.state"][:-2:2]) / 50
    assert np.allclose(rows["action"][1:], np.clip(way, -1, 1), atol=1e-6)
    reward = found["next.reward"][:, 0]
    assert np.allclose(rows["reward"], [reward[0], *reward[1:-3:2], reward[-1]])  # the last row has all that is left
    assert json.loads((tmp_path / "run" / "doctor.json").read_text())["findings"]


def test_a_robot_of_another_reach_is_one_in_data_models_and_deployment(logs, tmp_path):
    edit(logs, reach=66.0)
    glocal("collect", "pusht-debug", "--run", tmp_path / "run", "--logs", logs, "--task.reach", "66")
    run, found = open_run(tmp_path / "run"), open_dataset(logs).episode(4, ["observation.state", "action"])
    way = (found["action"][1:-1:2] - found["observation.state"][:-2:2]) / 66
    assert np.allclose(run.store.episode(4)["action"][1:], np.clip(way, -1, 1), atol=1e-6)
    assert build_scene(run.config.task).reach == 66 / 256
    robot = PushT(run.config.task)
    robot.reset(3)
    here = np.array(robot.agent)
    robot.step(np.array([0.5, 0.0]))
    wanted = PushT(PushTConfig())
    wanted.reset(3)
    wanted.step(np.array([0.5 * 66 / 50, 0.0]))
    assert np.allclose(robot.agent, wanted.agent) and not np.allclose(robot.agent, here)


def test_the_robot_is_seen_as_its_logs_were(logs, tmp_path):
    known = mapping.load(logs / mapping.NAME)
    seen = PushT(PushTConfig(images=True), known.picture).reset(3)
    viewed = through(known)(seen)
    assert viewed.image.shape == (64, 64, 3) and np.array_equal(viewed.image, mapping.shown(known, seen.image))
    assert np.allclose(viewed.agent, seen.agent)
    with pytest.raises(UserError, match=r"made pictures of \(96, 96\), this one pictures of \(64, 64\)"):
        through(known)(PushT(PushTConfig(images=True)).reset(3))


def test_the_mapping_is_in_every_checkpoint(logs, tmp_path):
    run = tmp_path / "run"
    glocal("run", "pusht-debug", "--run", run, "--logs", logs, "--held-out", "0.3")
    for kind in ("codec", "global", "local", "cloning", "policy"):
        checkpoint = load(run / kind, kind)
        assert checkpoint is not None
        told = mapping.from_dict(json.loads(checkpoint.about["mapping"]), kind)
        assert told == mapping.load(logs / mapping.NAME)
    assert open_run(run).picture == (96, 96)


def test_a_model_that_was_trained_to_see_otherwise_is_refused(logs, tmp_path, capsys):
    run = tmp_path / "run"
    for verb in (("collect",), ("train", "codec"), ("train", "global")):
        glocal(*verb, "pusht-debug", "--run", run, "--logs", logs)
    edit(logs, leave_out=(1,))
    glocal("collect", run, "--replace")
    glocal("train", "local", run)  # the codec has not seen less
    edit(logs, crop=(0, 0, 90, 90))
    glocal("collect", run, "--replace")
    found = fails(capsys, "train", "local", run, "--replace")
    assert "codec" in found and "was trained on what the mapping" in found and "train it again" in found


def test_what_was_decoded_is_not_decoded_again(logs, tmp_path):
    known = mapping.load(logs / mapping.NAME)
    ingest(logs, PlanarReading(known), tmp_path / "data", range(3), 1, lambda done: None)
    first = {path: path.stat().st_mtime_ns for path in (tmp_path / "data.recording").iterdir()}
    told: list[int] = []
    ingest(logs, PlanarReading(known), tmp_path / "data", range(5), 1, told.append)
    assert {path: path.stat().st_mtime_ns for path in first} == first and told == [4, 5]
    assert recorded(tmp_path / "data") == set(range(5))


def test_a_changed_mapping_and_changed_logs_make_it_stale_but_logs_that_are_gone_do_not(logs, tmp_path):
    glocal("collect", "pusht-debug", "--run", tmp_path / "run", "--logs", logs)
    run = open_run(tmp_path / "run")
    assert status(run)["collect"].state == "done"
    edit(logs, leave_out=(2,))
    assert "the logs or their mapping changed" in status(run)["collect"].reasons
    glocal("collect", tmp_path / "run", "--replace")
    assert len(open_run(tmp_path / "run").store) == EPISODES - 1 and status(run)["collect"].state == "done"
    logs.rename(tmp_path / "elsewhere")
    assert status(run)["collect"].state == "done"


@pytest.mark.parametrize(
    "changes, said",
    [
        ({"rate": 2.5}, "the robot takes 5 control steps a second"),
        ({"reach": 66.0}, "the robot's is 50, say --task.reach 66"),
        ({"size": 32}, "models see pictures of 64"),
        ({"state": None}, "the agent's position is observed"),
        ({"camera": "observation.left"}, "which the dataset has not"),
        ({"picture": (48, 48)}, "those of observation.image are (96, 96)"),
        ({"fps": 30.0}, "the dataset's is 10"),
    ],
)
def test_a_mapping_that_does_not_fit_robot_or_logs_is_refused(logs, tmp_path, capsys, changes, said):
    edit(logs, **changes)
    assert said in fails(capsys, "collect", "pusht-debug", "--run", tmp_path / "run", "--logs", logs)


def npz(folder: Path, **features: np.ndarray) -> Path:
    """Six episodes of forty steps in pictures of noise, each with the same further features."""
    folder.mkdir()
    for number in range(6):
        rng = np.random.default_rng(number)
        frames = rng.integers(0, 255, (40, 32, 32, 3), np.uint8)
        state, way = rng.uniform(50, 450, (40, 2)), rng.uniform(-60, 60, (40, 2))
        np.savez(folder / f"{number}.npz", **{"image": frames, "state": state, "action": state + way, **features})
    return folder


TWO_ARMS = {
    "action": np.zeros((40, 14)),
    "state": np.zeros((40, 14)),
    "image.wrist": np.zeros((40, 32, 32, 3), np.uint8),
}
PLANAR = "is not of a planar robot of two numbers"


def test_logs_of_another_robot_are_refused_with_a_mapping_and_without(tmp_path, capsys):
    folder = npz(tmp_path / "npz", **TWO_ARMS)
    command = ("collect", "pusht-images-debug", "--run", tmp_path / "run", "--logs", folder)
    said = fails(capsys, *command)
    assert PLANAR in said and "its action holds 14 numbers, expected 2; its state holds 14 numbers" in said
    assert "2 cameras (image, image.wrist)" in said and not (tmp_path / "run" / "data.recording").exists()
    glocal("data", "inspect", folder, "--write")
    assert '"streams": [{"name": "state"' in " ".join(capsys.readouterr().err.split())
    assert "is a mapping of streams, which the preset robot takes" in fails(capsys, *command)
    mapping.save(folder / mapping.NAME, propose(open_dataset(folder))[0])
    edit(folder, action_columns=(3, 4), state_columns=(3, 4), representation="delta")
    said = fails(capsys, *command)
    assert PLANAR in said and "its action holds 14 numbers, expected 2" in said and "cameras" not in said


def test_a_robot_of_one_number_is_refused(tmp_path, capsys):
    folder = npz(tmp_path / "npz", action=np.zeros((40, 1)))
    said = fails(capsys, "collect", "pusht-images-debug", "--run", tmp_path / "run", "--logs", folder)
    assert PLANAR in said and "its action holds 1 numbers, expected 2" in said


def test_of_several_cameras_a_mapping_has_to_say_which(tmp_path, capsys):
    folder = npz(tmp_path / "npz", **{"image.wrist": np.zeros((40, 32, 32, 3), np.uint8)})
    command = ("collect", "pusht-debug", "--run", tmp_path / "run", "--logs", folder, "--task.reach", "60")
    said = fails(capsys, *command)
    assert PLANAR in said and "2 cameras (image, image.wrist), expected 1, or a mapping that says which" in said
    label = ("data", "label", "column", folder, tmp_path / "labelled", "--name", "reward")
    assert "no mapping says which one is used" in fails(capsys, *label)
    glocal("data", "inspect", folder, "--write")
    edit(folder, reach=60.0)
    glocal(*command)
    assert len(open_run(tmp_path / "run").store) == 6


def test_of_a_longer_state_targets_near_it_or_a_mapping_say_which_numbers_are_the_position(tmp_path):
    """As in Diffusion Policy's Push-T, whose state is the agent's and the block's."""
    features = {
        "image": Feature((8, 8, 3), "uint8", True),
        "state": Feature((5,), "float32"),
        "action": Feature((2,), "f4"),
    }
    known = mapping.Mapping("image", (8, 8), "state", "action", 10, 5)
    assert check_planar(known, features, by_hand=False) == []
    deltas = replace(known, representation="delta")
    assert "state holds 5 numbers, expected 2" in check_planar(deltas, features, by_hand=False)[0]
    assert check_planar(deltas, features, by_hand=True) == []


@pytest.mark.parametrize("own, other", [("action.left", "action.right"), ("action", "action.gripper")])
def test_a_robot_that_is_told_a_second_action_is_not_cut_to_its_first(own, other):
    pair = Feature((2,), "f4")
    features = {"image": Feature((8, 8, 3), "uint8", True), "state": pair, own: pair, "action_is_pad": pair}
    known = mapping.Mapping("image", (8, 8), "state", own, 10, 5)
    assert check_planar(known, features, by_hand=True) == []
    (found,) = check_planar(known, {**features, other: Feature((1,), "f4")}, by_hand=True)
    assert f"it is told {other} beside {own}, expected one action" in found


def test_logs_of_which_nothing_is_left_are_refused(logs, tmp_path, capsys):
    edit(logs, leave_out=tuple(range(EPISODES)))
    assert "leaves no episode" in fails(capsys, "collect", "pusht-debug", "--run", tmp_path / "run", "--logs", logs)
    with pytest.raises(SystemExit) as stopped:
        glocal("data", "doctor", logs, "--processes", "1")
    assert stopped.value.code == 1


def test_a_latent_grid_needs_poses_before_anything_is_trained(logs, tmp_path, capsys):
    found = fails(capsys, "run", "pusht-grid-debug", "--run", tmp_path / "run", "--logs", logs)
    assert "there is no pose" in found and not (tmp_path / "run" / "data").exists()


def test_logs_in_other_units_fit_if_their_mapping_says_so(logs):
    known = replace(mapping.load(logs / mapping.NAME), low=(-1.0, -1.0), high=(1.0, 1.0), reach=100 / 512)
    assert check_robot(known, PushTConfig(images=True)) == []


def test_unlabelled_logs_train_a_codec_and_no_more(tmp_path, capsys):
    plain, run = small_logs(tmp_path), tmp_path / "run"
    glocal("train", "codec", *_collected(run, plain))
    assert "holds no rewards" in fails(capsys, "train", "global", run)


def _collected(run: Path, logs: Path) -> tuple[object, ...]:
    glocal("collect", "pusht-debug", "--run", run, "--logs", logs)
    return (run,)


def test_what_the_doctor_will_not_let_pass_is_not_trained_on(tmp_path, capsys):
    folder = tmp_path / "npz"
    folder.mkdir()
    for number in range(6):
        frames = np.random.default_rng(number).integers(0, 255, (40, 32, 32, 3), np.uint8)
        np.savez(folder / f"{number}.npz", image=frames if number else np.repeat(frames[:1], 40, 0),
                 action=12 * np.random.default_rng(number).normal(size=(40, 2)), reward=np.zeros(40))  # fmt: skip
    command = ("collect", "pusht-images-debug", "--run", tmp_path / "run", "--logs", folder)
    assert "shows the same picture throughout 1 episodes: 0" in fails(capsys, *command)
    with pytest.raises(SystemExit) as stopped:
        glocal("data", "doctor", folder, "--leave-out", "--processes", "1")
    assert stopped.value.code == 1 and mapping.load(folder / mapping.NAME).leave_out == (0,)
    glocal(*command)
    assert len(open_run(tmp_path / "run").store) == 5


@pytest.mark.parametrize("name", ["action", "state"])
def test_a_number_that_nothing_measures_is_not_trained_on(tmp_path, capsys, name):
    folder = npz(tmp_path / "npz")
    kept = dict(np.load(folder / "3.npz"))
    kept[name][7, 1] = 3e38
    np.savez(folder / "3.npz", **kept)
    command = ("collect", "pusht-debug", "--run", tmp_path / "run", "--logs", folder, "--task.reach", "60")
    glocal("data", "inspect", folder, "--write")
    edit(folder, reach=60.0)
    assert f"{name} 1 in 1 episodes (3)" in fails(capsys, *command)
    with pytest.raises(SystemExit):
        glocal("data", "doctor", folder, "--leave-out", "--processes", "1")
    assert mapping.load(folder / mapping.NAME).leave_out == (3,)
    glocal(*command)


def test_a_damaged_episode_is_named_and_what_was_decoded_is_kept(logs, tmp_path, capsys):
    film = next(logs.rglob("*.mp4"))
    content = film.read_bytes()
    film.write_bytes(content[: int(0.8 * len(content))])
    found = fails(capsys, "collect", "pusht-debug", "--run", tmp_path / "run", "--logs", logs)
    assert film.name in found and "episode" in found and not (tmp_path / "run" / "data").exists()


def test_only_a_run_on_these_logs_says_whether_they_are_enough(logs, tmp_path, capsys):
    glocal("collect", "pusht-keypoints-debug", "--run", tmp_path / "play")
    assert "is a run on recorded play" in fails(capsys, "data", "doctor", logs, "--run", tmp_path / "play")
