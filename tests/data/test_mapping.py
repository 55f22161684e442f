"""A mapping says how recorded steps become decisions; every number here was worked out by hand."""

from dataclasses import replace

import numpy as np
import pytest

from glocal.data.mapping import Mapping, apply, from_dict, from_pixels, pixels, shown, to_dict
from glocal.files import UserError

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
    """Rows 0, 2, 4; of a decision's targets their mean counts: of steps 0 and 1, of 2 and 3, from positions 0 and 2."""
    fields = apply(PLAIN, recorded())
    assert np.allclose(fields["action"], [[0, 0], [0.9, -1.0], [0.9, -1.0]])  # 9, -20.5 and 9, -20.5, over 10, cut to 1
    wide = apply(replace(PLAIN, reach=100.0), recorded())
    assert np.allclose(wide["action"], [[0, 0], [0.09, -0.205], [0.09, -0.205]])
    assert np.allclose(fields["agent"], 5.12 * np.array([[0, 50], [20, 48], [40, 46]]))
    assert fields["image"].shape == (3, 4, 4, 3) and fields["image"][:, 0, 0, 0].tolist() == [0, 80, 160]


def test_deltas_are_summed_and_velocities_integrated_over_a_decision():
    logs = recorded() | {"act": np.arange(2 * STEPS, dtype=np.float32).reshape(STEPS, 2) / 10}
    fields = apply(replace(PLAIN, representation="delta"), logs)
    assert np.allclose(fields["action"], [[0, 0], [0.02, 0.04], [0.1, 0.12]])  # (0.0 + 0.2) / 10, ..., (0.4 + 0.6) / 10
    fields = apply(replace(PLAIN, representation="velocity"), logs)
    assert np.allclose(fields["action"], [[0, 0], [0.002, 0.004], [0.01, 0.012]])


def test_what_came_of_a_step_belongs_to_the_row_after_it():
    """The reward of step 1 came with the observation of step 2, that of step 3 with step 4."""
    assert np.allclose(apply(PLAIN, recorded())["reward"], [0.1, 0.2, 0.4])


def test_only_what_ends_for_good_stops_continuation():
    done = replace(PLAIN, done="end")
    assert apply(done, recorded())["cont"].tolist() == [1, 1, 1]
    assert apply(replace(done, ends=True), recorded())["cont"].tolist() == [1, 1, 0]


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


def test_an_episode_without_a_decision_is_refused():
    with pytest.raises(ValueError, match="2 steps are too few"):
        apply(PLAIN, {name: values[:2] for name, values in recorded().items()})
