"""Comparisons: all methods between the same models, whole, resumable, and refused where they make no sense."""

import json
import shutil
from dataclasses import replace

import pytest

from glocal.cli import main
from glocal.core.improve import ImproveConfig
from glocal.evaluate.scores import PUSHT, ROBOT, claimed, looked, steps_to, summary
from glocal.pipeline.compare import named
from glocal.pipeline.methods import CLONED, PLANNED, STEPS, Study, usual_steps
from glocal.pipeline.methods import METHODS as METHODS_KNOWN
from glocal.pipeline.presets import PRESETS
from glocal.runtime.files import UserError, write_json
from glocal.runtime.trainer import read_log
from tests.finished import DEBUG, finished_run
from tests.robots import ID, SHOWN, robot_logs

PLAIN = ("--seeds", "0", "1", "--watch.imagined", "0")
METHODS = (
    "decouple",
    "bptt",
    "ppo",
    "ppo-same",
    "ppo-warm",
    "cloning",
    "cloning-best",
    "chunks",
    "icem",
    "icem-prior",
    "mppi",
)
TWICE = ("decouple", "cloning")
"""Those that are trained with two seeds."""


def compare(folder, *options):
    main(["compare", "pusht-keypoints-debug", "--run", str(folder), "--steps", "400", *options])


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    folder = tmp_path_factory.mktemp("studies") / "study"
    compare(folder, "--methods", *METHODS, "--seeds", "0", "--watch.imagined", "0")
    compare(folder, "--methods", *TWICE, *PLAIN)
    return folder


@pytest.fixture
def copied(study, tmp_path):
    """The study, to be changed."""
    return shutil.copytree(study, tmp_path / "copied", symlinks=True)


def refused(capsys, folder, *options):
    capsys.readouterr()
    with pytest.raises(SystemExit) as stopped:
        compare(folder, *options)
    assert stopped.value.code == 2
    return " ".join(capsys.readouterr().err.split())


def content(folder, *patterns):
    return {path: path.read_bytes() for pattern in patterns for path in folder.rglob(pattern)}


def table(folder):
    return json.loads((folder / "comparison.json").read_text())["methods"]


@pytest.fixture(scope="module")
def judged(tmp_path_factory):
    """Another study, on other data, with a judge."""
    folder = tmp_path_factory.mktemp("studies") / "judged"
    compare(folder, "--methods", "decouple", "--seeds", "0", "--seed", "1", "--judge", "0.3")
    return folder


def test_every_method_has_a_verdict_over_seeds(study):
    found = json.loads((study / "comparison.json").read_text())
    assert set(found["methods"]) == set(METHODS) and found["seeds"] == [0, 1]
    counted = {name: row["pose"]["pooled"]["n"] for name, row in found["methods"].items()}
    assert counted == {name: 8 if name in TWICE else 4 for name in METHODS}
    assert "<img" in (study / "comparison.html").read_text()


def test_cells_share_their_models_and_differ_in_their_policies(study):
    weights = {}
    for method in METHODS:
        for seed in (0, 1) if method in TWICE else (0,):
            cell = study / method / f"seed{seed}"
            assert (cell / "global").resolve() == (study / "base" / "global").resolve()
            if method in PLANNED:
                continue
            kind = "cloning" if method in CLONED else "policy"
            weights[method, seed] = (cell / kind / "last" / "model.safetensors").read_bytes()
    assert len(set(weights.values())) == len(weights)
    assert not (study / "icem" / "seed0" / "policy").exists()
    prior = study / "icem-prior" / "seed0" / "policy"
    assert prior.is_symlink() and prior.resolve() == (study / "decouple" / "seed0" / "policy").resolve()


def test_other_plans_are_judged_anew(copied):
    path = copied / "icem" / "seed0" / "verdict.json"
    before = path.stat().st_mtime_ns
    compare(copied, "--methods", "icem", "--seeds", "0", "--watch.imagined", "0")
    assert path.stat().st_mtime_ns == before
    compare(copied, "--methods", "icem", "--seeds", "0", "--watch.imagined", "0", "--icem.horizon", "2")
    assert path.stat().st_mtime_ns != before


def test_what_is_done_is_not_done_again(study):
    stamps = {path: path.stat().st_mtime_ns for path in study.rglob("verdict.json")}
    policies = {path: path.stat().st_mtime_ns for path in study.rglob("policy/last/model.safetensors")}
    compare(study, "--methods", *METHODS, "--seeds", "0", "--watch.imagined", "0")
    assert {path: path.stat().st_mtime_ns for path in stamps} == stamps
    assert {path: path.stat().st_mtime_ns for path in policies} == policies


def test_imagination_that_is_restarted_runs_for_one_horizon():
    config = PRESETS["pusht-keypoints"]
    found = METHODS_KNOWN["imagine-restarted"](Study(config, 1e5)).learn
    assert isinstance(found, ImproveConfig)
    assert (found.link, found.episode, found.horizon) == ("imagine", config.learn.horizon, config.learn.horizon)


def test_methods_are_compared_on_any_robot_that_an_environment_stands_for(tmp_path, capsys):
    logs, folder, methods = robot_logs(tmp_path / "logs"), tmp_path / "study", ("mppi-prior", "ppo", "cloning", "icem")
    arguments = ["compare", "robot-debug", "--logs", str(logs), "--run", str(folder), "--steps", "400"]
    arguments += ["--methods", *methods, "--seeds", "0", "--processes", "1"]
    with pytest.raises(SystemExit):
        main(arguments)
    assert "name the robot's with --env ID" in " ".join(capsys.readouterr().err.split()) and not folder.exists()
    main([*arguments, "--env", ID])
    found = json.loads((folder / "comparison.json").read_text())
    assert set(found["methods"]) == {*methods, "decouple"} and found["claims"]["looks"]["policies"] > 0
    path = folder / "icem" / "seed0" / "verdict.json"
    before = path.stat().st_mtime_ns
    main([*arguments, "--env", ID])
    assert path.stat().st_mtime_ns == before
    main([*arguments, "--env", SHOWN])  # another environment may say otherwise
    assert path.stat().st_mtime_ns != before
    assert all(row["success_at_end"]["pooled"]["n"] == 4 for row in found["methods"].values())


def test_a_look_is_held_against_what_the_task_counts():
    looks = [{"trust/own": 0.5, "eval/success": 0.25, "eval/max_coverage": 0.75}]
    cells = {("a", 0): {"looks": looks}}
    assert looked(cells, ROBOT) == [(0.5, 0.25)] and looked(cells, PUSHT) == [(0.5, 0.75)]


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


def test_policies_with_other_options_are_asked_for_before_any_is_trained(study, capsys):
    before = content(study, "model.safetensors", "config.json", "*.html")
    said = refused(capsys, study, "--methods", "freeze", "decouple", *PLAIN, "--learn.gamma", "0.5")
    assert "--learn.gamma is 0.97 there and 0.5 here" in said and "--replace" in said and "decouple/seed0" in said
    assert content(study, "model.safetensors", "config.json", "*.html") == before and not (study / "freeze").exists()


def test_policies_that_are_replaced_are_kept(copied):
    weights = copied / "cloning" / "seed0" / "cloning" / "last" / "model.safetensors"
    before, more = weights.read_bytes(), ("--cloning-fit.updates", "3", "--replace")
    compare(copied, "--methods", "cloning", "--seeds", "0", "--watch.imagined", "0", *more)
    (kept,) = (copied / "cloning" / "seed0" / "previous").glob("*/cloning/last/model.safetensors")
    assert kept.read_bytes() == before != weights.read_bytes()


def test_a_comparison_of_fewer_methods_keeps_the_others_in_the_table(copied):
    everything = table(copied)
    compare(copied, "--methods", "cloning", "--seeds", "1", "--watch.imagined", "0")
    assert table(copied) == everything and next(iter(table(copied))) == "cloning"


def test_cells_of_another_study_in_the_same_folder_are_left_out_of_the_table_and_named(copied, capsys):
    compare(copied, "--methods", "cloning", *PLAIN, "--steps", "800")
    assert set(table(copied)) == {*CLONED, "icem", "mppi"}
    said = " ".join(capsys.readouterr().err.split())
    assert "decouple, seed 0, is not in the table: stale, the configuration of learn changed" in said


def test_a_finished_run_stands_in_the_table_judged_as_the_study_is_and_stays_as_it_is(study, copied, tmp_path):
    cell = shutil.copytree(study / "decouple" / "seed1", tmp_path / "decouple")  # called as a method is
    (cell / "verdict.json").unlink()
    told = json.loads((cell / "config.json").read_text())
    write_json(cell / "config.json", {**told, "evaluate": {**told["evaluate"], "episodes": 2, "first_seed": 5}})
    before = content(cell, "*.json", "model.safetensors")
    before.pop(cell / "stages" / "digests.cache.json")
    compare(copied, "--methods", "cloning", *PLAIN, "--runs", str(cell))
    found = table(copied)
    own = json.loads((study / "decouple" / "seed1" / "verdict.json").read_text())
    (name,) = set(found) - set(METHODS)
    assert name == f"{tmp_path.name}/decouple" and found["decouple"]["pose"]["pooled"]["n"] == 8
    assert {key: found[name]["pose"]["pooled"][key] for key in ("k", "n")} == {
        key: own["pose"][key] for key in ("k", "n")
    }
    after = content(cell, "*.json", "model.safetensors")
    assert {path: value for path, value in after.items() if path.name != "digests.cache.json"} == before


def test_a_cell_of_the_study_is_not_counted_twice(copied):
    compare(copied, "--methods", "cloning", *PLAIN, "--runs", str(copied / "decouple" / "seed1"))
    assert set(table(copied)) == set(METHODS)


@pytest.mark.parametrize(
    "places, names",
    [
        (("mine",), ["mine"]),
        (("decouple",), ["{}/decouple"]),
        (("a/mine", "b/mine"), ["a/mine", "b/mine"]),
        (("s/one/seed0", "t/s/one/seed0"), ["{}/s/one", "t/s/one"]),
        (("s/one/seed0", "s/one/seed1"), ["one/seed0", "one/seed1"]),  # of the same policy seed
    ],
)
def test_runs_are_called_by_so_much_of_their_paths_that_none_is_mistaken_for_another(tmp_path, places, names):
    found = named([finished_run(tmp_path / place) for place in places])
    assert list(found) == [(name.format(tmp_path.name), 0) for name in names]
    assert [run.folder for run in found.values()] == [tmp_path / place for place in places]


def test_runs_of_several_seeds_in_one_folder_are_one_method(tmp_path):
    runs = [finished_run(tmp_path / f"s/one/seed{seed}", replace(DEBUG, policy_seed=seed)) for seed in (0, 1)]
    assert list(named(runs)) == [("s/one", 0), ("s/one", 1)]


def test_a_run_that_is_named_twice_is_refused(tmp_path):
    run = finished_run(tmp_path / "mine")
    with pytest.raises(UserError, match="mine twice; name every run once"):
        named([run, run])


def test_debug_presets_take_few_steps_unless_more_are_asked_for():
    found = {name: usual_steps(config) for name, config in PRESETS.items()}
    assert all(steps < 1000 if name.endswith("-debug") else steps == STEPS for name, steps in found.items())


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
    said = capsys.readouterr().err
    assert "not a preset" in said and "--runs" in said
    main([])
    assert "`compare` takes a preset" in capsys.readouterr().out


def test_episodes_of_all_seeds_are_counted_together():
    cells = [
        {"seconds": s, "looks": [], "verdict": {k: {"k": s, "n": 10} for k in ("pose", "coverage95")}} for s in (2, 4)
    ]
    found = summary(cells, PUSHT)
    assert found["pose"]["pooled"]["k"] == 6 and found["pose"]["pooled"]["n"] == 20 and found["seconds"] == 3


def test_claims_are_paired_with_what_was_real():
    def cell(imagined: int, real: int, worlds: tuple[str, ...]) -> dict:
        return {"verdict": {"pose": {"k": real, "n": 10}, "claims": {w: {"k": imagined, "n": 20} for w in worlds}}}

    cells = {("a", 0): cell(10, 4, ("own", "judge")), ("b", 0): cell(20, 9, ("own",))}
    assert claimed(cells, "own", PUSHT) == [(0.5, 0.4), (1.0, 0.9)] and claimed(cells, "judge", PUSHT) == [(0.5, 0.4)]


def test_steps_are_told_at_the_first_look_at_which_the_mean_of_the_seeds_is_there():
    def looks(*rates: float) -> list[dict[str, float]]:
        return [{"imag/steps": 10.0 * (i + 1), "eval/pose": rate} for i, rate in enumerate(rates)]

    seeds = [looks(0.0, 0.8, 0.2, 1.0), looks(0.0, 0.1, 0.9, 1.0)]
    assert steps_to(seeds, "pose", 0.5) == 30.0 and steps_to(seeds, "pose", 0.9) == 40.0
    assert steps_to([looks(0.25)], "pose", 0.25) == 10.0  # it counts that is just reached
    assert steps_to(seeds[:1], "pose", 0.5) == 20.0 and steps_to([looks(0.1)], "pose", 0.5) is None
