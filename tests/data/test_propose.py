"""The first guess at a mapping: its units and its reach are those that the numbers tell of."""

import numpy as np
import pytest

from glocal.data.dataset import Feature
from glocal.data.mapping import reach_in_pixels
from glocal.data.propose import propose
from tests.data.memory import Logs

STEPS = 400


def logs(unit: float, low: float, far: float) -> Logs:
    """An agent that follows targets as far as `far` pixels away, told in a unit of so many pixels from `low` on."""
    rng = np.random.default_rng(0)
    state = rng.uniform(0, 512, (STEPS, 2))
    target = state + rng.uniform(-far, far, (STEPS, 2))
    target[1::2] = target[0::2]  # a control step is two steps long
    told = {"state": state / unit + low, "action": target / unit + low}
    return Logs([{"image": np.zeros((STEPS, 8, 8, 3), np.uint8), **told}])


@pytest.mark.parametrize(
    "unit, low, table", [(512.0, 0.0, (0, 1)), (256.0, -1.0, (-1, 1)), (5.34, 0.0, (0, 96)), (1.0, 0.0, (0, 512))]
)
def test_the_table_is_the_narrowest_usual_one_that_holds_all_positions(unit, low, table):
    known, said = propose(logs(unit, low, 50.0))
    assert (known.low[0], known.high[0]) == table and known.representation == "absolute"
    assert reach_in_pixels(known) == pytest.approx(50.0, abs=0.2) and not any("reach" in line for line in said)


@pytest.mark.parametrize("far", [12.0, 120.0])
def test_a_reach_that_is_not_the_usual_one_is_proposed_and_said(far):
    known, said = propose(logs(512.0, 0.0, far))
    assert reach_in_pixels(known) == pytest.approx(far, rel=0.05)
    assert any(f"--task.reach {reach_in_pixels(known)[0]:.6g}" in line for line in said)


@pytest.mark.parametrize(
    "values, table", [((-3.0, 514.0), (0, 512)), ((100.0, 700.0), (100, 700)), ((-2.0, 3.0), (-2, 3)),
                      ((600.0, 600.0), (0, 512)), ((np.nan, np.nan), (0, 512))]
)  # fmt: skip
def test_positions_off_every_usual_table_make_one_of_their_own(values, table):
    some = logs(1.0, 0.0, 50.0)
    some.episodes[0]["state"][:] = np.where(np.arange(STEPS) % 2 == 0, *values)[:, None]
    known, _ = propose(some)
    assert (known.low[0], known.high[0]) == table


def test_numbers_that_tell_nothing_leave_the_usual_reach():
    some = logs(1.0, 0.0, 50.0)
    some.episodes[0]["action"][:] = np.nan
    assert propose(some)[0].reach == 50.0
    some.episodes[0]["action"][:] = 0
    assert propose(some)[0].reach == 50.0
    some.features = {**some.features, "action": Feature((1,), "float64")}
    some.episodes[0]["action"] = some.episodes[0]["action"][:, :1]
    assert propose(some)[0].reach == 50.0


@pytest.mark.parametrize("name", ["next.reward", "reward"])
def test_how_a_control_step_has_rewards_is_told_by_the_rewards(name):
    """Dense ones are told by the last, sparse ones by the largest; and what is assumed of a plain name is said."""
    some = logs(1.0, 0.0, 50.0)
    some.features = {**some.features, name: Feature((1,), "float64")}
    for reward, over in ((np.sin(np.arange(STEPS) / 20), "last"), (np.arange(STEPS) == STEPS - 1, "largest")):
        some.episodes[0][name] = reward[:, None]
        known, said = propose(some)
        assert known.reward == name and known.reward_over == over and any(f"has the {over}" in line for line in said)
        assert any("say outcomes_at observation" in line for line in said) == (name == "reward")


def test_numbers_that_are_not_used_are_said():
    some = logs(1.0, 0.0, 50.0)
    one = some.episodes[0]
    some = Logs([one | {"action": np.tile(one["action"], 7), "state": np.tile(one["state"], 3)}])
    said = propose(some)[1]
    assert "action action holds 14 numbers, of which the first two are used" in said
    assert "state state holds 6 numbers, of which the first two are used" in said
