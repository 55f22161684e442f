"""The instruments: gradients against finite differences on toys, and the verdict."""

import numpy as np
import pytest
import torch

from glocal.core.gradients import bptt, decouple, imagine
from glocal.core.types import Segment, Step
from glocal.evaluate.gates import (
    GateConfig,
    Pose,
    checks,
    drift,
    moving,
    reward_checks,
    shuffled,
    stream_checks,
    summary,
    table,
)
from glocal.evaluate.gradients import QUIET, Agreement, Question, agreement, recommended_horizon
from tests.toys import LinearSurrogate, LinearWorld, resting


def compared(surrogate, start, action, link, first=5) -> Agreement:
    question = Question(LinearWorld(), surrogate, start, action, gamma=0.9, first=first)
    return agreement(question, {"link": link})["link"]


@pytest.mark.parametrize("link", [decouple, imagine, bptt])
def test_a_perfect_local_model_agrees_with_finite_differences(link):
    torch.manual_seed(0)
    found = compared(LinearSurrogate(), resting(16, 3), torch.rand(16, 5, 1), link)
    assert found.cosine == pytest.approx(1.0, abs=1e-3)
    assert found.norm_ratio == pytest.approx(1.0, abs=1e-2)
    assert found.gap == pytest.approx([0.0] * 5, abs=1e-6)


def test_a_local_model_of_half_the_slope_gives_half_the_gradient_and_one_of_the_wrong_sign_the_opposite():
    torch.manual_seed(0)
    start, action = resting(16, 3), torch.rand(16, 5, 1)
    half = compared(LinearSurrogate(slope=0.25), start, action, decouple)
    assert half.cosine == pytest.approx(1.0, abs=1e-3) and half.norm_ratio == pytest.approx(0.5, abs=1e-2)
    wrong = compared(LinearSurrogate(slope=-0.5), start, action, decouple)
    assert wrong.cosine == pytest.approx(-1.0, abs=1e-3)


def test_a_biased_local_model_misleads_without_the_correction_only():
    torch.manual_seed(0)
    start, action = resting(16, 3), torch.rand(16, 5, 1)
    biased = LinearSurrogate(offset=0.6)
    with_it, without = (compared(biased, start, action, link) for link in (decouple, imagine))
    assert with_it.cosine == pytest.approx(1.0, abs=1e-3) and without.cosine < 0.9


def test_rewards_after_an_end_have_no_part_in_a_gradient():
    start = resting(1, 2)
    start = Segment(torch.full_like(start.obs, 0.95), start.action, start.reward, start.cont)
    action = torch.tensor([[[0.4], [0.4], [-0.9]]])  # beyond 1 after the first step
    question = Question(Lasting(), LinearSurrogate(), start, action, gamma=0.9, first=3)
    slope, _ = question.gradient(decouple, 0)
    x = 0.95 + 0.2
    assert slope[0, :, 0].tolist() == pytest.approx([-2 * (x - 1) * 0.5, 0.0, 0.0], abs=1e-6)
    along = question.difference(torch.tensor([[[0.0], [0.0], [1.0]]]), 0)
    assert float(along) == 0.0


class Lasting(LinearWorld):
    """An episode ends beyond 1."""

    def step(self, context, action):
        context, seen = super().step(context, action)
        return context, Step(seen.obs, seen.reward, (seen.obs[:, 0] <= 1).to(seen.obs))


def test_gradients_by_the_first_actions_alone_agree_too():
    torch.manual_seed(0)
    found = compared(LinearSurrogate(), resting(16, 3), torch.rand(16, 5, 1), decouple, first=2)
    assert found.cosine == pytest.approx(1.0, abs=1e-3) and found.low <= found.cosine <= found.high + 1e-6


def test_a_world_without_noise_has_all_signal():
    torch.manual_seed(0)
    assert compared(LinearSurrogate(), resting(16, 3), torch.rand(16, 5, 1), decouple).signal_to_noise == QUIET


def test_the_horizon_is_recommended_up_to_where_gradients_point_well():
    known = ((8, 0.9, 5.0), (16, 0.8, 2.0), (32, 0.9, 0.5), (64, 0, 0))
    by_horizon = {h: Agreement(c, c, c, c, 1.0, None, None, signal_to_noise=s, gap=[]) for h, c, s in known}
    assert recommended_horizon(by_horizon) == (16, "at 32 the signal-to-noise ratio is 0.50 < 1.0")
    assert recommended_horizon({8: by_horizon[8]})[0] == 8
    assert recommended_horizon({64: by_horizon[64]})[0] is None


def poses(block: list[list[float]], angle: list[float]) -> Pose:
    at = np.array(block)[None]
    return Pose(np.zeros_like(at), at, np.array(angle)[None])


def test_drift_is_the_distance_by_horizon_and_angles_wrap():
    truth = poses([[0.0, 0.0]] * 20, [3.1] * 20)
    found = poses([[3.0, 4.0]] * 20, [-3.1] * 20)
    after = drift(found, truth)["20"]
    assert after["block_px"] == 5.0 and after["angle_rad"] == pytest.approx(2 * np.pi - 6.2)


def test_windows_in_which_the_block_rests_are_left_out():
    block = np.zeros((3, 4, 2))
    block[1, 3, 0] = 11
    angle = np.zeros((3, 4))
    angle[2, 3] = -0.2
    assert moving(Pose(block, block, angle), 10.0, 0.15).tolist() == [False, True, True]
    assert moving(Pose(block, block, angle), 10.0).tolist() == [False, True, False]


def test_shuffling_gives_every_window_anothers_actions():
    action = torch.arange(10.0).view(10, 1, 1)
    mixed = shuffled(action)
    assert sorted(mixed.flatten().tolist()) == action.flatten().tolist()
    assert (mixed != action).all()


def test_the_verdict_names_what_falls_short():
    far = {"block_px": 20.0, "angle_rad": 0.1}
    gates = {
        "codec": {"agent_px": 1.0, "block_px": 5.0, "angle_rad": 0.01},
        "drift_far": {"global model": {"20": far}, "global, shuffled actions": {"20": {"block_px": 80.0}}},
    }
    failed = [check["name"] for check in checks(gates, GateConfig()) if not check["ok"]]
    assert failed == ["codec: block px", "global model: block px after 20"]


def test_errors_by_horizon_are_those_of_that_moment():
    """The block is off by t pixels after t control steps in one window, and by 3 t in two others."""
    off = np.arange(1.0, 21)[None, :, None] * np.array([1.0, 3.0, 3.0])[:, None, None] * [1.0, 0.0]
    at, angle = np.zeros((3, 20, 2)), np.zeros((3, 20))
    found = drift(Pose(at, off, angle), Pose(at, at, angle))
    assert [found[h]["block_px"] for h in ("1", "5", "10", "20")] == [3, 15, 30, 60]
    assert [found[h]["block_px_mean"] for h in ("1", "20")] == pytest.approx([7 / 3, 140 / 3])
    assert found["20"]["agent_px"] == found["20"]["angle_rad"] == 0


def test_a_window_in_which_the_block_leaves_and_comes_back_counts_as_at_rest():
    block = np.zeros((1, 3, 2))
    block[0, 1] = 50
    assert moving(Pose(block, block, np.zeros((1, 3))), 10.0).tolist() == [False]


def test_gates_are_told_in_lines():
    row = {str(h): {"agent_px": 1.26, "block_px": 2.0 * h, "angle_rad": 0.1234} for h in (1, 5, 10, 20)}
    head, line = table({"global model": row})
    assert head.split() == ["after", "1", "after", "5", "after", "10", "after", "20"]
    assert line.split()[:9] == ["global", "model", "1.3", "2.0", "px", "0.123", "rad", "1.3", "10.0"]


def test_a_summary_tells_head_gradients_and_verdicts():
    gates = {
        "reward_head": {"mean_error": 0.01234},
        "gradient": {"decouple": {"cosine": 0.777, "median_cosine": 0.5, "norm_ratio": 2.0, "gap": [0.1, 9.0]}},
        "checks": [
            {"name": "one", "found": 3.0, "limit": 4.0, "ok": True},
            {"name": "two", "found": 5.0, "limit": 4.0, "ok": False},
        ],
    }
    head, gradient, one, two = summary(gates)
    assert head == "reward head: mean error 0.0123"
    assert "by decouple: cosine with finite differences 0.78 (median of single windows 0.50), length 2.00" in gradient
    assert gradient.endswith("gap 0.1000")
    assert one == "pass  one: 3, asked for at most 4" and two == "FAIL  two: 5, asked for at most 4"


@pytest.mark.parametrize("block, angle, mixed, failed", [
    (15.0, 0.15, 30.0, []),
    (15.1, 0.15, 31.0, ["block px after 20"]),
    (15.0, 0.16, 30.0, ["angle rad after 20"]),
    (15.0, 0.15, 29.0, ["its error over that with shuffled actions"]),
])  # fmt: skip
def test_limits_are_met_by_what_reaches_them(block, angle, mixed, failed):
    far = {"global model": {"20": {"block_px": block, "angle_rad": angle}},
           "global, shuffled actions": {"20": {"block_px": mixed}}}  # fmt: skip
    found = checks({"codec": {"agent_px": 9.0}, "drift_far": far}, GateConfig())
    assert [check["name"].removeprefix("global model: ") for check in found if not check["ok"]] == failed
    assert len(found) == 3 and checks({"drift_far": {}}, GateConfig()) == []


@pytest.mark.parametrize(("error", "ok"), [(0.02, True), (0.0201, False)])
def test_rewards_have_to_be_told_better_than_by_their_median(error, ok):
    (check,) = reward_checks({"mean_error": error, "spread": 0.1})
    assert check["ok"] == ok and check["found"] == pytest.approx(10 * error) and check["limit"] == 0.2


def test_rewards_that_are_all_the_same_are_not_asked_for():
    assert reward_checks({"mean_error": 0.1, "spread": 0.0}) == []


@pytest.mark.parametrize("still, asked", [(0.5, 2), (0.05, 1), (0.0, 1)])
def test_a_camera_of_which_the_codec_makes_nothing_that_moves_fails_and_numbers_that_rest_do_not(still, asked):
    rows = {"nothing moves": still, "global model": 0.01, "global, shuffled actions": 0.1}
    drift = {name: {"20": {"front": error, "joints": 0.0}} for name, error in rows.items()}
    found = stream_checks(drift, cameras=("front",))
    assert len(found) == asked and all("front" in one["name"] for one in found)
    assert all(one["ok"] for one in found) == (still >= 0.05)
