"""Logs of two actions and cameras: they may be of a planar robot, or of any other one, which is then said."""

from pathlib import Path

import numpy as np
import pytest

from glocal.cli import main
from glocal.data.formats import open_dataset
from glocal.data.mapping import Mapping
from glocal.data.mappings import load
from glocal.data.propose import is_planar
from glocal.data.streams import RobotMapping
from glocal.deploy.interface import PUSHT, of_pusht
from glocal.pipeline.label.job import Job, open_logs
from glocal.runtime.files import UserError
from glocal.tasks.pusht import PushTConfig


@pytest.fixture
def logs(tmp_path) -> Path:
    folder = tmp_path / "logs"
    folder.mkdir()
    rng = np.random.default_rng(0)
    for number in range(5):
        steps = 30
        pictures = {
            f"observation.images.{name}": rng.integers(0, 255, (steps, 8, 8, 3), np.uint8) for name in ("a", "b")
        }
        told = {"action": rng.uniform(-1, 1, (steps, 2)), "observation.state": rng.normal(size=(steps, 4)).cumsum(0)}
        np.savez(folder / f"{number}.npz", **{name: x.astype(np.float32) for name, x in told.items()}, **pictures)
    assert is_planar(open_dataset(folder))
    return folder


@pytest.mark.parametrize("words, kind", [((), Mapping), (("--robot",), RobotMapping)])
def test_the_doctor_leaves_episodes_out_of_the_mapping_that_is_asked_for(logs, words, kind):
    with np.load(logs / "2.npz") as file:
        spoilt = dict(file)
    spoilt["observation.state"][7] = np.nan
    np.savez(logs / "2.npz", **spoilt)
    with pytest.raises(SystemExit):
        main(["data", "doctor", str(logs), "--leave-out", "--processes", "1", *words])
    found = load(logs / "glocal.json")
    assert isinstance(found, kind) and 2 in found.leave_out


def test_labels_look_through_the_camera_that_is_named(logs, tmp_path):
    with pytest.raises(UserError, match="say it with --camera"):
        open_logs(Job(logs, tmp_path / "out", fps=10.0))
    found = open_logs(Job(logs, tmp_path / "out", fps=10.0, camera="b"))
    assert found.job.camera == "observation.images.b" and isinstance(found.known, RobotMapping)


def test_what_a_planar_robot_shows_and_is_told_is_as_wide_as_in_the_logs():
    shapes = {PUSHT.state: [4], PUSHT.action: [3]}
    found = of_pusht(PushTConfig(), PUSHT, (96, 96), ("image", "agent"), shapes)
    assert found.needs == {PUSHT.state: (4,), PUSHT.camera: (96, 96, 3)} and found.action[0].width == 3
    narrow = of_pusht(PushTConfig(), PUSHT, (96, 96), ("image", "agent"), {})
    assert narrow.needs[PUSHT.state] == (2,) and narrow.action[0].width == 2
