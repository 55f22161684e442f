"""Diagnosis: of a finished run, whole and resumable; and its arithmetic."""

import json
import math

import numpy as np
import pytest
import torch
from torch import Tensor

from glocal.cli import main
from glocal.core.types import Segment, Step
from glocal.evaluate.calibration import calibration, model_checks, rank_correlation, usable_horizon
from glocal.evaluate.report.diagnosis import recommended
from glocal.pipeline import diagnose
from glocal.pipeline.run import open_run
from glocal.pipeline.run_dir import Run
from glocal.pipeline.validate import gate_windows, reader


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("diagnosed") / "run"
    for verb in (["collect"], ["train", "codec"], ["train", "global"], ["train", "local"], ["train", "policy"]):
        main([*verb, "pusht-keypoints-debug", "--run", str(folder)])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(diagnose, "HORIZONS", (4, 8))
        patch.setattr(diagnose, "WINDOWS", 16)
        main(["diagnose", str(folder)])
        yield folder


def test_it_leaves_numbers_and_a_page(run):
    found = json.loads((run / "diagnosis.json").read_text())
    assert set(found["gradients"]) == {"4", "8"}
    bptt = found["gradients"]["8"]["bptt"]
    assert bptt["cosine"] == pytest.approx(1.0, abs=0.05) and bptt["norm_ratio"] == pytest.approx(1.0, abs=0.05)
    assert set(found["model"]["drift"]) == {"true", "shuffled", "zero", "mirrored", "nothing moves"}
    assert found["gradients"]["8"]["decouple"]["bptt_cosine"] is not None and bptt["bptt_cosine"] == pytest.approx(1.0)
    model = found["model"]
    true, others = (
        model["drift"]["true"]["20"],
        [model["drift"][name]["20"] for name in ("shuffled", "zero", "mirrored")],
    )
    follows = min(other["block_px"] for other in others) / true["block_px"]
    expected = [(model["usable_horizon"], 4), (follows, 2), (model["reward"]["rank_correlation"], 0.9)]
    assert [(check["found"], check["at_least"]) for check in model["checks"]] == expected
    assert "<img" in (run / "diagnosis.html").read_text()


class Remembering:
    """A world that knows what was recorded; after any other action it is somewhere else."""

    def __init__(self, recorded: Segment):
        self.recorded = recorded

    def begin(self, segment: Segment, key: int) -> int:
        return segment.obs.shape[1]

    def step(self, context: int, action: Tensor) -> tuple[int, Step]:
        now = self.recorded[:, context]
        known = (action == now.action).all(-1)
        return context + 1, Step(torch.where(known[:, None], now.obs, now.obs + 0.3), now.reward, now.cont)


class Informed(Run):
    """A run whose global model remembers the windows that it is asked about."""

    def world(self) -> Remembering:
        return Remembering(gate_windows(self, reader(self), self.config.world.context, diagnose.ROLLOUT)[0])


def test_a_world_that_answers_as_was_recorded_passes_where_one_that_has_hardly_learned_fails(run):
    known = open_run(run)
    right, untrained = (diagnose._model(each(run, known.config)) for each in (Informed, Run))
    assert right["usable_horizon"] == diagnose.ROLLOUT and right["drift"]["true"]["20"]["block_px"] < 0.01
    assert right["drift"]["zero"]["20"]["block_px"] > 50 and right["reward"]["mean_error"] == 0
    assert [check["ok"] for check in right["checks"]] == [True, True, True]
    assert [check["ok"] for check in untrained["checks"]] == [False, False, False]


def test_what_was_found_before_is_not_looked_for_again(run):
    parts = {path: path.stat().st_mtime_ns for path in (run / "diagnosis").iterdir()}
    main(["diagnose", str(run)])
    assert {path: path.stat().st_mtime_ns for path in parts} == parts and len(parts) == 3


def test_a_run_without_a_policy_is_refused(capsys, tmp_path):
    main(["collect", "pusht-keypoints-debug", "--run", str(tmp_path / "run")])
    with pytest.raises(SystemExit) as stopped:
        main(["diagnose", str(tmp_path / "run")])
    assert stopped.value.code == 2 and "has no trained policy to diagnose" in capsys.readouterr().err


def test_the_usable_horizon_ends_where_either_error_is_too_large():
    medians = [(1.0, 0.01), (5.0, 0.05), (9.0, 0.2), (20.0, 0.1)]
    assert usable_horizon(medians, (15.0, 0.15)) == 2
    assert usable_horizon(medians[:2], (15.0, 0.15)) == 2


@pytest.mark.parametrize(
    "usable, zero, ranked, passed", [(20, 9.0, 0.95, 3), (7, 9.0, 0.95, 2), (20, 3.0, 0.95, 2), (20, 9.0, 0.2, 2)]
)
def test_a_model_passes_that_is_usable_and_follows_actions_and_ranks_rewards(usable, zero, ranked, passed):
    block = {"true": 2.0, "shuffled": 40.0, "zero": zero, "mirrored": 50.0, "nothing moves": 30.0}
    model = {"usable_horizon": usable, "reward": {"rank_correlation": ranked}}
    found = model_checks(model, block, horizon=8)
    assert sum(check["ok"] for check in found) == passed and "zero" in found[1]["name"]


@pytest.mark.parametrize("horizon, said", [(8, "recommended horizon: 8 ("), (None, "no horizon is recommended (")])
def test_where_no_horizon_is_good_none_is_recommended(horizon, said):
    assert recommended({"horizon": horizon, "trained_with": 4, "why": "so"}) == f"{said}trained with 4); so"


def test_rank_correlation_by_hand():
    one = np.array([1.0, 2.0, 3.0, 4.0])
    assert rank_correlation(one, one**3) == pytest.approx(1.0)
    assert rank_correlation(one, -one) == pytest.approx(-1.0)
    assert rank_correlation(one, np.array([1.0, 1.0, 2.0, 2.0])) == pytest.approx(4 / math.sqrt(5 * 4))
    assert math.isnan(rank_correlation(one, np.zeros(4)))


def test_calibration_compares_means_in_bins():
    predicted = np.linspace(0, 1, 100)
    found = calibration(predicted, predicted / 2, bins=4)
    assert len(found["bins"]) == 4 and found["bins"][3][1] == pytest.approx(found["bins"][3][0] / 2)
    assert found["mean_error"] == pytest.approx(0.25)
