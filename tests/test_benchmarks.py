"""The benchmarks run and print their figures."""

import ast
import importlib.util
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import torch

BENCHMARKS = Path(__file__).parent.parent / "benchmarks"


def printed_by(script: str, *arguments: object) -> str:
    command = [sys.executable, str(BENCHMARKS / script), *map(str, arguments)]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def imported(script: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(script, BENCHMARKS / f"{script}.py")
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.modules[script] = module
    spec.loader.exec_module(module)
    return module


def test_speed_prints_its_shares():
    printed = printed_by("speed.py", "pusht-keypoints-debug", "--iterations", 2, "--learn.horizon", 3)
    assert "iteration / global rollout" in printed and "critics" in printed and "horizon 3" in printed


def test_the_cost_of_a_gradient_is_printed_for_each_link_and_horizon():
    printed = printed_by("gradient_cost.py", "pusht-keypoints-debug", "--envs", 4, "--repeats", 1, "--horizons", 2)
    assert all(name in printed for name in ("rollout alone", "decouple", "bptt")) and printed.count("MiB ") == 6


def test_ingestion_prints_a_line_for_each_reader():
    printed = printed_by("ingest.py", "--steps", 300, "--rounds", 1, "--processes", 1)
    names = ("LeRobot v3.0, H.264", "LeRobot v2.1", "zarr", "HDF5", "Minari", "npz", "mp4 and npz")
    assert all(f"\n{name}" in printed for name in names)


def test_throughput_prints_a_line_for_each_size_and_batch():
    presets = ("pusht-debug", "pusht-grid-debug", "pusht-motion-debug", "pusht-pixels-debug")
    printed = printed_by("throughput.py", "--presets", *presets, "--sizes", 0, "--batches", 8, 16, "--repeats", 1)
    assert printed.count(" global, size 0 ") == 8 and printed.count(" codec ") == 4


def test_costs_are_printed_along_every_axis():
    printed = printed_by("cost.py", "--presets", "pusht-points-debug", "pusht-dreamer-debug", "--repeats", 1)
    axes = ("training, size", "training, batch", "imagining, batch", "imagining, horizon", "imagining, context")
    assert all(f"{preset}-debug {axis}" in printed for preset in ("pusht-points", "pusht-dreamer") for axis in axes)
    assert "peak: " in printed and "nan" not in printed


def test_the_dial_prints_a_point_for_each_size_and_budget(tmp_path):
    from glocal.cli import main

    main(["collect", "pusht-keypoints-debug", "--run", str(tmp_path / "run")])
    printed = printed_by("dial.py", tmp_path / "run", "--sizes", 0, "--seconds", 0.1)
    assert json.loads(printed)["held_out"] > 0


def test_the_gradient_map_prints_a_row_for_each_local_model_and_sampler(tmp_path):
    from glocal.cli import main

    for verb in (["collect"], ["train", "global"]):
        main([*verb, "pusht-keypoints-debug", "--run", str(tmp_path / "run")])
    options = ("--widths", 8, "--updates", 2, "--sampling", 1, "--horizons", 2)
    printed = printed_by("gradient_map.py", tmp_path / "run", *options)
    assert printed.count(" gap ") == 3 and "matching 1" in printed and "1 sampling steps" in printed


def test_the_tests_of_an_edit_are_those_that_reach_its_line_the_fastest_first():
    mutation = imported("mutation")
    reached = {"a.py": {3: ["slow", "fast", "endless"], 7: ["other"]}}
    covered = mutation.Covered(reached, {"slow": 2.0, "fast": 1.0, "endless": 100.0, "other": 1.0})
    assert covered.tests(mutation.Edit("a.py", 3, "", "")) == ["fast", "slow"]
    assert covered.tests(mutation.Edit("a.py", 5, "", "")) == ["fast", "slow"]  # the same statement, or the same block
    assert covered.tests(mutation.Edit("a.py", 9, "", "")) == ["other"]
    assert covered.tests(mutation.Edit("a.py", 1, "", "")) == covered.tests(mutation.Edit("b.py", 1, "", "")) == []


def test_lines_that_decide_are_those_of_functions_that_do_not_draw():
    mutation = imported("mutation")
    code = "LIMIT = 3\n\n\ndef score():\n    return 1\n\n\ndef _plot_score():\n    return 2\n"
    assert mutation.lines_that_decide(code) == {4, 5}


def test_sampling_over_the_whole_window_is_sampling_with_the_cache(monkeypatch):
    monkeypatch.syspath_prepend(BENCHMARKS)
    dreamer4 = imported("against_dreamer4")
    world, seen, noise = dreamer4.ours(0, 4), dreamer4.scenes(2, 5), torch.randn(2, 2, 512)
    with dreamer4.at("float32"), torch.no_grad():
        cached, _, _ = world.sample(world.begin(seen[:, :-1], 0), seen.action[:, -1], noise)
        past = dreamer4.noised(world, seen.obs[:, :-1], 0)
        torch.testing.assert_close(dreamer4.whole_window(world, past, seen.action, noise[0]), cached)


def test_faults_count_what_is_lost_and_different(tmp_path):
    printed = printed_by("faults.py", "pusht-keypoints-debug", "--out", tmp_path, "--events", 1, "--each", 1)
    assert "1 events in 1 runs: 0 lost, 0 unclear; 0 runs different" in printed


def test_what_small_wrong_edits_are_tried_on_is_there():
    """A moved file would leave the population, or its tests, in silence."""
    tree = ast.parse((BENCHMARKS / "mutation.py").read_text())
    told = {ast.unparse(one.targets[0]): one.value for one in tree.body if isinstance(one, ast.Assign)}
    places, tests, pages = (ast.literal_eval(told[name]) for name in ("PLACES", "TESTS", "PAGES"))
    root = BENCHMARKS.parent
    assert all(list(root.glob(place)) for place in (*places, *pages))
    assert all((root / "tests" / name).exists() for name in tests)


def test_a_team_prints_what_it_holds_whole_and_sharded():
    """The bytes that each process holds are as many as is predicted, of both ways."""
    command = (sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2")
    job = (str(BENCHMARKS / "team.py"), "pusht-dreamer-debug", "--batch", "2", "--repeats", "1")
    env = os.environ | {"OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
    ran = subprocess.run([*command, *job], capture_output=True, text=True, check=True, env=env, timeout=300)
    whole, sharded = ran.stdout.splitlines()
    found = [re.search(r"([\d.]+) MiB held by one \(predicted ([\d.]+)\)", line) for line in (whole, sharded)]
    held = [tuple(map(float, one.groups())) for one in found if one]
    assert " weights whole, 2 processes: " in whole and " weights sharded, 2 processes: " in sharded
    assert len(held) == 2 and all(abs(kept - predicted) <= 0.11 for kept, predicted in held)
    assert held[1][0] < 0.7 * held[0][0]
