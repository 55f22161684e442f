"""Any robot: logs become a policy, with an environment that stands for the robot and without one."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from glocal.cli import main
from glocal.data.formats import open_dataset
from glocal.data.ingest import beside, robot_mapping_of
from glocal.data.streams import misfits, to_dict
from glocal.pipeline import diagnose
from glocal.pipeline.run import open_run, status
from glocal.runtime.files import write_json
from tests.refusals import refused
from tests.robots import FEATURES, ID, SHOWN, robot_logs

ONE = ("--threads", "1", "--processes", "1")


@pytest.fixture(scope="module")
def logs(tmp_path_factory) -> Path:
    return robot_logs(tmp_path_factory.mktemp("robot") / "logs")


@pytest.fixture(scope="module")
def alone(logs) -> Path:
    """A run on logs alone."""
    folder = logs.parent / "alone"
    main(["run", "robot-debug", "--logs", str(logs), "--run", str(folder), *ONE])
    return folder


def said(capsys: pytest.CaptureFixture[str]) -> str:
    printed = capsys.readouterr()
    return " ".join((printed.out + printed.err).split())


def test_logs_alone_are_enough(alone):
    run = open_run(alone)
    assert {found.state for found in status(run).values()} == {"done"}
    results = json.loads((alone / "results.json").read_text())
    assert results["episodes"] == 0 and results["verdict"] == "not asked: there is no environment"
    page = (alone / "report.html").read_text()
    assert "not asked: there is no environment" in page and "global model: state" in page
    checks = json.loads((alone / "gates.json").read_text())["checks"]
    failed = sum(not one["ok"] for one in checks)
    assert f"; {failed} of {len(checks)} gates fail; see " in page
    assert run.config.task.mapping.action_dim == 4 and run.observations.shape[1] == 7


def test_the_same_logs_train_the_same_whoever_named_them_before(alone, capsys):
    main(["run", str(alone)])
    assert "policy: done before, skipped" in said(capsys)


def test_an_environment_judges_what_was_trained_without_it(alone, capsys):
    main(["evaluate", str(alone), "--env", ID, *ONE])
    results = json.loads((alone / "results.json").read_text())
    assert results["episodes"] == 4 and results["random"]["success"]["n"] == 4
    main(["report", str(alone)])
    assert "success at the end" in said(capsys)
    assert "its environment cannot be filmed: NotImplementedError" in (alone / "report.html").read_text()


def test_an_environment_that_can_be_looked_at_is_filmed(alone, capsys):
    main(["evaluate", str(alone), "--env", SHOWN, *ONE])
    main(["report", str(alone)])
    assert "cannot be filmed" not in said(capsys)
    page = (alone / "report.html").read_text()
    assert page.count("<video") == 2 and "is not filmed" not in page


def test_plans_are_judged_beside_the_policy_where_they_are_asked_for(alone, capsys):
    main(["evaluate", str(alone), "--env", ID, "--evaluate.planned", "2", *ONE])
    results = json.loads((alone / "results.json").read_text())
    assert results["icem"]["success"]["n"] == 2 and results["policy"]["success"]["n"] == 4
    main(["report", str(alone)])
    assert "icem" in (alone / "report.html").read_text()
    main(["evaluate", str(alone), "--env", ID, *ONE])


def test_a_warm_start_clones_the_episodes_that_the_baseline_clones(alone, tmp_path):
    found = {}
    for best in ("1", "0.3"):
        run = shutil.copytree(alone, tmp_path / best)
        more = ("--warm-start", "3", "--learn.iterations", "2", "--learn.imitation", "1", "--cloning.best", best)
        main(["train", "policy", str(run), "--replace", *more, *ONE])
        found[best] = load_file(run / "policy" / "warm_start" / "last" / "model.safetensors")
    assert not all(torch.equal(found["1"][name], found["0.3"][name]) for name in found["1"])


def test_what_is_exported_is_of_the_robots_own_features(alone, tmp_path):
    for imagined in ([], ["--imagined", "2", "--control-steps", "5"]):
        out = tmp_path / f"out{len(imagined)}"
        main(["data", "export", str(alone), str(out), *imagined])
        dataset = open_dataset(out)
        assert {name: one.shape for name, one in FEATURES.items() if name != "next.success"}.items() <= {
            name: one.shape for name, one in dataset.features.items()
        }.items()
        action = dataset.episode(0, ["action"])["action"]
        assert (np.abs(action[:, :3]) <= 0.2 + 1e-6).all() and (action[:, 3] >= -1e-6).all()  # two steps of a delta
        known, own = robot_mapping_of(out, dataset), open_run(alone).config.task.mapping
        assert misfits(known, dataset) == [] and (known.streams, known.action) == (own.streams, own.action)
        assert (known.reward_scale, known.stride) == (own.reward_scale, 1)


def test_a_mapping_beside_the_logs_says_what_is_sensed(logs, tmp_path, capsys):
    named = robot_logs(tmp_path / "named")
    mapping = to_dict(robot_mapping_of(named, open_dataset(named)))
    mapping["streams"] = mapping["streams"][:1]
    write_json(beside(named), mapping)
    main(["collect", "robot-debug", "--logs", str(named), "--run", str(tmp_path / "run"), *ONE])
    assert "observation.goal is not used (all 3 numbers)" in said(capsys)
    assert open_run(tmp_path / "run").store.fields.keys() == {"state", "action", "reward", "cont", "success"}


@pytest.mark.parametrize(
    "change, expected",
    [
        ({"streams": []}, "there are no streams and no cameras: nothing"),
        ({"rate": 7.0}, "20 steps a second are no multiple of 7 control steps a second"),
        ({"reward": "score"}, "reward is 'score', which the dataset has not"),
        ({"reward": None}, "reward: there is none"),
        ({"camera": "top"}, "is the mapping of a planar robot that is seen by a camera"),
    ],
)
def test_a_mapping_that_does_not_fit_is_refused_before_anything_is_trained(tmp_path, capsys, change, expected):
    logs = robot_logs(tmp_path / "logs", episodes=3)
    write_json(beside(logs), to_dict(robot_mapping_of(logs, open_dataset(logs))) | change)
    assert expected in refused(capsys, "collect", "robot-debug", "--logs", logs, "--run", tmp_path / "run", *ONE)


@pytest.mark.parametrize(
    "options, expected",
    [
        (["--env", "Nowhere-v0"], "there is no environment 'Nowhere-v0' to judge policies in"),
        (["--env", "CartPole-v1"], "is not the robot of these logs"),
        (["--env", ID, "--env.senses", "observation.goal=aim"], "stream goal reads 'aim' of its observation"),
        (["--env", ID, "--env.senses", "observation.goal=goal[0:2]"], "for which --env.senses names 2"),
        (["--env", ID, "--env.senses", "observation.goal=goal[0:"], "expected numbers and ranges as in goal[0:3,9]"),
        (["--env", ID, "--env.options", "colour"], "--env.options is colour, expected KEY=VALUE"),
        (["--env", ID, "--env.options", "a=1", "a=2"], "--env.options says a 2 times, expected once"),
        (["--env", ID, "--env.options", "colour=red"], "cannot be made with colour=red"),
        (["--env", ID, "--env.success", "won"], "info has no 'won', which is to say success"),
    ],
)
def test_an_environment_of_another_robot_is_refused_before_any_work(logs, tmp_path, capsys, options, expected):
    run = tmp_path / "run"
    assert expected in refused(capsys, "run", "robot-debug", "--logs", logs, "--run", run, *options, *ONE)
    assert not (run / "data").exists()


def test_the_preset_needs_logs(tmp_path, capsys):
    found = refused(capsys, "run", "robot-debug", "--run", tmp_path / "run")
    assert "a robot's preset takes its logs; name them with --logs FOLDER" in found


def test_push_t_is_not_judged_elsewhere(tmp_path, capsys):
    found = refused(capsys, "run", "pusht-keypoints-debug", "--run", tmp_path / "run", "--env", ID)
    assert "Push-T is judged in its own; it is for presets of robots" in found


def test_inspect_proposes_streams_and_says_what_it_took_for_what(logs, capsys):
    main(["data", "inspect", str(logs)])
    found = said(capsys)
    assert "action 3: taken for targets, near what a stream shows (absolute)" in found
    assert '"streams": [{"name": "state", "feature": "observation.state", "columns": [0, 1, 2, 3]' in found


def test_the_doctor_knows_any_mapping_and_leaves_out_what_it_says(tmp_path, capsys):
    logs = robot_logs(tmp_path / "logs", episodes=4)
    main(["data", "inspect", str(logs), "--write"])
    main(["data", "doctor", str(logs), "--processes", "1"])
    found = said(capsys)
    assert "ok copies: no two episodes hold the same numbers" in found and "ok limits of action 0 1 2: 0.0%" in found
    twice = tmp_path / "twice"
    main(["data", "merge", str(logs), str(logs), "--out", str(twice)])
    with pytest.raises(SystemExit):
        main(["data", "doctor", str(twice), "--processes", "1", "--leave-out"])
    assert "fail copies: 4 episodes hold the very numbers of earlier ones: 4, 5, 6, 7" in said(capsys)
    assert robot_mapping_of(twice, open_dataset(twice)).leave_out == (4, 5, 6, 7)
    main(["data", "doctor", str(twice), "--processes", "1"])
    assert "4 of 8 episodes are left out" in said(capsys)


def test_a_diagnosis_is_of_every_stream(alone, monkeypatch):
    monkeypatch.setattr(diagnose, "HORIZONS", (4,))
    main(["diagnose", str(alone)])
    model = json.loads((alone / "diagnosis.json").read_text())["model"]
    assert set(model["drift"]["mirrored"]["20"]) == {"state", "goal"} and 0 <= model["usable_horizon"] <= 20
    assert model["checks"][0]["found"] == model["usable_horizon"]
    assert "state " in (alone / "diagnosis.html").read_text()


def test_a_mapping_that_is_changed_later_is_asked_for_again_by_what_collects_alone(tmp_path, capsys):
    logs, run = robot_logs(tmp_path / "logs"), tmp_path / "run"
    main(["collect", "robot-debug", "--logs", str(logs), "--run", str(run), *ONE])
    mapping = to_dict(robot_mapping_of(logs, open_dataset(logs)))
    write_json(beside(logs), mapping | {"streams": mapping["streams"][:1]})
    main(["train", "codec", str(run), *ONE])
    assert len(open_run(run).config.task.mapping.streams) == 2
    assert "would set aside what is trained" in refused(capsys, "run", run, *ONE)


def test_a_run_goes_on_from_another_folder_than_it_was_begun_in(logs, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(logs.parent)
    main(["collect", "robot-debug", "--logs", "logs", "--run", str(tmp_path / "run"), *ONE])
    assert json.loads((tmp_path / "run" / "config.json").read_text())["logs"] == str(logs)
    main(["train", "codec", "robot-debug", "--run", str(tmp_path / "run"), "--logs", "./logs", *ONE])
    monkeypatch.chdir(tmp_path)
    main(["train", "global", "run", *ONE])
    main(["status", "run"])
    assert "collect done" in said(capsys)
    before = (tmp_path / "run" / "config.json").read_text()  # as earlier versions left it
    (tmp_path / "run" / "config.json").write_text(before.replace(str(logs), logs.name))
    monkeypatch.chdir(logs.parent)
    main(["train", "local", str(tmp_path / "run"), *ONE])
    main(["gates", str(tmp_path / "run"), *ONE])


@pytest.mark.parametrize("verb", ["run", "collect"])
def test_help_says_that_the_preset_needs_logs(verb, capsys):
    with pytest.raises(SystemExit):
        main([verb, "robot", "--help"])
    found = said(capsys)
    assert "--logs PATH the dataset to train on, of any robot" in found and "play is recorded" not in found


def test_a_preset_whose_robot_is_not_known_yet_is_checked_in_silence(tmp_path, capsys, recwarn):
    assert "name them with --logs" in refused(capsys, "compare", "robot-debug", "--run", tmp_path / "study")
    assert not recwarn.list


@pytest.mark.parametrize("damage", ["cut", "empty", "text", "flipped"])
def test_what_was_kept_for_the_data_checks_is_named_where_it_is_damaged(tmp_path, capsys, damage):
    logs, run = robot_logs(tmp_path / "logs", episodes=3), tmp_path / "run"
    write_json(beside(logs), to_dict(robot_mapping_of(logs, open_dataset(logs))) | {"reward": None})
    collect = ("collect", "robot-debug", "--logs", logs, "--run", run, *ONE)
    assert "reward: there is none" in refused(capsys, *collect)
    look = run / "data.recording" / "look-000001.npz"
    content = look.read_bytes()
    damaged = {"cut": content[:200], "empty": b"", "text": b"x" * 99, "flipped": content[:90] + b"?" + content[91:]}
    look.write_bytes(damaged[damage])
    found = refused(capsys, *collect)
    assert f"{look}, what was kept of episode 1 for the data checks, is missing or damaged" in found
    look.unlink()
    assert "reward: there is none" in refused(capsys, *collect) and look.is_file()
