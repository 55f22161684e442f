"""The benchmark of the environments tells what scripts and chance reach in them, and how fast they are."""

import numpy as np
import pytest

from tests.test_benchmarks import imported

pytest.importorskip("mujoco", reason="mujoco is not installed, which the environments need: pip install -e '.[tasks]'")

from glocal_envs.pictures import Pictures


def test_scripts_solve_what_chance_does_not_and_every_camera_has_a_speed(capsys, monkeypatch):
    monkeypatch.setattr(Pictures, "draw", lambda *how: np.zeros((*how[3:], 3), np.uint8))
    imported("environments").main(episodes=1, seconds=0.01)
    rows = [line.split(" | ") for line in capsys.readouterr().out.splitlines() if "/" in line]
    assert [row[2].split()[0] for row in rows[:4]] == ["1/1", "0/1", "1/1", "0/1"]
    assert [row[1].split(",")[0] for row in rows[4:]] == [
        "nothing",
        "head",
        "above",
        "chase",
        "nothing",
        "head",
        "side",
    ]
    assert all(float(row[2].strip(" |").replace(",", "")) > 0 for row in rows[4:])
