"""What is guessed of the logs of a robot that nobody has seen before."""

from dataclasses import replace

import numpy as np
import pytest

from glocal.data.dataset import Feature
from glocal.data.propose_robot import propose_robot
from glocal.data.streams import ActionPart, Stream, misfits
from glocal.runtime.files import UserError
from tests.data.memory import Logs


def arm(steps: int = 60, seed: int = 0) -> dict[str, np.ndarray]:
    """Two joints that follow their targets, a hand that is moved by steps, a gripper that is open or shut."""
    rng = np.random.default_rng(seed)
    target = np.repeat(rng.uniform(-1, 1, (steps // 10, 2)), 10, axis=0)
    joints = target + 0.05 * rng.normal(size=target.shape)
    step = 0.02 * rng.uniform(-1, 1, (steps, 1))
    shut = np.repeat(rng.integers(0, 2, (steps // 5, 1)), 5, axis=0)
    return {
        "observation.state": np.concatenate([joints, 5 + step.cumsum(0), 0.1 * shut], 1).astype(np.float32),
        "observation.images.top": np.zeros((steps, 8, 8, 3), np.uint8),
        "action": np.concatenate([target, step, shut], 1).astype(np.float32),
        "timestamp": np.arange(steps) / 50,
        "frame_index": np.arange(steps),
        "next.reward": -20 * rng.random(steps).astype(np.float32),
        "next.done": np.arange(steps) == steps - 1,
    }


def logs(**more: np.ndarray) -> Logs:
    return Logs([arm(seed=i) | more for i in range(4)], fps=50.0)


def test_episodes_of_one_row_tell_nothing():
    with pytest.raises(UserError, match="no episode has two control steps"):
        propose_robot(Logs([{name: x[:1] for name, x in arm(seed=i).items()} for i in range(4)], fps=10.0))


def test_all_numbers_that_are_sensed_are_streams_and_row_numbers_are_not():
    mapping, _ = propose_robot(logs(force=np.zeros((60, 3), np.float32)))
    assert mapping.streams == (
        Stream("state", "observation.state", (0, 1, 2, 3)),
        Stream("force", "force", (0, 1, 2)),
    )
    assert misfits(mapping, logs(force=np.zeros((60, 3), np.float32))) == []


def test_each_number_of_an_action_is_a_target_a_step_or_a_switch():
    mapping, said = propose_robot(logs())
    targets, steps = mapping.action
    assert (targets.columns, targets.kind, steps.columns, steps.kind) == ((0, 1, 3), "absolute", (2,), "delta")
    assert "action 0 1 3: taken for targets, near what a stream shows (absolute)" in said
    assert np.allclose(targets.low[:2], -1, atol=0.1) and targets.low[2] == 0 and targets.high[2] == 1
    assert steps.low[0] == -steps.high[0] and 0.02 < steps.high[0] <= 5 * 0.02  # five steps in a control step


def test_velocities_are_told_by_their_name():
    mapping, _ = propose_robot(
        Logs([{k: v for k, v in arm().items() if k != "action"} | {"action.velocity": arm()["action"]}])
    )
    assert [part.kind for part in mapping.action] == ["velocity"] and mapping.action[0].columns == (0, 1, 2, 3)


def test_two_actions_are_both_told():
    mapping, _ = propose_robot(logs(**{"action.base": np.random.default_rng(0).normal(size=(60, 2))}))
    assert {part.feature for part in mapping.action} == {"action", "action.base"} and mapping.action_dim == 6


@pytest.mark.parametrize(
    "fps, rate", [(50.0, 12.5), (30.0, 10.0), (25.0, 12.5), (20.0, 10.0), (10.0, 10.0), (5.0, 5.0)]
)
def test_the_rate_of_control_steps_is_a_divisor_of_the_logs_own(fps, rate):
    mapping, _ = propose_robot(Logs([arm()], fps=fps))
    assert (mapping.fps, mapping.rate) == (fps, rate)


def test_outcomes_are_found_by_their_names_and_rewards_scaled():
    mapping, said = propose_robot(logs())
    assert (mapping.reward, mapping.done, mapping.success) == ("next.reward", "next.done", None)
    assert 15 < mapping.reward_scale <= 20 and any("of its rewards, over" in line for line in said)


def test_what_never_changes_gets_limits_about_it():
    still = arm()
    still["action"][:, 2] = 0.0
    mapping, _ = propose_robot(Logs([still]))
    part = next(part for part in mapping.action if 2 in part.columns)
    assert part.low[part.columns.index(2)] < 0 < part.high[part.columns.index(2)]


def test_names_become_words_of_their_own():
    one = {
        "observation.state": arm()["observation.state"],
        "state": arm()["observation.state"],
        "action": arm()["action"],
    }
    mapping, _ = propose_robot(
        Logs([one | {"observation.2nd-arm": arm()["action"], "observation.reward": arm()["action"]}])
    )
    assert [stream.name for stream in mapping.streams] == ["state", "state_", "_2nd_arm", "reward_"]


def test_logs_without_actions_or_without_anything_observed_are_refused():
    with pytest.raises(UserError, match="holds no actions; expected a feature called action"):
        propose_robot(Logs([{"observation.state": np.zeros((5, 2))}]))
    with pytest.raises(UserError, match="holds nothing that is observed; found action"):
        propose_robot(Logs([{"action": np.zeros((5, 2))}]))


def test_words_are_no_stream():
    one = logs()
    one.features = {**one.features, "task": Feature((1,), "object")}
    assert "task" not in [stream.feature for stream in propose_robot(one)[0].streams]


def test_a_format_that_does_not_tell_its_rate_is_taken_for_ten_steps_a_second():
    mapping, said = propose_robot(Logs([arm()], fps=None))
    assert mapping.fps == 10 and "the format does not tell the rate; 10 steps per second are assumed" in said


def test_what_is_proposed_can_be_saved_and_is_hashable():
    mapping, _ = propose_robot(logs())
    assert hash(mapping) == hash(replace(mapping)) and isinstance(mapping.action[0], ActionPart)


@pytest.mark.parametrize("shape", [(3, 24, 32), (24, 32, 1), (24, 32)])
def test_pictures_in_another_layout_are_no_streams_of_thousands_of_numbers_and_it_is_said(shape):
    dataset = logs(wrist=np.zeros((60, *shape), np.uint8), turn=np.zeros((60, 3, 3), np.float32))
    dataset.features["wrist"] = Feature(shape, "uint8")
    mapping, said = propose_robot(dataset)
    assert [one.feature for one in mapping.streams] == ["observation.state", "turn"]
    assert [one for one in said if one.startswith("wrist holds")] == [
        f"wrist holds {' by '.join(map(str, shape))} numbers (uint8) and is left out: pictures are expected as bytes "
        "(height, width, 3); if it holds some, write them so, the colours last; if it holds none, name the numbers "
        "that are to be seen in a stream"
    ]
