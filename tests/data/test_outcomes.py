"""What came of steps as what came of control steps; every number here was worked out by hand."""

import numpy as np
import pytest

from glocal.data.outcomes import any_of_control_steps, of_control_steps, over_which

VALUES = np.array([1.0, -3.0, 2.0, 0.0, -1.0, 0.5, 4.0])
"""Of seven steps: control steps of two lead to rows 2, 4 and 6, and step 6 counts for the last."""
ROWS = np.array([0, 2, 4, 6])


@pytest.mark.parametrize(
    "over, expected",
    [("largest", [1, -3, 2, 4]), ("last", [1, -3, 0, 4]), ("mean", [1, -1, 1, 3.5 / 3]), ("sum", [1, -2, 2, 3.5])],
)
def test_outcomes_of_steps_become_those_of_control_steps(over, expected):
    assert np.allclose(of_control_steps(VALUES[:, None], ROWS, over), expected)


def test_outcomes_that_came_with_observations_belong_to_their_own_rows():
    """Values 1 and 2 came on the way to row 2, values 3 and 4 to row 4, 5 and 6 to row 6."""
    assert np.allclose(of_control_steps(VALUES, ROWS, "last", "observation"), [1, 2, -1, 4])
    assert np.allclose(of_control_steps(VALUES, ROWS, "sum", "observation"), [1, -1, -1, 4.5])


@pytest.mark.parametrize("step, row", [(0, 1), (1, 1), (2, 2), (3, 2), (4, 3), (5, 3), (6, 3)])
def test_nothing_that_happened_once_is_lost_or_told_twice(step, row):
    once = np.arange(7) == step
    assert any_of_control_steps(once, ROWS).tolist() == [float(row == k) for k in range(4)]


def test_a_number_that_is_not_finite_stays_one():
    assert np.isnan(of_control_steps(np.array([0.0, np.nan, 0.0, 0.0]), np.array([0, 2]), "largest")[1])


@pytest.mark.parametrize(
    "rewards, over",
    [
        (np.linspace(0, 1, 50), "last"),
        (np.arange(50) == 49, "largest"),
        (np.linspace(0, 1, 50) + 2 * (np.arange(50) == 49), "largest"),
        (np.zeros(50), "last"),
        (np.full(50, np.nan), "largest"),
    ],
    ids=["dense", "sparse", "dense with a bonus", "none", "not finite"],
)
def test_rewards_that_jump_are_told_by_the_largest(rewards, over):
    assert over_which([rewards, rewards[::-1]]) == over
