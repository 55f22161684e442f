"""The doctor finds what was done to healthy logs, and nothing in those."""

from dataclasses import replace

import numpy as np
import pytest

from glocal.data.doctor import Finding, examine
from glocal.data.looks import SAMPLED, as_arrays, from_arrays, look_at, spread
from glocal.data.mapping import Mapping
from tests.data.memory import Logs

MAPPING = Mapping("image", (64, 64), "state", "action", fps=10, rate=5, representation="delta", reach=8.0)
STEPS = 80


def healthy(seed: int, delay: int = 0) -> dict[str, np.ndarray]:
    """A dot that goes where it is told; pictures lag by `delay` steps."""
    rng = np.random.default_rng(seed)
    action = (rng.uniform(-4, 4, (STEPS, 2)) * (rng.random((STEPS, 1)) < 0.6)).astype(np.float32)
    way = np.cumsum(np.concatenate([np.zeros((1, 2)), action[:-1]]), axis=0)
    state = 12 + np.abs((way + 20) % 80 - 40)  # back and forth between two walls
    image = np.full((STEPS, 64, 64, 3), 200, np.uint8)
    for t in range(STEPS):
        x, y = state[max(0, t - delay)].astype(int)
        image[t, y - 6 : y + 6, x - 6 : x + 6] = 0
    return {"image": image, "state": state.astype(np.float32), "action": action}


def findings_of(episodes, mapping=MAPPING) -> list[Finding]:
    logs = Logs(episodes)
    return examine(logs, mapping, 4, (look_at(mapping, logs, n) for n in reversed(range(len(logs)))))


def verdicts(episodes, mapping=MAPPING) -> dict[str, str]:
    return {one.name: one.verdict for one in findings_of(episodes, mapping)}


def damaged(change) -> list[dict[str, np.ndarray]]:
    episodes = [healthy(seed) for seed in range(4)]
    for one in episodes:
        change(one)
    return episodes


def test_healthy_logs_are_healthy():
    assert set(verdicts([healthy(seed) for seed in range(4)]).values()) == {"ok"}


@pytest.mark.parametrize("delay", [0, 3])
def test_a_delay_is_told_in_steps(delay):
    (found,) = [one for one in findings_of([healthy(seed, delay) for seed in range(4)]) if one.name == "delay"]
    assert f"after {delay} steps" in found.found and found.verdict == ("ok" if delay == 0 else "warn")


def freeze(one):
    one["image"][:] = one["image"][0]


def repeat(one):
    one["image"][1::2] = one["image"][0:-1:2]


def drop(one):
    one["state"][40:] += 400


def stick(one):
    one["action"][:, 1] = 0.5


def saturate(one):
    one["action"][:] = np.clip(one["action"] * 100, -4, 4)


def spoil(one):
    one["action"][5] = np.nan


@pytest.mark.parametrize(
    "change, name, verdict",
    [
        (freeze, "camera", "fail"),
        (repeat, "repeated frames", "warn"),
        (drop, "dropped frames", "warn"),
        (stick, "action 1", "fail"),
        (saturate, "action 0", "warn"),
    ],
)
def test_what_was_done_is_found(change, name, verdict):
    assert verdicts(damaged(change))[name] == verdict


def test_a_copy_of_an_episode_is_found_and_named():
    (found,) = [one for one in findings_of([healthy(0), healthy(1), healthy(0)]) if one.name == "copies"]
    assert found.verdict == "fail" and found.episodes == (2,)


@pytest.mark.parametrize("reach, share", [(8.0, 0.0), (2.0, 0.75), (100.0, 0.0)], ids=["fits", "cut", "too much"])
def test_a_reach_that_commands_exceed_or_do_not_use_is_found(reach, share):
    (found,) = [
        one for one in findings_of([healthy(n) for n in range(4)], replace(MAPPING, reach=reach)) if one.name == "reach"
    ]
    assert found.verdict == ("ok" if reach == 8.0 else "warn")
    assert found.numbers["cut"] == pytest.approx(share, abs=0.1)


def test_only_what_was_visited_counts_as_covered():
    rng = np.random.default_rng(0)
    logs = [healthy(seed) for seed in range(6)]
    assert verdicts(logs)["coverage of actions"] == "ok"
    for one in logs:
        one["action"] = np.outer(rng.uniform(-4, 4, STEPS), [1.0, 1.0]).astype(np.float32)
    assert verdicts(logs)["coverage of actions"] == "warn"


def test_numbers_that_are_not_finite_are_found():
    with np.errstate(invalid="ignore"):
        assert verdicts(damaged(spoil))["numbers"] == "fail"


def finding(name, episodes) -> Finding:
    with np.errstate(invalid="ignore"):
        (found,) = [one for one in findings_of(episodes) if one.name == name]
    return found


@pytest.mark.parametrize("feature", ["action", "state"])
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_what_is_told_of_the_rest_stays_as_it_is_where_some_numbers_are_not_finite(feature, value):
    whole, spoilt = ([healthy(seed) for seed in range(4)] for _ in range(2))
    spoilt[1][feature][40] = value
    for name in ("delay", "dropped frames", "repeated frames", "coverage of actions", "coverage of states"):
        assert finding(name, spoilt).verdict == finding(name, whole).verdict == "ok", name
    assert np.isfinite(list(finding("delay", spoilt).numbers.values())).all()


@pytest.mark.parametrize(
    "feature, name", [("action", "delay"), ("action", "coverage of actions"), ("state", "coverage of states"),
                      ("state", "dropped frames")]
)  # fmt: skip
def test_no_advice_is_drawn_from_numbers_none_of_which_is_finite(feature, name):
    episodes = [healthy(seed) for seed in range(4)]
    for one in episodes:
        one[feature][:] = np.nan
    found = finding(name, episodes)
    assert "can be told" in found.found and not found.advice and "nan" not in found.found


ARMS, WRIST = 14, "wrist"


def two_arms(seed: int) -> dict[str, np.ndarray]:
    """Healthy logs of a robot of fourteen numbers and two cameras, of which the mapping uses two and one."""
    one, rng = healthy(seed), np.random.default_rng(100 + seed)
    more = rng.uniform(-1, 1, (STEPS, ARMS - 2)).astype(np.float32)
    arms = {name: np.concatenate([one[name], more], axis=1) for name in ("state", "action")}
    return one | arms | {WRIST: one["image"][::-1].copy()}


def found_in(change, *seeds) -> dict[str, Finding]:
    """What is found where the episodes of some seeds, of four, were damaged."""
    episodes = [two_arms(seed) for seed in range(4)]
    for seed in seeds:
        change(episodes[seed])
    return {one.name: one for one in findings_of(episodes)}


def test_a_healthy_robot_of_many_numbers_and_cameras_is_healthy():
    found = found_in(None)
    assert {one.verdict for one in found.values()} == {"ok"} and f"camera {WRIST}" in found


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_number_that_is_not_finite_is_found_in_every_dimension(value):
    def spoil_arm(one):
        one["action"][7, 9] = value

    found = found_in(spoil_arm, 1, 3)["numbers"]
    assert found.verdict == "fail" and found.episodes == (1, 3) and "action 9 in 2 episodes (1, 3)" in found.found


def test_numbers_that_are_not_used_are_named_but_spoil_nothing():
    def lose(one):
        one["state"][:, 5] = np.nan

    found = found_in(lose, 2)["numbers"]
    assert found.verdict == "warn" and "state 5 in 1 episodes (2)" in found.found and found.episodes == ()


def enlarge(name, dim, value):
    def change(one):
        one[name] = one[name].astype(np.float64)
        one[name][17, dim] = value

    return change


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("value", [3e38, -3e38, 1.5e308, 1e9, -1.1e6])
@pytest.mark.parametrize("name, dim", [("action", 1), ("action", 9), ("state", 0)])
def test_a_number_that_nothing_measures_is_a_failure_of_its_episode_and_dimension(name, dim, value):
    found = found_in(enlarge(name, dim, value), 2)["magnitudes"]
    assert found.verdict == "fail" and found.episodes == (2,) and f"{name} {dim} in 1 episodes (2)" in found.found


def test_a_number_may_be_an_outlier_without_being_impossible():
    assert found_in(enlarge("action", 1, 9e5), 2)["magnitudes"].verdict == "ok"


def test_what_is_small_is_held_to_its_own_size():
    """Metres in micrometres: a million times as far off as the rest, and far from a million."""

    def shrink(one):
        one["action"] = one["action"].astype(np.float64) * 1e-6

    episodes = damaged(shrink)
    assert verdicts(episodes)["magnitudes"] == "ok"
    episodes[1]["action"][17, 1] = 10.0
    (found,) = [one for one in findings_of(episodes) if one.name == "magnitudes"]
    assert found.verdict == "fail" and found.episodes == (1,)


def test_what_is_not_used_may_be_in_any_unit_but_not_impossible_in_its_own():
    """As a clock in nanoseconds is."""

    def clock(one):
        one["state"] = one["state"].astype(np.float64)
        one["state"][:, 5] = 1.7e18 + 1e8 * np.arange(STEPS)

    assert found_in(clock, 0, 1, 2, 3)["magnitudes"].verdict == "ok"
    found = found_in(enlarge("state", 5, 3e38), 2)["magnitudes"]
    assert found.verdict == "warn" and "state 5 in 1 episodes (2)" in found.found and found.episodes == ()


def test_dimensions_that_are_not_used_are_judged_as_well():
    def clip(one):
        one["action"][:, 9] = np.clip(10 * one["action"][:, 9], -1, 1)
        one["state"][:, 4] = 0.25
        one["action"][::20, 11] = 1e4
        one["action"][:, 12] = np.sign(one["action"][:, 12])

    found = found_in(clip, 0, 1, 2, 3)
    assert "at an edge" in found["action 9"].found and found["action 9"].verdict == "warn"
    assert found["state 4"].found == "is always 0.25" and found["state 4"].verdict == "warn"
    assert found["outliers"].verdict == "warn" and "5.00% of action 11" in found["outliers"].found
    assert "action 12" not in found  # a gripper that is open or shut


def test_a_camera_that_is_not_used_is_looked_at_as_well():
    def cover(one):
        one[WRIST][:] = 0

    found = found_in(cover, 2)
    assert found["camera"].verdict == "ok" and found[f"camera {WRIST}"].verdict == "warn"
    assert "throughout 1 episodes: 2" in found[f"camera {WRIST}"].found


def test_what_is_kept_of_an_episode_is_bounded_and_survives_a_file(tmp_path):
    values = np.random.default_rng(0).normal(size=(20_000, 8))
    values[12_345, 3] = 1e6
    kept = spread(values)
    assert kept.sample.size <= SAMPLED and kept.high[3] == 1e6 and kept.low[0] == values[:, 0].min()
    seen = look_at(MAPPING, Logs([two_arms(0)]), 0)
    np.savez(tmp_path / "look.npz", **as_arrays(seen))
    with np.load(tmp_path / "look.npz") as file:
        again = from_arrays(0, dict(file))
    assert again.cameras == seen.cameras and set(again.numbers) == {"state", "action"}
    assert all(np.array_equal(vars(again.numbers[name])[key], vars(one)[key])
               for name, one in seen.numbers.items() for key in vars(one))  # fmt: skip


def test_a_mapping_that_does_not_fit_is_all_that_is_said():
    wrong = Mapping("camera", (64, 64), "state", "action", fps=10, rate=5)
    assert verdicts([healthy(0)], wrong) == {"mapping": "fail"}
