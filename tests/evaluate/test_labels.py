"""How good labels are, by hand."""

import numpy as np
import pytest

from glocal.evaluate.labels import classified, compared, reliability


def test_reliability_is_told_in_fifths_of_what_was_claimed():
    probability, truth = np.array([0.0, 0.1, 0.2, 0.9, 1.0]), np.array([0.0, 1.0, 0.0, 1.0, 1.0])
    assert reliability(probability, truth) == [
        {"claimed": pytest.approx(0.05), "true": 0.5, "n": 2},
        {"claimed": pytest.approx(0.2), "true": 0.0, "n": 1},
        {"claimed": pytest.approx(0.95), "true": 1.0, "n": 2},
    ]


def test_claims_are_right_or_wrong_by_half_and_by_their_squares():
    found = classified(np.array([0.9, 0.6, 0.2, 0.5]), np.array([1.0, 0.0, 0.0, 1.0]))
    assert found["frames"] == 4 and found["accuracy"] == 0.5  # a half is no yes
    assert found["brier"] == pytest.approx((0.01 + 0.36 + 0.04 + 0.25) / 4) and len(found["reliability"]) == 4


def test_labels_are_compared_with_what_is_known():
    label = {"reward": np.array([1.0, 2.0, 4.0, 3.0]), "success": np.array([1.0, 1.0, 0.0, 0.0])}
    truth = {"reward": np.array([1.0, 2.0, 3.0, 4.0]), "success": np.array([1.0, 0.0, 1.0, 1.0])}
    found = compared(label, truth)
    assert found == {
        "rank_correlation": pytest.approx(0.8),  # 1 - 6 * 2 / (4 * 15)
        "accuracy": 0.25,
        "precision": 0.5,
        "recall": pytest.approx(1 / 3),
    }
    assert set(compared(label, {"reward": truth["reward"]})) == {"rank_correlation"}
    assert set(compared(label | {"success": np.zeros(4)}, {"success": truth["success"]})) == {"accuracy", "recall"}
    assert compared(label, {"success": np.zeros(4)}) == {"accuracy": 0.5, "precision": 0.0}
