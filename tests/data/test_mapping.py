"""A mapping says how recorded steps become control steps; every number here was worked out by hand."""

from dataclasses import replace

import numpy as np
import pytest

from glocal.data.mapping import (
    Mapping,
    apply,
    check,
    from_dict,
    from_pixels,
    live,
    load,
    outcomes,
    pixels,
    save,
    shown,
    subsampled,
    to_dict,
)
from glocal.runtime.files import UserError
from tests.data.memory import Logs

STEPS = 5
PLAIN = Mapping("cam", (4, 8), "pos", "act", fps=10, rate=5, reach=10.0, low=(0, 0), high=(100, 100), size=4,
                reward="rew")  # fmt: skip


def recorded() -> dict[str, np.ndarray]:
    t = np.arange(STEPS, dtype=np.float32)
    return {
        "cam": np.full((STEPS, 4, 8, 3), 40, np.uint8) * t[:, None, None, None].astype(np.uint8),
        "pos": np.stack([10 * t, 50 - t], 1),
        "act": np.stack([10 * t + 4, 50 - t - 20], 1),
        "rew": t / 10 + 0.1,
        "end": t == 3,
        "pose": np.stack([t, 2 * t, t / 10], 1),
    }


def test_absolute_targets_become_ways_from_where_the_agent_is():
    """Rows 0, 2, 4; the mean of a control step's targets counts: of steps 0 and 1, of 2 and 3, from positions 0, 2."""
    fields = apply(PLAIN, recorded())
    assert np.allclose(fields["action"], [[0, 0], [0.9, -1.0], [0.9, -1.0]])  # 9, -20.5 and 9, -20.5, over 10, cut to 1
    wide = apply(replace(PLAIN, reach=100.0), recorded())
    assert np.allclose(wide["action"], [[0, 0], [0.09, -0.205], [0.09, -0.205]])
    assert np.allclose(fields["agent"], 5.12 * np.array([[0, 50], [20, 48], [40, 46]]))
    assert fields["image"].shape == (3, 4, 4, 3) and fields["image"][:, 0, 0, 0].tolist() == [0, 80, 160]


def test_deltas_are_summed_and_velocities_integrated_over_a_control_step():
    logs = recorded() | {"act": np.arange(2 * STEPS, dtype=np.float32).reshape(STEPS, 2) / 10}
    fields = apply(replace(PLAIN, representation="delta"), logs)
    assert np.allclose(fields["action"], [[0, 0], [0.02, 0.04], [0.1, 0.12]])  # (0.0 + 0.2) / 10, ..., (0.4 + 0.6) / 10
    fields = apply(replace(PLAIN, representation="velocity"), logs)
    assert np.allclose(fields["action"], [[0, 0], [0.002, 0.004], [0.01, 0.012]])


def test_what_came_of_a_step_belongs_to_the_row_after_it_and_of_the_last_steps_to_the_last():
    """Rewards of 0.1, 0.2, ..., 0.5: steps 0 and 1 led to row 2, steps 2 and 3 to row 4, and nothing follows step 4."""
    assert np.allclose(apply(PLAIN, recorded())["reward"], [0.1, 0.2, 0.5])
    assert np.allclose(apply(replace(PLAIN, reward_over="mean"), recorded())["reward"], [0.1, 0.15, 0.4])
    assert np.allclose(apply(replace(PLAIN, outcomes_at="observation"), recorded())["reward"], [0.1, 0.3, 0.5])


@pytest.mark.parametrize("step", range(STEPS))
def test_only_what_ends_for_good_stops_continuation(step):
    """Wherever in an episode that is, the last step included; the first row is before all of it."""
    logs = recorded() | {"end": np.arange(STEPS)[:, None] == step}
    done = replace(PLAIN, done="end")
    assert apply(done, logs)["cont"].tolist() == [1, 1, 1]
    assert apply(replace(done, ends=True), logs)["cont"].tolist() == ([1, 0, 1] if step < 2 else [1, 1, 0])


@pytest.mark.parametrize("steps, step", [(5, 4), (5, 3), (5, 2), (6, 5), (6, 4)])
def test_a_success_or_a_reward_on_the_last_rows_is_kept(steps, step):
    logs = {name: np.resize(x, (steps, *x.shape[1:])) for name, x in recorded().items()}
    logs |= {"rew": (np.arange(steps) == step).astype(np.float32), "won": np.arange(steps)[:, None] == step}
    fields = apply(replace(PLAIN, success="won"), logs)
    assert fields["reward"].tolist() == [0, 0, 1] and fields["success"].tolist() == [0, 0, 1]


def test_what_the_last_step_led_to_ends_a_control_step_of_its_own():
    """Four steps and five observations: both control steps are whole, and the fifth observation is the last row."""
    five = recorded()
    logs = {name: x[:4] for name, x in five.items()}
    final = {name: five[name][4:] for name in ("cam", "pos", "pose")}
    assert len(apply(PLAIN, logs)["reward"]) == 2
    fields, whole = apply(replace(PLAIN, pose="pose"), logs, final), apply(replace(PLAIN, pose="pose"), five)
    assert np.allclose(fields.pop("reward"), [0.1, 0.2, 0.4])
    assert all(np.array_equal(values, whole[name]) for name, values in fields.items())


def test_what_was_observed_last_is_no_row_where_no_control_step_ends_there():
    """Five steps and six observations: the sixth is half a control step after the fifth."""
    five = recorded()
    fields = apply(PLAIN, five, {name: five[name][4:] for name in ("cam", "pos")})
    assert len(fields["image"]) == 3 and np.allclose(fields["reward"], [0.1, 0.2, 0.5])


def test_the_columns_say_which_numbers_are_positions_and_actions():
    """The same logs, with their two numbers behind others and the other way round."""
    plain = recorded()
    wide = plain | {name: np.c_[np.full((STEPS, 2), 77.0), plain[name][:, ::-1]] for name in ("pos", "act")}
    told = apply(replace(PLAIN, reach=100.0, state_columns=(3, 2), action_columns=(3, 2)), wide)
    expected = apply(replace(PLAIN, reach=100.0), plain)
    assert all(np.array_equal(told[name], values) for name, values in expected.items())


@pytest.mark.parametrize(
    "representation, expected",
    [("absolute", [0.2, -0.1]), ("delta", [1.0, 0.4]), ("velocity", [0.1, 0.04])],
)
def test_an_action_is_a_target_a_way_or_a_speed(representation, expected):
    """Two steps of (25, 10) at 10 steps a second from (5, 20), a reach of 100: 25 - 5 and 10 - 20; 25 + 25 and 10 + 10,
    of which the first is cut at 50 by a reach of 50; and a tenth of those."""
    logs = {"cam": np.zeros((3, 4, 8, 3), np.uint8), "pos": np.tile([5.0, 20.0], (3, 1))}
    logs["act"] = np.tile([25.0, 10.0], (3, 1))
    reach = 50.0 if representation != "absolute" else 100.0
    known = replace(PLAIN, reward=None, reach=reach, representation=representation)
    assert np.allclose(apply(known, logs)["action"], [[0, 0], expected])


def test_the_corners_say_where_positions_are_on_the_table():
    """From 0 to 20 and from 40 to 50: positions (0, 50), (20, 48) and (40, 46)."""
    known = replace(PLAIN, low=(0.0, 40.0), high=(20.0, 50.0), pose="pose")
    fields = apply(known, recorded())
    assert np.allclose(fields["agent"], [[0, 512], [512, 0.8 * 512], [1024, 0.6 * 512]])
    assert np.allclose(fields["pose"][1], [2 / 20 * 512, (4 - 40) / 10 * 512, 0.2])


def test_only_the_crop_is_decoded():
    logs = recorded()
    logs["cam"][:, :2] = 250
    assert (apply(replace(PLAIN, crop=(0, 0, 2, 8)), logs)["image"] == 250).all()
    assert apply(replace(PLAIN, crop=(2, 0, 2, 8)), logs)["image"][:, 0, 0, 0].tolist() == [0, 80, 160]


def test_poses_are_brought_to_the_table():
    pose = apply(replace(PLAIN, pose="pose"), recorded())["pose"]
    assert np.allclose(pose, [[0, 0, 0], [2 * 5.12, 4 * 5.12, 0.2], [4 * 5.12, 8 * 5.12, 0.4]])


def test_pictures_are_cropped_before_they_are_resized():
    frame = np.zeros((4, 8, 3), np.uint8)
    frame[1:3, 4:6] = 200
    assert (shown(replace(PLAIN, crop=(1, 4, 2, 2)), frame) == 200).all()


def test_places_in_pictures_and_in_the_states_units():
    known = replace(PLAIN, low=(-1, 0), high=(1, 100))
    assert np.allclose(from_pixels(known, np.array([8.0, 2.0])), [1, 50])
    assert np.allclose(pixels(known, [0, 50]), [256, 256])


def test_a_mapping_survives_json_and_unknown_keys_are_named():
    known = replace(PLAIN, crop=(0, 0, 4, 4), leave_out=(3, 7))
    assert from_dict(to_dict(known), "a test") == known
    with pytest.raises(UserError, match=r"a test is no mapping.*colour"):
        from_dict(to_dict(known) | {"colour": "blue"}, "a test")
    assert known.episodes(9) == [0, 1, 2, 4, 5, 6, 8]


@pytest.mark.parametrize("columns, fits", [((0, 1), True), ((1, 0), True), ((-1, 0), False), ((0, 2), False)])
def test_columns_that_a_feature_has_not_do_not_fit(columns, fits):
    known = replace(PLAIN, reward=None, action_columns=columns)
    wrong = check(known, Logs([{name: x for name, x in recorded().items() if name != "rew"}]))
    assert wrong == ([] if fits else [f"action columns {columns} are not in act, which has 2 numbers"])


@pytest.mark.parametrize(
    "change, said",
    [
        ({"reach": -1.0}, "cannot be a mapping: reach is -1.0, expected above 0"),
        ({"size": 0}, "cannot be a mapping: size is 0, expected at least 1 and at most 1024"),
        ({"high": (0.0, 512.0)}, r"cannot be a mapping: high is \(0.0, 512.0\), expected more than low"),
        ({"rate": 20.0}, "cannot be a mapping: rate is 20 control steps a second, expected at most the 10 of fps"),
    ],
)
def test_a_mapping_in_a_file_that_cannot_be_is_refused_by_what_it_says(tmp_path, change, said):
    path = tmp_path / "glocal.json"
    save(path, replace(PLAIN, **change))
    with pytest.raises(UserError, match=said):
        load(path)


def test_a_mapping_in_a_file_is_loaded_as_it_was_saved(tmp_path):
    save(tmp_path / "glocal.json", PLAIN)
    assert load(tmp_path / "glocal.json") == PLAIN


def test_an_episode_without_a_control_step_is_refused():
    with pytest.raises(ValueError, match="2 steps are too few"):
        apply(PLAIN, {name: values[:2] for name, values in recorded().items()})


@pytest.mark.parametrize("role", ["done", "success"])
def test_what_says_yes_or_no_says_nothing_else(role):
    mapping, rows = replace(PLAIN, reward=None, ends=True, **{role: "flag"}), np.array([0, 2, 4])
    assert outcomes(mapping, {"flag": np.array([0, 0, 0, 1.0])}, rows)
    with pytest.raises(UserError, match=f"{role} is flag, which holds 0 to 1, expected 0 or 1"):
        outcomes(mapping, {"flag": np.array([0, 0.5, 0, 1.0])}, rows)


def test_colours_of_a_video_are_half_as_fine_and_brightness_is_not():
    picture = np.zeros((2, 4, 3), np.uint8)
    picture[:, 0] = 200, 100, 50
    picture[:, 1] = 80, 80, 80
    grey = np.array([0.299, 0.587, 0.114])
    light = [grey @ (200, 100, 50), 80.0]
    colour = ((np.array([200, 100, 50]) - light[0]) + 0) / 2  # grey has none
    expected = np.rint([light[0] + colour, light[1] + colour])
    found = subsampled(picture)
    assert np.array_equal(found[:, :2], np.broadcast_to(expected, (2, 2, 3)))
    assert np.array_equal(found[:, 2:], picture[:, 2:])
    assert subsampled(picture[:1, :3]).shape == (1, 3, 3)


def test_what_is_live_is_seen_as_the_logs_video_would_have_kept_it():
    picture = np.random.default_rng(0).integers(0, 256, (4, 8, 3), dtype=np.uint8)
    assert np.array_equal(live(PLAIN, True, picture), shown(PLAIN, subsampled(picture)))
    assert np.array_equal(live(PLAIN, False, picture), shown(PLAIN, picture))
