"""What a robot senses and is told, from its logs to models and back; every number here was worked out by hand."""

from dataclasses import replace

import numpy as np
import pytest

from glocal.data.dataset import Feature
from glocal.data.mapping import shown
from glocal.data.streams import (
    ActionPart,
    Camera,
    RobotMapping,
    Stream,
    apply,
    asked,
    from_dict,
    impossible,
    misfits,
    normalised,
    over_control_step,
    to_dict,
    to_features,
    to_robot,
    unused,
)
from glocal.runtime.files import UserError
from tests.data.memory import Logs

JOINTS, CUBE = Stream("joints", "observation.state", (0, 1)), Stream("cube", "observation.cube", (2, 0))
WAY = ActionPart("action", (0, 1), (-2.0, -4.0), (2.0, 4.0), "delta")
GRIPPER = ActionPart("action", (2,), (0.0,), (10.0,), "absolute")
SPEED = ActionPart("base", (0,), (-1.0,), (1.0,), "velocity")
PLAIN = RobotMapping((JOINTS, CUBE), (WAY, GRIPPER, SPEED), fps=20, rate=10, reward="next.reward", reward_over="last")

TOP = Camera("top", "observation.images.top", (8, 40, 16, 16), 16)
SEEING = replace(PLAIN, cameras=(TOP,))


def recorded(steps: int = 5) -> dict[str, np.ndarray]:
    t = np.arange(steps, dtype=np.float32)
    return {
        "observation.state": np.stack([t, 10 + t, 100 + t], 1),
        "observation.cube": np.stack([t, -t, 2 * t], 1),
        "action": np.stack([0.1 * t, 1 + 0 * t, 2 * t], 1),
        "base": (t / 10)[:, None],
        "next.reward": t,
        "next.done": t == 3,
    }


def logs(**more: np.ndarray) -> Logs:
    return Logs([recorded() | more], fps=20)


def test_streams_are_the_columns_that_they_name_at_every_control_step():
    found = apply(PLAIN, recorded())
    assert found["joints"].tolist() == [[0, 10], [2, 12], [4, 14]]
    assert found["cube"].tolist() == [[0, 0], [4, 2], [8, 4]]
    assert found["joints"].dtype == found["action"].dtype == np.float32


def test_cameras_show_the_used_part_of_their_pictures_at_every_control_step():
    pictures = np.random.default_rng(0).integers(0, 256, (5, 32, 64, 3), dtype=np.uint8)
    found = apply(SEEING, recorded() | {"observation.images.top": pictures})
    assert found["top"].shape == (3, 16, 16, 3) and found["top"].dtype == np.uint8
    assert np.array_equal(found["top"], pictures[::2, 8:24, 40:56])


def test_a_picture_after_the_last_step_counts_where_everything_was_seen_then():
    pictures = np.zeros((5, 32, 64, 3), np.uint8)
    final = {name: x[-1:] for name, x in recorded().items()} | {"observation.images.top": pictures[:1] + 9}
    found = apply(SEEING, recorded() | {"observation.images.top": pictures}, final)
    assert len(found["top"]) == 3 and found["top"][-1].max() == 0  # of 6 observations every second one counts
    found = apply(replace(SEEING, rate=20), recorded() | {"observation.images.top": pictures}, final)
    assert len(found["top"]) == len(found["joints"]) == 6 and found["top"][-1].min() == 9


@pytest.mark.parametrize(
    "change, said",
    [
        (
            {"feature": "observation.images.wrist"},
            "camera top is 'observation.images.wrist', which the dataset has not",
        ),
        ({"feature": "observation.state"}, "camera top is 'observation.state', which holds numbers, expected pictures"),
        (
            {"crop": (8, 60, 16, 16)},
            "camera top has the crop (8, 60, 16, 16), which reaches beyond pictures of (32, 64)",
        ),
        ({"size": 24}, "camera top has size 24, expected a power of two"),
        ({"name": "joints"}, "2 streams and cameras are called 'joints', expected a name for each"),
    ],
)
def test_what_is_wrong_with_a_camera_is_said(change, said):
    dataset = logs(**{"observation.images.top": np.zeros((5, 32, 64, 3), np.uint8)})
    assert misfits(SEEING, dataset) == []
    assert said in misfits(replace(SEEING, cameras=(replace(TOP, **change),)), dataset)[0]
    assert "observation.images.top is not used (pictures)" in unused(PLAIN, dataset)
    assert "observation.images.top is not used (pictures)" not in unused(SEEING, dataset)


def test_streams_of_one_feature_go_back_to_their_own_columns_of_it():
    mapping = replace(PLAIN, streams=(JOINTS, Stream("far", "observation.state", (3,)), CUBE))
    seen = {"joints": np.array([[1.0, 2.0]]), "far": np.array([[4.0]]), "cube": np.array([[5.0, 6.0]])}
    found = to_features(mapping, seen)
    assert found["observation.state"].tolist() == [[1, 2, 0, 4]] and found["observation.cube"].tolist() == [[6, 0, 5]]


def test_cameras_of_one_feature_are_told_apart():
    mapping = replace(SEEING, cameras=(TOP, replace(TOP, name="close")))
    seen = {name: np.zeros((1, 2)) for name in ("joints", "cube")}
    seen |= {name: np.full((1, 16, 16, 3), value, np.uint8) for name, value in (("top", 1), ("close", 2))}
    found = to_features(mapping, seen)
    assert found["observation.images.top"].max() == 1 and found["observation.images.close"].max() == 2


def test_a_crop_that_reaches_beyond_a_picture_is_said():
    with pytest.raises(UserError, match=r"the crop \(8, 40, 16, 16\) of a camera reaches beyond pictures of \(20"):
        shown(TOP, np.zeros((20, 60, 3), np.uint8))


def test_deltas_add_up_over_a_control_step_and_targets_and_speeds_count_by_their_mean():
    told = asked(PLAIN, recorded(), np.array([0, 2, 4]))
    assert np.allclose(told, [[0.1, 2, 1, 0.05], [0.5, 2, 5, 0.25]])


def test_actions_are_one_at_their_limits_and_what_goes_beyond_is_cut():
    assert np.allclose(normalised(PLAIN, np.array([[-2.0, 4.0, 5.0, 0.5]])), [[-1, 1, 0, 0.5]])
    found = apply(replace(PLAIN, action=(WAY, replace(GRIPPER, high=(2.0,)), SPEED)), recorded())
    assert found["action"][0].tolist() == [0, 0, 0, 0]
    assert np.allclose(found["action"][1:], [[0.05, 0.5, 0.0, 0.05], [0.25, 0.5, 1.0, 0.25]])


def test_what_the_robot_is_told_undoes_what_was_read_of_it():
    told = to_robot(PLAIN, np.array([[0.5, -1.0, 0.0, 3.0]]))  # a delta of 1 over two steps
    assert np.allclose(told["action"], [[0.5, -2.0, 5.0]]) and np.allclose(told["base"], [[1.0]])  # within its limits


def test_the_robot_is_told_its_numbers_in_the_order_of_the_logs_whatever_the_order_of_parts():
    apart = replace(PLAIN, action=(replace(GRIPPER, columns=(0,)), replace(WAY, columns=(2, 1))))
    assert to_robot(apart, np.array([1.0, 0.5, -1.0]))["action"].tolist() == [10.0, -2.0, 0.5]


def test_what_is_told_over_a_control_step_goes_back_to_the_features_that_it_came_of():
    found = over_control_step(PLAIN, np.array([[0.5, -1.0, 0.0, 1.0]]))
    assert np.allclose(found["action"], [[1.0, -4.0, 5.0]]) and np.allclose(found["base"], [[1.0]])


def test_rewards_are_brought_to_about_one_and_belong_to_what_they_led_to():
    found = apply(replace(PLAIN, reward_scale=4.0), recorded())
    assert found["reward"].tolist() == [0, 0.25, 1.0]  # of steps 1 and 4: the last of each control step, over 4
    assert (found["cont"] == 1).all() and "success" not in found


def test_an_episode_that_ends_for_good_ends_and_one_that_is_cut_off_does_not():
    ends = replace(PLAIN, done="next.done", ends=True)
    assert apply(ends, recorded())["cont"].tolist() == [1, 1, 0]
    assert apply(replace(ends, ends=False), recorded())["cont"].tolist() == [1, 1, 1]


def test_what_the_last_step_led_to_ends_a_control_step_of_its_own():
    final = {name: x[-1:] + 1 for name, x in recorded(6).items() if name.startswith("observation")}
    assert apply(PLAIN, recorded(6), final)["joints"].tolist() == [[0, 10], [2, 12], [4, 14], [6, 16]]
    assert len(apply(PLAIN, recorded(6))["joints"]) == 3


def test_an_episode_without_a_control_step_is_refused():
    with pytest.raises(ValueError, match="2 steps are too few for one control step"):
        apply(PLAIN, recorded(2))


def test_a_mapping_survives_json_and_unknown_keys_are_named():
    assert from_dict(to_dict(PLAIN), "a test") == PLAIN
    with pytest.raises(UserError, match=r"a test is no mapping.*colour"):
        from_dict(to_dict(PLAIN) | {"colour": "blue"}, "a test")
    with pytest.raises(UserError, match="a test cannot be a mapping: there are no streams and no cameras"):
        from_dict(to_dict(replace(PLAIN, streams=())), "a test")


@pytest.mark.parametrize(
    "change, said",
    [
        ({"streams": ()}, "there are no streams and no cameras: nothing is observed"),
        ({"action": ()}, "there is no action: nothing is told"),
        ({"streams": (JOINTS, JOINTS)}, "2 streams and cameras are called 'joints', expected a name for each"),
        ({"streams": (replace(JOINTS, name="reward"),)}, "a stream or camera is called 'reward'"),
        ({"streams": (replace(JOINTS, name="../up"),)}, "a stream or camera is called '../up'"),
        ({"streams": (replace(JOINTS, columns=()),)}, "stream joints has the columns (), expected at least one"),
        ({"streams": (replace(JOINTS, columns=(1, 1)),)}, "stream joints has the columns (1, 1), expected"),
        ({"action": (replace(WAY, low=(1.0,)),)}, "action action has 1 low and 2 high limits, expected 2 of each"),
        ({"action": (replace(GRIPPER, low=(10.0,)),)}, "action action 2 goes from 10 to 10, expected the low limit"),
        ({"action": (GRIPPER, GRIPPER)}, "action action 2 is named twice"),
        ({"rate": 40.0}, "rate is 40 control steps a second, expected at most the 20 of fps"),
    ],
)
def test_what_cannot_be_together_is_said(change, said):
    assert impossible(PLAIN) == []
    assert impossible(replace(PLAIN, **change))[0].startswith(said)


@pytest.mark.parametrize(
    "change, said",
    [
        ({"streams": (Stream("hand", "wrist", (0,)),)}, "stream hand is 'wrist', which the dataset has not; it has "),
        (
            {"streams": (replace(JOINTS, columns=(0, 3)),)},
            "stream joints has the columns (0, 3), but observation.state",
        ),
        ({"action": (replace(GRIPPER, columns=(7,)),)}, "action has the columns (7,), but action has 3 numbers"),
        ({"reward": "score"}, "reward is 'score', which the dataset has not"),
        ({"fps": 10.0, "rate": 10.0}, "fps is 10, the dataset's is 20"),
        ({"rate": 8.0}, "20 steps a second are no multiple of 8 control steps a second"),
        ({"ends": True}, "ends is true, but no feature is named that says done"),
    ],
)
def test_what_does_not_fit_a_dataset_is_said(change, said):
    assert misfits(PLAIN, logs()) == []
    assert misfits(replace(PLAIN, **change), logs())[0].startswith(said)


def test_pictures_are_no_stream_of_numbers():
    one = logs()
    one.features = {**one.features, "observation.cube": Feature((8, 8, 3), "uint8", picture=True)}
    assert misfits(PLAIN, one)[0] == "stream cube is 'observation.cube', which holds pictures, expected numbers"


def test_nothing_is_dropped_in_silence():
    one = logs(timestamp=np.arange(5.0))
    one.features = {**one.features, "wrist": Feature((8, 8, 3), "uint8", picture=True)}
    assert unused(replace(PLAIN, leave_out=(0,)), one) == [
        "observation.state 2 of 3 numbers are not used",
        "observation.cube 1 of 3 numbers are not used",
        "next.done is not used (all 1 numbers)",
        "timestamp is not used (all 1 numbers)",
        "wrist is not used (pictures)",
        "1 of 1 episodes are left out",
    ]
