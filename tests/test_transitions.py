"""`glocal.transitions`: what a run's models are trained on, as rows for offline learning."""

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch

import glocal
from glocal.cli import main
from glocal.core.types import Segment
from glocal.data.segments import Recorded
from glocal.deploy.actors import acted_by
from glocal.pipeline.run import open_run
from glocal.pipeline.transitions import believed, rows_of
from tests.refusals import refused
from tests.robots import robot_logs

ONE = ("--threads", "1", "--processes", "1")
NAMES = {"observations", "actions", "rewards", "next_observations", "terminals", "timeouts"}


@pytest.fixture(scope="module")
def reaching(tmp_path_factory):
    """A run on a robot's logs, up to the local model."""
    folder = tmp_path_factory.mktemp("reaching")
    logs, run = robot_logs(folder / "logs"), folder / "run"
    main(["collect", "robot-debug", "--logs", str(logs), "--run", str(run), *ONE])
    for stage in ("codec", "global", "local"):
        main(["train", stage, str(run), *ONE])
    return run


def test_rows_are_what_was_seen_done_earned_and_seen_then():
    recorded = _recorded()
    found = rows_of(recorded, recorded.steps.obs, 2.0)
    assert set(found) == NAMES
    np.testing.assert_array_equal(found["observations"][:, 0], [0, 1, 3, 5])
    np.testing.assert_array_equal(found["next_observations"][:, 0], [1, 2, 4, 6])
    np.testing.assert_array_equal(found["actions"][:, 0], np.float32([0.1, 0.2, 0.4, 0.6]))
    np.testing.assert_array_equal(found["rewards"], [20, 40, 80, 120])
    np.testing.assert_array_equal(found["terminals"], [False, False, True, False])
    np.testing.assert_array_equal(found["timeouts"], [False, True, False, True])


def test_rewards_are_those_of_the_logs(reaching):
    found, held = glocal.transitions(reaching), glocal.transitions(reaching, held_out=True)
    assert len(found["rewards"]) > len(held["rewards"]) > 0
    logged = pq.read_table(next((reaching.parent / "logs" / "data").rglob("*.parquet")))["next.reward"].to_numpy()
    told = np.concatenate([found["rewards"], held["rewards"]])
    assert np.isin(told.round(3), np.concatenate(logged).round(3) if logged.dtype == object else logged.round(3)).all()
    assert found["timeouts"].sum() == open_run(reaching).experience[0].episodes
    assert not found["terminals"].any()
    assert np.abs(found["actions"]).max() <= 1


def test_beliefs_are_those_that_an_actor_sees(reaching):
    run = open_run(reaching)
    recorded = run.experience[1]
    beliefs = believed(run.surrogate(), recorded)
    starts = recorded.first.unique()
    asked = []

    def actor(feat):
        asked.append(feat)
        return recorded.steps.action[starts + len(asked)].numpy()

    class AsItIs:
        reads = ("obs",)

        def observe(self, fields, before=None):
            return fields["obs"]

    control = acted_by(actor, AsItIs(), run.surrogate())  # pyright: ignore[reportArgumentType]
    next(control)
    for t in range(5):
        control.send([{"obs": recorded.steps.obs[row].numpy()} for row in starts + t])
        torch.testing.assert_close(asked[t], beliefs[starts + t], atol=1e-5, rtol=1e-5)
    assert not torch.equal(beliefs[starts + 1], beliefs[starts + 4])


def test_the_command_writes_what_the_call_returns(reaching, tmp_path, capsys):
    out = tmp_path / "deep" / "rows.npz"
    main(["data", "transitions", str(reaching), "--out", str(out), "--observe", "belief"])
    assert "transitions, observations of" in " ".join(capsys.readouterr().err.split())
    with np.load(out) as kept:
        told = glocal.transitions(reaching, observe="belief")
        assert set(kept) == NAMES
        for name in NAMES:
            np.testing.assert_array_equal(kept[name], told[name])


def test_what_cannot_be_done_is_refused(reaching, tmp_path, capsys):
    assert "call it" in refused(capsys, "data", "transitions", reaching, "--out", tmp_path / "rows.csv")
    logs = reaching.parent / "logs"
    for inside in (logs / "meta" / "x.npz", reaching / "data" / "x.npz"):
        assert "is inside the data set" in refused(capsys, "data", "transitions", reaching, "--out", inside)
    (tmp_path / "mine.npz").write_text("kept")
    assert "exists already" in refused(capsys, "data", "transitions", reaching, "--out", tmp_path / "mine.npz")
    assert (tmp_path / "mine.npz").read_text() == "kept"
    assert "is no run" in refused(capsys, "data", "transitions", tmp_path, "--out", tmp_path / "rows.npz")
    begun = tmp_path / "begun"
    main(["collect", "robot-debug", "--logs", str(reaching.parent / "logs"), "--run", str(begun), *ONE])
    wanted = refused(capsys, "data", "transitions", begun, "--out", tmp_path / "r.npz", "--observe", "belief")
    assert "no finished codec stage" in wanted
    assert not (tmp_path / "r.npz").exists()


def _recorded() -> Recorded:
    """Three episodes: of three rows, of two that end the task, and of two."""
    count = torch.arange(7.0)
    cont = torch.tensor([1.0, 1, 1, 1, 0, 1, 1])
    steps = Segment(count[:, None], 0.1 * count[:, None], 10 * count, cont)
    return Recorded.joined(steps, torch.tensor([0, 0, 0, 3, 3, 5, 5]))
