"""The benchmarks run and print their figures."""

import json
import subprocess
import sys
from pathlib import Path

BENCHMARKS = Path(__file__).parent.parent / "benchmarks"


def printed_by(script: str, *arguments: object) -> str:
    command = [sys.executable, str(BENCHMARKS / script), *map(str, arguments)]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


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
    presets = ("pusht-debug", "pusht-grid-debug")
    printed = printed_by("throughput.py", "--presets", *presets, "--sizes", 0, "--batches", 8, 16, "--repeats", 1)
    assert printed.count(" global, size 0 ") == 4 and printed.count(" codec ") == 2


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
