"""Any robot with cameras: logs become a policy, all cameras are seen, and reports show them."""

import json
import math
import re
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from glocal import make_vec
from glocal.cli import main
from glocal.core.matching import MatchingConfig
from glocal.data.formats import open_dataset
from glocal.data.ingest import beside, robot_mapping_of
from glocal.data.streams import to_dict
from glocal.models.carried import Carried
from glocal.pipeline import build, validate
from glocal.pipeline.check import check
from glocal.pipeline.run import open_run, status
from glocal.pipeline.run_dir import beginnings
from glocal.runtime.files import UserError, write_json
from tests.refusals import refused
from tests.robots import SHOWN, robot_logs, seeing_logs

ONE = ("--threads", "1", "--processes", "1")
RENDERED = tuple(f"observation.images.{name}=render()" for name in ("top", "side"))


@pytest.fixture(scope="module")
def logs(tmp_path_factory) -> Path:
    return seeing_logs(tmp_path_factory.mktemp("seeing") / "logs")


@pytest.fixture(scope="module")
def seeing(logs) -> Path:
    """A run that observes both cameras."""
    folder = logs.parent / "run"
    main(["run", "robot-images-debug", "--logs", str(logs), "--run", str(folder), *ONE])
    return folder


def test_all_cameras_are_observed_beside_the_numbers(seeing):
    run = open_run(seeing)
    assert {found.state for found in status(run).values()} == {"done"}
    assert [camera.name for camera in run.config.task.mapping.cameras] == ["top", "side"]
    grid = 2 * run.config.codec.side**2
    assert run.observations.shape[1] == 7 + 2 * grid
    assert run.store.fields["top"].shape[1:] == (64, 64, 3) and run.store.fields["side"].dtype == np.uint8
    findings = json.loads((seeing / "doctor.json").read_text())["findings"]
    assert not [one for one in findings if one["name"] == "unused"]


def test_gates_and_report_tell_of_every_camera(seeing):
    gates = json.loads((seeing / "gates.json").read_text())
    assert set(gates["cameras"]) == {"top", "side"} and gates["cameras"]["top"]["psnr_db"] > 5
    assert set(gates["drift"]["global model"]["1"]) == {"state", "goal", "top", "side"}
    page = (seeing / "report.html").read_text()
    assert "Held-out pictures of camera side are drawn again" in page and "global model: top" in page
    with np.load(seeing / "gates" / "rollouts.npz") as file:
        assert file["recorded"].shape[-1] == 7 and file["imagined_side"].shape[2:] == (64, 64, 3)
        assert [*file["names"]] == [f"state {i}" for i in range(4)] + [f"goal {i}" for i in range(3)]
        seen, drawn = ({name: file[f"{side}_{name}"] for name in ("top", "side")} for side in ("seen", "recorded"))
    codec, rows = open_run(seeing).codec, seen["side"].shape[:2]
    fields = {name: torch.from_numpy(frames).flatten(0, 1) for name, frames in seen.items()}
    again = codec.decode(
        codec.encode({"state": torch.zeros(len(fields["top"]), 4), "goal": torch.zeros(len(fields["top"]), 3)} | fields)
    )
    for name, frames in drawn.items():  # the codec's are of the very frames that the camera saw
        assert np.abs(again[name].unflatten(0, rows).numpy().astype(float) - frames).max() <= 1


def test_how_well_pictures_are_drawn_again_does_not_depend_on_how_many_are_decoded_together(seeing, monkeypatch):
    monkeypatch.setattr(validate, "DRAWN_AT_ONCE", 7)
    run = open_run(seeing)
    found, (_, held_out) = validate.draws_again(run, run.codec), run.experience
    assert len(held_out) % 7 and len(held_out) > 14
    first = int(run.store.starts[-1]) - len(held_out)
    for name, drawn in run.codec.decode(held_out.steps.obs).items():
        if name in ("top", "side"):
            error = (drawn.float().numpy() - run.store.fields[name][first:]) / 255
            assert found[name]["psnr_db"] == pytest.approx(-10 * np.log10((error**2).mean()), abs=1e-3)


def test_an_environment_judges_by_what_it_renders(seeing, capsys):
    said = refused(capsys, "evaluate", seeing, "--env", SHOWN, *ONE)
    assert "camera top reads 'images.top' of its observation, which has" in said and "render()" in said
    main(["evaluate", str(seeing), "--env", SHOWN, "--env.senses", *RENDERED, *ONE])
    assert json.loads((seeing / "results.json").read_text())["policy"]["success"]["n"] == 4


def test_imagined_episodes_are_exported_with_their_pictures(seeing, tmp_path):
    main(["data", "export", str(seeing), str(tmp_path / "out"), "--imagined", "2", "--control-steps", "5"])
    dataset = open_dataset(tmp_path / "out")
    assert dataset.features["observation.images.side"].shape == (64, 64, 3)
    assert dataset.episode(1, ["observation.images.top"])["observation.images.top"].shape == (5, 64, 64, 3)


def test_pictures_alone_are_enough(logs, tmp_path, capsys):
    mapping = to_dict(robot_mapping_of(logs, open_dataset(logs)))
    write_json(beside(logs), mapping | {"streams": [], "cameras": mapping["cameras"][:1]})
    try:
        said = refused(capsys, "run", "robot-debug", "--logs", logs, "--run", tmp_path / "none", *ONE)
        assert "holds pictures, and no numbers that are observed; use the preset robot-images" in said
        main(["run", "robot-images-debug", "--logs", str(logs), "--run", str(tmp_path / "blind"), *ONE])
    finally:
        beside(logs).unlink()
    run = open_run(tmp_path / "blind")
    assert run.observations.shape[1] == 2 * run.config.codec.side**2
    unused = [
        one["found"] for one in json.loads((run.folder / "doctor.json").read_text())["findings"]
        if one["name"] == "unused"
    ]  # fmt: skip
    assert "observation.images.side is not used (pictures)" in unused and len(unused) == 3


def test_logs_without_pictures_are_refused_where_pictures_are_wanted(tmp_path, capsys):
    logs = robot_logs(tmp_path / "logs", episodes=4)
    said = refused(capsys, "run", "robot-images-debug", "--logs", logs, "--run", tmp_path / "run", *ONE)
    assert "shows no pictures that its mapping names; use the preset robot" in said and not (tmp_path / "run").exists()


def test_pictures_may_be_drawn_by_diffusion(logs, tmp_path):
    folder = tmp_path / "run"
    main(["run", "robot-pixels-debug", "--logs", str(logs), "--run", str(folder), *ONE])
    with np.load(folder / "gates" / "rollouts.npz") as file:
        assert file["imagined_side"].shape == file["seen_side"].shape and np.ptp(file["imagined_side"]) > 0
    assert {found.state for found in status(open_run(folder)).values()} == {"done"}


def test_a_world_that_draws_pictures_begins_from_the_recorded_ones_wherever_it_is_asked(logs, tmp_path):
    """In gates, training, looks with a judge, planning and export."""
    folder = tmp_path / "run"
    looked = ("--judge", "0.3", "--watch.imagined", "2")
    main(["run", "robot-motion-debug", "--logs", str(logs), "--run", str(folder), *looked, *ONE])
    with np.load(folder / "gates" / "rollouts.npz") as file:
        drawn, seen = (file[f"{side}_side"].astype(float) for side in ("imagined", "seen"))
    assert drawn.shape == seen.shape and np.ptp(drawn) > 0
    rows = [json.loads(line) for line in (folder / "policy" / "log.jsonl").read_text().splitlines()]
    assert any("trust/judge" in row for row in rows)
    main(["evaluate", str(folder), "--env", SHOWN, "--env.senses", *RENDERED, "--evaluate.planned", "2", *ONE])
    assert json.loads((folder / "results.json").read_text())["icem"]["success"]["n"] == 2
    main(["data", "export", str(folder), str(tmp_path / "out"), "--imagined", "2", "--control-steps", "5"])
    assert open_dataset(tmp_path / "out").features["observation.images.side"].shape == (64, 64, 3)
    with pytest.raises(UserError, match=r"--matching\.weight is 1, but this world answers pictures"):
        check(replace(open_run(folder).config, matching=MatchingConfig(weight=1.0)))


def test_pictures_may_be_points_beside_numbers(logs, tmp_path, capsys):
    folder = tmp_path / "run"
    main(["run", "robot-points-debug", "--logs", str(logs), "--run", str(folder), *ONE])
    told, run = " ".join(capsys.readouterr().err.split()), open_run(folder)
    assert re.search(r"found in the logs: top: .*; side: ", told)
    assert re.search(r"top: the numbers tell [012] places? on the robot side: the numbers tell ", told)
    assert run.observations.shape[1] == 7 + 2 * 2 * (run.config.codec.points + run.config.codec.landmarks)
    gates = json.loads((folder / "gates.json").read_text())
    assert set(gates["drift"]["global model"]["1"]) == {"state", "goal", "top", "side"}
    assert set(gates["cameras"]) == {"top", "side"} and (folder / "report.html").is_file()


def test_pictures_may_be_tokens_and_their_dynamics_a_transformer(logs, tmp_path):
    folder = tmp_path / "run"
    main(["run", "robot-dreamer-debug", "--logs", str(logs), "--run", str(folder), *ONE])
    run = open_run(folder)
    tokens = math.prod(run.config.codec.shape)
    assert run.observations.shape[1] == 7 + 2 * tokens
    gates = json.loads((folder / "gates.json").read_text())
    assert set(gates["cameras"]) == {"top", "side"} and (folder / "report.html").is_file()
    with np.load(folder / "gates" / "rollouts.npz") as file:
        assert file["recorded"].shape[-1] == 7 == len(file["names"])


def test_where_things_are_around_a_robot_goes_the_whole_way(logs, tmp_path, capsys):
    run = tmp_path / "run"
    env = ("--env", SHOWN, "--env.senses", *RENDERED)
    short = ("--task.control-steps", "4", "--evaluate.filmed", "0")
    main(["run", "robot-ego-debug", "--logs", str(logs), "--run", str(run), *ONE, *env, *short])
    printed = capsys.readouterr()
    assert "colours are of things that have a place" in printed.out + printed.err
    made = open_run(run)
    assert {found.state for found in status(made).values()} == {"done"}
    assert made.observations.shape[1] == 7 + 2 * 3 * made.config.codec.colours
    assert made.codec.missed.any(), "what was noted in training is kept"
    assert made.experience[0].fresh == made.config.codec.fresh > 0, "half of the windows begin with nothing seen"
    known = made.codec.hindsight(made.observations.float(), beginnings(made.store))
    for part in made.experience:
        told = made.for_world(part).hindsight
        assert told is not None and torch.equal(told, known[part.stored])
    assert made.world().features.in_sight == made.codec.in_sight and made.surrogate().features.in_sight is None
    assert (made.world().follow, made.world().hindsight) == (made.codec.follow, made.codec.hindsight)
    for model in (made.world(), made.surrogate()):
        assert isinstance(model.features, Carried) and model.features.motion.any()
        assert torch.equal(model.features.motion, made.codec.around.leading)
    again = build.build_surrogate(made.config)
    build.carry_along(again, made.codec)
    again.fit_statistics(made.experience[0].pairs())
    assert torch.allclose(again.features.scale, made.surrogate().features.scale)
    assert all(camera.filmed for camera in made.config.task.mapping.cameras), "these logs keep videos"
    assert json.loads((run / "results.json").read_text())["policy"]["success"]["n"] == 4

    said = refused(capsys, "data", "export", run, tmp_path / "out", "--imagined", 2)
    assert "tells where things are and draws no pictures" in said and not (tmp_path / "out").exists()
    with pytest.raises(UserError, match="no pictures are drawn of"):
        make_vec(run, render_mode="rgb_array")
    assert make_vec(run, 2).reset(seed=0)[0].shape == (2, made.observations.shape[1])


def test_episodes_that_gates_cannot_look_ahead_in_are_refused_before_anything_is_trained(tmp_path, capsys):
    run, logs = tmp_path / "run", seeing_logs(tmp_path / "logs", steps=24)
    said = refused(capsys, "run", "robot-images-debug", "--logs", logs, "--run", run, *ONE)
    assert "held-out episodes has 11 control steps, and the gates look 20 ahead" in said
    assert open_run(run).store.hash and not (run / "codec").exists()


def test_shares_that_cannot_be_leave_what_is_trained(seeing, tmp_path, capsys):
    run = tmp_path / "run"
    shutil.copytree(seeing, run, symlinks=True)
    before = sorted((run / "previous").glob("*"))
    assert "too few to hold out" in refused(capsys, "run", run, "--judge", 0.99, "--replace")
    assert (run / "codec" / "last").exists() and sorted((run / "previous").glob("*")) == before


def test_of_episodes_shorter_than_its_windows_it_says_so(logs, tmp_path, capsys):
    words = refused(
        capsys, "run", "robot-ego-debug", "--logs", logs, "--run", tmp_path / "run", "--codec.rows", 100, *ONE
    )
    assert "no recorded episode is as long as --codec.rows, 100" in words
