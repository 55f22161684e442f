"""The instruments: gradients against finite differences on toys, and the verdict."""

import numpy as np
import pytest
import torch

from glocal.core.gradients import decouple, imagine
from glocal.evaluate.gates import GateConfig, Pose, checks, drift, moving
from glocal.evaluate.gradients import agreement
from tests.toys import LinearSurrogate, LinearWorld, resting


@pytest.mark.parametrize("link", [decouple, imagine])
def test_a_perfect_local_model_agrees_with_finite_differences(link):
    torch.manual_seed(0)
    found = agreement(LinearWorld(), LinearSurrogate(), resting(16, 3), torch.rand(16, 5, 1), link, 0.9)
    assert found.cosine == pytest.approx(1.0, abs=1e-3)
    assert found.norm_ratio == pytest.approx(1.0, abs=1e-2)
    assert found.gap == pytest.approx([0.0] * 5, abs=1e-6)


def test_a_local_model_of_half_the_slope_gives_half_the_gradient_and_one_of_the_wrong_sign_the_opposite():
    torch.manual_seed(0)
    start, action = resting(16, 3), torch.rand(16, 5, 1)
    half = agreement(LinearWorld(), LinearSurrogate(slope=0.25), start, action, decouple, 0.9)
    assert half.cosine == pytest.approx(1.0, abs=1e-3) and half.norm_ratio == pytest.approx(0.5, abs=1e-2)
    wrong = agreement(LinearWorld(), LinearSurrogate(slope=-0.5), start, action, decouple, 0.9)
    assert wrong.cosine == pytest.approx(-1.0, abs=1e-3)


def test_a_biased_local_model_misleads_without_the_correction_only():
    torch.manual_seed(0)
    start, action = resting(16, 3), torch.rand(16, 5, 1)
    biased = LinearSurrogate(offset=0.6)
    with_it, without = (agreement(LinearWorld(), biased, start, action, link, 0.9) for link in (decouple, imagine))
    assert with_it.cosine == pytest.approx(1.0, abs=1e-3) and without.cosine < 0.9


def poses(block: list[list[float]], angle: list[float]) -> Pose:
    at = np.array(block)[None]
    return Pose(np.zeros_like(at), at, np.array(angle)[None])


def test_drift_is_the_distance_by_horizon_and_angles_wrap():
    truth = poses([[0.0, 0.0]] * 20, [3.1] * 20)
    found = poses([[3.0, 4.0]] * 20, [-3.1] * 20)
    after = drift(found, truth)["20"]
    assert after["block_px"] == 5.0 and after["angle_rad"] == pytest.approx(2 * np.pi - 6.2)


def test_moving_looks_at_the_whole_window():
    still, pushed = poses([[0.0, 0.0]] * 3, [0.0] * 3), poses([[0.0, 0.0], [20.0, 0.0], [40.0, 0.0]], [0.0] * 3)
    assert not moving(still, 30.0)[0] and moving(pushed, 30.0)[0] and not moving(pushed, 50.0)[0]


def test_the_verdict_names_what_falls_short():
    far = {"block_px": 20.0, "angle_rad": 0.1}
    gates = {
        "codec": {"agent_px": 1.0, "block_px": 5.0, "angle_rad": 0.01},
        "drift_far": {"global model": {"20": far}, "global, shuffled actions": {"20": {"block_px": 80.0}}},
    }
    failed = [check["name"] for check in checks(gates, GateConfig()) if not check["ok"]]
    assert failed == ["codec: block px", "global model: block px after 20"]
