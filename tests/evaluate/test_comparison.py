"""A comparison's numbers and page, of made-up cells."""

import json

import numpy as np
import pytest

from glocal.evaluate.report.comparison import write_comparison
from glocal.evaluate.scores import PUSHT


def cell(pose: int, seed: int) -> dict:
    """20 episodes, so many of which reached the pose and half as many the coverage; looks on the way there."""
    rng = np.random.default_rng(seed)
    looks = [
        {
            "imag/steps": 1e5 * i, "eval/pose": pose / 20 * i / 5, "eval/coverage95": 0.0, "eval/max_coverage": 0.1 * i,
            "trust/own": float(rng.random()),
        }
        for i in range(1, 6)
    ]  # fmt: skip
    counts = {"pose": {"k": pose, "n": 20}, "coverage95": {"k": pose // 2, "n": 20}}
    claims = {"own": {"k": pose, "n": 20}, "judge": {"k": pose // 2, "n": 20}}
    return {"verdict": {**counts, "claims": claims}, "looks": looks, "seconds": 100.0}


def cells(**methods: tuple[int, ...]) -> dict:
    return {(name, seed): cell(k, seed) for name, ks in methods.items() for seed, k in enumerate(ks)}


def test_every_method_is_held_against_the_first_one(tmp_path):
    write_comparison(tmp_path, cells(decouple=(18, 19, 17), ppo=(8, 9, 7), cloning=(2, 2)), 20, PUSHT)
    against = json.loads((tmp_path / "comparison.json").read_text())["against"]
    assert against["method"] == "decouple" and list(against["differences"]) == ["ppo", "cloning"]
    ppo, cloning = (against["differences"][name]["pose"] for name in ("ppo", "cloning"))
    assert ppo["difference"] == pytest.approx(-0.5) and ppo["high"] < 0 and ppo["p"] == pytest.approx(0.1)
    assert cloning["low"] is None and cloning["p"] is None
    page = (tmp_path / "comparison.html").read_text()
    assert (
        "Against decouple" in page and "-0.50 <span>[" in page and "p 0.1<" in page and "-0.80 (too few seeds)" in page
    )


def test_with_one_method_there_is_nothing_to_hold_it_against(tmp_path):
    write_comparison(tmp_path, cells(decouple=(18, 19, 17)), 20, PUSHT)
    assert "Against" not in (tmp_path / "comparison.html").read_text()
