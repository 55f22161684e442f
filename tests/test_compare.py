"""Comparisons: all methods between the same models, whole, resumable, and refused where they make no sense."""

import json

import pytest

from glocal.cli import main
from glocal.compare import CLONED, Study
from glocal.compare import METHODS as METHODS_KNOWN
from glocal.config import PRESETS
from glocal.core.improve import ImproveConfig
from glocal.evaluate.comparison import claimed, steps_to, summary
from glocal.training import read_log

PLAIN = ("--seeds", "0", "1", "--watch.imagined", "0")
METHODS = ("decouple", "bptt", "ppo", "ppo-same", "ppo-warm", "cloning", "cloning-best", "chunks")


def compare(folder, *options):
    main(["compare", "pusht-keypoints-debug", "--run", str(folder), "--steps", "400", *options])


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    folder = tmp_path_factory.mktemp("studies") / "study"
    compare(folder, "--methods", *METHODS, *PLAIN)
    return folder


@pytest.fixture(scope="module")
def judged(tmp_path_factory):
    """Another study, on other data, with a judge."""
    folder = tmp_path_factory.mktemp("studies") / "judged"
    compare(folder, "--methods", "decouple", "--seeds", "0", "--seed", "1", "--judge", "0.3")
    return folder


def test_every_method_has_a_verdict_over_seeds(study):
    found = json.loads((study / "comparison.json").read_text())
    assert list(found["methods"]) == list(METHODS) and found["seeds"] == [0, 1]
    assert all(row["pose"]["pooled"]["n"] == 8 for row in found["methods"].values())
    assert "<img" in (study / "comparison.html").read_text()


def test_cells_share_their_models_and_differ_in_their_policies(study):
    weights = {}
    for method in METHODS:
        for seed in (0, 1):
            cell = study / method / f"seed{seed}"
            assert (cell / "global").resolve() == (study / "base" / "global").resolve()
            kind = "cloning" if method in CLONED else "policy"
            weights[method, seed] = (cell / kind / "last" / "model.safetensors").read_bytes()
    assert len(set(weights.values())) == len(weights)


def test_what_is_done_is_not_done_again(study):
    stamps = {path: path.stat().st_mtime_ns for path in study.rglob("verdict.json")}
    policies = {path: path.stat().st_mtime_ns for path in study.rglob("policy/last/model.safetensors")}
    compare(study, "--methods", *METHODS, *PLAIN)
    assert {path: path.stat().st_mtime_ns for path in stamps} == stamps
    assert {path: path.stat().st_mtime_ns for path in policies} == policies


def test_imagination_that_is_restarted_runs_for_one_horizon():
    config = PRESETS["pusht-keypoints"]
    found = METHODS_KNOWN["imagine-restarted"](Study(config, 1e5)).learn
    assert isinstance(found, ImproveConfig)
    assert (found.link, found.episode, found.horizon) == ("imagine", config.learn.horizon, config.learn.horizon)


def test_a_method_that_does_not_exist_is_refused(tmp_path, capsys):
    with pytest.raises(SystemExit) as stopped:
        compare(tmp_path / "study", "--methods", "magic")
    assert stopped.value.code == 2 and not (tmp_path / "study").exists()
    assert "there is no method 'magic'" in capsys.readouterr().err


def test_claims_of_both_worlds_stand_beside_the_verdict(judged):
    verdict = json.loads((judged / "decouple" / "seed0" / "verdict.json").read_text())
    for world in ("own", "judge"):
        assert verdict["claims"][world]["n"] == 4 and 0 <= verdict["claims"][world]["true"] <= 4
    assert json.loads((judged / "comparison.json").read_text())["claims"]["judge"]["policies"] == 1
    rows = read_log(judged / "decouple" / "seed0" / "policy")
    assert {"trust/own", "trust/judge", "trust/alarm", "trust/distance", "trust/cosine"} <= {
        k for row in rows for k in row
    }


def test_a_finished_run_on_the_same_data_stands_in_the_table(study):
    cell = study / "decouple" / "seed1"
    compare(study, "--methods", "cloning", *PLAIN, "--runs", str(cell))
    found = json.loads((study / "comparison.json").read_text())["methods"]
    assert set(found) == {"cloning", "study/decouple"} and found["study/decouple"]["pose"]["pooled"]["n"] == 4


def test_a_run_on_other_data_is_refused(study, judged, capsys):
    with pytest.raises(SystemExit) as stopped:
        compare(study, "--methods", "cloning", *PLAIN, "--runs", str(judged / "decouple" / "seed0"))
    assert stopped.value.code == 2
    assert "was trained on other data" in " ".join(capsys.readouterr().err.split())


def test_a_run_without_a_policy_is_refused(study, capsys):
    with pytest.raises(SystemExit) as stopped:
        compare(study, "--methods", "cloning", *PLAIN, "--runs", str(study / "base"))
    assert stopped.value.code == 2 and "has no trained policy to compare" in " ".join(capsys.readouterr().err.split())


def test_a_study_in_the_folder_of_a_run_is_refused(study, capsys):
    before = sorted((study / "base").iterdir())
    with pytest.raises(SystemExit) as stopped:
        compare(study / "base", "--methods", "cloning", *PLAIN)
    assert stopped.value.code == 2 and "a study is a folder of runs" in " ".join(capsys.readouterr().err.split())
    assert sorted((study / "base").iterdir()) == before


def test_a_preset_is_needed(capsys):
    with pytest.raises(SystemExit) as stopped:
        main(["compare", "nowhere"])
    assert stopped.value.code == 2
    assert "not a preset" in capsys.readouterr().err


def test_episodes_of_all_seeds_are_counted_together():
    cells = [
        {"seconds": s, "looks": [], "verdict": {k: {"k": s, "n": 10} for k in ("pose", "coverage95")}} for s in (2, 4)
    ]
    found = summary(cells)
    assert found["pose"]["pooled"]["k"] == 6 and found["pose"]["pooled"]["n"] == 20 and found["seconds"] == 3


def test_claims_are_paired_with_what_was_real():
    def cell(imagined: int, real: int, worlds: tuple[str, ...]) -> dict:
        return {"verdict": {"pose": {"k": real, "n": 10}, "claims": {w: {"k": imagined, "n": 20} for w in worlds}}}

    cells = {("a", 0): cell(10, 4, ("own", "judge")), ("b", 0): cell(20, 9, ("own",))}
    assert claimed(cells, "own") == [(0.5, 0.4), (1.0, 0.9)] and claimed(cells, "judge") == [(0.5, 0.4)]


def test_steps_are_told_at_the_first_look_at_which_the_mean_of_the_seeds_is_there():
    def looks(*rates: float) -> list[dict[str, float]]:
        return [{"imag/steps": 10.0 * (i + 1), "eval/pose": rate} for i, rate in enumerate(rates)]

    seeds = [looks(0.0, 0.8, 0.2, 1.0), looks(0.0, 0.1, 0.9, 1.0)]
    assert steps_to(seeds, "pose", 0.5) == 30.0 and steps_to(seeds, "pose", 0.9) == 40.0
    assert steps_to(seeds[:1], "pose", 0.5) == 20.0 and steps_to([looks(0.1)], "pose", 0.5) is None
