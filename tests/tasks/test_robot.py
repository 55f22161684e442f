"""Any Gymnasium environment stands for the robot that logs are of."""

import gymnasium
import numpy as np
import pytest

from glocal.pipeline.config import EnvConfig
from glocal.runtime.files import UserError
from glocal.tasks.robot import RENDERED, GymRobot, Sensed, Viewed, check_spaces, make, picked, sense
from tests.robots import ID, Reach

SENSED = (Sensed("goal", "goal", (2, 0)), Sensed("hand", "state", (3,)))
ENDS = np.array([-0.1, -0.1, -0.1, 0.0]), np.array([0.1, 0.1, 0.1, 1.0])


class Short(Reach):
    """Says success at its second step, and ends at the third."""

    def reset(self, **options):
        self.steps = 0
        return super().reset(**options)

    def step(self, action):
        self.steps += 1
        seen, reward, _, _, info = super().step(action)
        return seen, reward, self.steps == 3, False, info | {"is_success": self.steps == 2}


def robot(env: gymnasium.Env, hold: int = 1, success: str = "is_success") -> GymRobot:
    return GymRobot(env, SENSED, lambda action: action / 10, hold, success)


def test_streams_read_their_columns_of_their_entry():
    seen = {"goal": np.array([1.0, 2.0, 3.0]), "state": np.arange(4)}
    found = sense(seen, SENSED)
    assert found["goal"].tolist() == [3, 1] and found["hand"].tolist() == [3]
    assert sense(np.arange(6).reshape(2, 3), [Sensed("all", "", (5, 1))])["all"].tolist() == [5, 1]


@pytest.mark.parametrize(
    "entry, expected",
    [
        ("goal", ("goal", None)),
        ("", ("", None)),
        (RENDERED, (RENDERED, None)),
        ("state[0:3,9]", ("state", (0, 1, 2, 9))),
        ("[4, 1]", ("", (4, 1))),
    ],
)
def test_some_numbers_of_an_entry_can_be_named(entry, expected):
    assert picked(entry) == expected


@pytest.mark.parametrize(
    "entry", ["state[", "state[]", "state[1:2:3]", "state[a]", "state[-1]", "state[3:3]", "state[1"]
)
def test_what_names_no_numbers_is_refused(entry):
    with pytest.raises(UserError, match=r"expected (numbers and ranges|some), as in state\[0:3,9\]|as in state"):
        picked(entry)


def test_cameras_show_what_is_rendered_or_an_entry_of_the_observation():
    class Seeing(Reach):
        def render(self):
            return np.full((4, 4, 3), 7, np.uint8)

        def _seen(self):
            return super()._seen() | {"top": np.full((8, 8, 3), 9, np.uint8)}

    views = [Viewed("a", RENDERED, lambda x: x[:2]), Viewed("b", "top", lambda x: x[:1])]
    one = GymRobot(Seeing(), SENSED, lambda action: action / 10, 1, "is_success", views)
    found = one.reset(seed=0)
    assert found["a"].shape == (2, 4, 3) and found["a"].max() == 7
    assert found["b"].shape == (1, 8, 3) and one.step(np.zeros(4)).fields["b"].max() == 9


def test_what_is_no_picture_is_said():
    one = GymRobot(Reach(), SENSED, lambda action: action, 1, "is_success", [Viewed("a", "goal", lambda x: x)])
    with pytest.raises(UserError, match=r"camera a is to read goal, which gives float32 of shape \(3,\)"):
        one.reset(seed=0)
    (said,) = check_spaces(Reach(), SENSED, [Viewed("a", "top", lambda x: x)], *ENDS)
    assert "camera a reads 'top' of its observation, which has goal, state" in said and "FEATURE=render()" in said


def test_an_action_is_held_over_a_control_step_and_what_the_environment_is_told_is_made_of_it():
    env = Reach()
    one = robot(env, hold=3)
    one.reset(seed=3)
    before = env.state.copy()
    one.step(np.array([0.5, 0.0, -0.5, 7.0]))
    assert np.allclose(env.state - before, [0.15, 0, -0.15, 0.7 - 0.5], atol=1e-6)


def test_the_same_seed_is_the_same_initial_state_and_another_is_another():
    one = robot(Reach())
    first, again, other = (one.reset(seed=seed)["goal"] for seed in (3, 3, 4))
    assert np.array_equal(first, again) and not np.array_equal(first, other)


def test_success_within_a_control_step_counts_and_nothing_is_done_after_the_end():
    one = robot(Short(), hold=2)
    one.reset(seed=0)
    first, second = one.step(np.zeros(4)), one.step(np.zeros(4))
    assert (first.success, first.ended, second.success, second.ended) == (True, False, False, True)
    assert one.env.unwrapped.steps == 3


def test_an_info_that_does_not_say_success_is_named():
    one = robot(Reach(), success="done")
    one.reset(seed=0)
    with pytest.raises(UserError, match="info has no 'done', which is to say success; it has is_success"):
        one.step(np.zeros(4))


def test_environments_are_made_without_their_limit_on_steps():
    env = make(ID)
    env.reset(seed=0)
    assert not any(env.step(env.action_space.sample())[3] for _ in range(50))


def test_an_environment_that_is_not_there_is_named():
    with pytest.raises(UserError, match="there is no environment 'Nowhere-v0' to judge policies in"):
        make("Nowhere-v0")


class Deaf(Reach):
    """Ignores the seed that it is reset with, and draws from its generator."""

    def reset(self, **options):
        return super().reset(seed=None)


def test_environments_that_ignore_a_seed_begin_where_their_generator_says():
    one = robot(Deaf())
    first, other, again = (one.reset(seed=seed)["goal"] for seed in (3, 4, 3))
    assert np.array_equal(first, again) and not np.array_equal(first, other)
    assert np.array_equal(first, robot(Reach()).reset(seed=3)["goal"])


class Limited(Reach):
    """Cuts its episodes off at the second step, and cannot be stepped on."""

    def reset(self, **options):
        self.steps = 0
        return super().reset(**options)

    def step(self, action):
        self.steps += 1
        assert self.steps <= 2
        seen, reward, ended, _, info = super().step(action)
        return seen, reward, ended, self.steps == 2, info


def test_an_episode_ends_where_the_environment_itself_cuts_it_off():
    one = robot(Limited(), hold=4)
    one.reset(seed=0)
    assert one.step(np.zeros(4)).ended


def test_options_are_json_where_they_can_be_and_words_otherwise():
    told = ("a=push-v3", "b=0", "c=true", "d=[1, 2]", "e=x=y", "f=", 'g="0"')
    expected = {"a": "push-v3", "b": 0, "c": True, "d": [1, 2], "e": "x=y", "f": "", "g": "0"}
    assert EnvConfig(options=told).arguments == expected


def test_an_environment_is_made_with_its_options_and_a_wrong_one_is_named():
    with pytest.raises(UserError, match=r"cannot be made with colour=red \(.*colour.*\); name its options with --env"):
        make(ID, colour="red")


@pytest.mark.parametrize(
    "sensed, low, high, said",
    [
        ([Sensed("a", "hands", (0,))], *ENDS, "stream a reads 'hands' of its observation, which has goal, state"),
        ([Sensed("a", "goal", (3,))], *ENDS, "stream a reads 4 numbers of 'goal', which has (3,)"),
        (SENSED, ENDS[0][:3], ENDS[1][:3], "those of the logs are 3 numbers"),
        (SENSED, ENDS[0], 2 * ENDS[1], "the logs' actions go beyond its own (0: -0.1 to 0.2, it takes -0.1 to 0.1;"),
    ],
)
def test_what_does_not_fit_the_logs_is_said(sensed, low, high, said):
    assert check_spaces(Reach(), SENSED, [], *ENDS) == []
    assert check_spaces(Reach(), SENSED, [], ENDS[0] / 2, ENDS[1] / 2) == []
    assert said in check_spaces(Reach(), sensed, [], low, high)[0]
