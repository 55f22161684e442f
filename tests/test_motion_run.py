"""Push-T in a world that draws pictures, all the way: what begins there begins from recorded ones."""

import json
from pathlib import Path

import numpy as np
import pytest

from glocal.cli import main
from glocal.pipeline import diagnose
from glocal.pipeline.run import open_run
from tests.refusals import refused

ONE = ("--threads", "1", "--processes", "1")


@pytest.fixture(scope="module")
def drawn(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("motion") / "run"
    main(["run", "pusht-motion-debug", "--run", str(folder), *ONE])
    return folder


def test_gates_show_recorded_pictures_beside_imagined_ones(drawn):
    run = open_run(drawn)
    with np.load(drawn / "gates" / "rollouts.npz") as file:
        recorded, imagined = file["recorded_image"], file["imagined_image"]
    assert recorded.shape == imagined.shape == (*recorded.shape[:2], 64, 64, 3)
    stored = run.store.fields["image"]
    assert all((stored == frame).all((1, 2, 3)).any() for frame in recorded[:, -1])


def test_a_diagnosis_begins_from_pictures(drawn, monkeypatch):
    monkeypatch.setattr(diagnose, "HORIZONS", (4, 8))
    monkeypatch.setattr(diagnose, "WINDOWS", 16)
    main(["diagnose", str(drawn), *ONE])
    found = json.loads((drawn / "diagnosis" / "gradients-8.json").read_text())["found"]
    assert set(found) >= {"decouple", "imagine"}


def test_actions_in_pixels_are_not_told_where_nothing_says_where_the_agent_is(drawn, tmp_path, capsys):
    told = refused(capsys, "data", "export", drawn, tmp_path / "out", "--imagined", "2")
    assert "does not say where the agent is" in told and not (tmp_path / "out").exists()


def test_a_method_of_comparisons_plans_in_it(tmp_path):
    folder = tmp_path / "compared"
    asked = ("--methods", "icem", "--steps", "200", "--seeds", "0", "--evaluate.episodes", "1")
    main(["compare", "pusht-motion-debug", "--run", str(folder), *asked, *ONE])
    assert set(json.loads((folder / "comparison.json").read_text())["methods"]) == {"icem"}
