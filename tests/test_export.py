"""A run's recorded episodes as a dataset: what was stored is what is written, and what is taken in again."""

from pathlib import Path

import numpy as np
import pytest

from glocal.cli import main
from glocal.data.formats import open_dataset
from glocal.data.mapping import apply
from glocal.deploy.interface import PUSHT as MAPPING
from glocal.pipeline.run import open_run
from glocal.pipeline.stamps import stamp_path


@pytest.fixture(scope="module")
def exported(tmp_path_factory) -> Path:
    """A folder with a run and what was exported of it."""
    folder = tmp_path_factory.mktemp("exported")
    main(["collect", "pusht-keypoints-debug", "--run", str(folder / "run")])
    main(["data", "export", str(folder / "run"), str(folder / "out")])
    return folder


def test_recorded_episodes_are_written_as_they_are_stored(exported):
    store, dataset = open_run(exported / "run").store, open_dataset(exported / "out")
    assert len(dataset) == len(store) and dataset.fps == 5
    rows, found = store.episode(3), dataset.episode(3, list(dataset.features))
    assert np.array_equal(found["observation.environment_state"], rows["keypoints"][:-1])
    target = np.clip(rows["agent"][:-1] + 50 * rows["action"][1:], 0, 512)
    assert np.allclose(found["action"], target, atol=1e-3)
    assert np.array_equal(found["next.reward"][:, 0], rows["reward"][1:])
    assert found["next.done"][:, 0].tolist() == [False] * (len(target) - 1) + [True]


def test_what_is_exported_is_taken_in_with_the_same_control_steps(exported):
    """But for the last one: what it led to is not written, and what came of it counts for the row before."""
    dataset, rows = open_dataset(exported / "out"), open_run(exported / "run").store.episode(3)
    blank = {MAPPING.camera: np.zeros((dataset.lengths[3], *MAPPING.picture, 3), np.uint8)}
    again = apply(MAPPING, dataset.episode(3, list(dataset.features)) | blank)
    assert len(again["reward"]) == len(rows["reward"]) - 1
    assert np.array_equal(again["reward"][1:-1], rows["reward"][1:-2]) and again["reward"][-1] == rows["reward"][-1]
    target = np.clip(rows["agent"][:-1] + 50 * rows["action"][1:], 0, 512)  # the table ends there
    assert np.allclose(again["action"][1:], (target - rows["agent"][:-1])[:-1] / 50, atol=1e-4)
    assert np.array_equal(again["agent"], rows["agent"][:-1])


def test_of_a_policy_that_is_half_trained_it_is_said(tmp_path, capsys):
    """As while `train policy` is at work: a checkpoint is there, and no stamp."""
    run = tmp_path / "run"
    for verb in (("collect",), ("train", "global"), ("train", "local"), ("train", "policy")):
        main([*verb, "pusht-keypoints-debug", "--run", str(run)])
    export = ("data", "export", str(run), "--imagined", "2", "--control-steps", "3")
    capsys.readouterr()
    main([*export, str(tmp_path / "whole")])
    assert "note" not in capsys.readouterr().err
    stamp_path(run, "policy").unlink()
    main([*export, str(tmp_path / "half")])
    assert "note: the training of policy in" in capsys.readouterr().err
    assert list(open_dataset(tmp_path / "half").lengths) == [3, 3]
