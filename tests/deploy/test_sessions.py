"""Sessions of people: each moves as it is told, whoever else plays, and all of them in one model step."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor

from glocal.core.types import Segment, Step
from glocal.deploy.play.game import Frame, Game, Side, Start, Wish
from glocal.deploy.play.sessions import Sessions
from tests.deploy.served import PushedWorld, pushed_game
from tests.toys import EndingWorld, LinearSurrogate, LinearWorld, Place

STARTS = (0.0, 10.0, -3.0)


def game(world=None, **changes) -> Game:
    """x' = x + 0.5 a from three places."""
    obs = torch.tensor(STARTS)[:, None, None]
    labels = torch.zeros(len(STARTS), 1)
    window = Segment(obs, torch.zeros(len(STARTS), 1, 1), labels, labels + 1)
    starts = [Start(str(x), row=i) for i, x in enumerate(STARTS)]

    def show(context: Place, seen: Tensor):
        return None, {"x": seen.numpy()}

    return Game(LinearWorld() if world is None else world, window, starts, show, lambda obs: {"x": obs}, **changes)


def x(frame: Frame) -> float:
    return float(frame.numbers["x"][0])


def test_a_session_begins_where_it_asks_and_moves_as_it_is_told():
    sessions = Sessions(game())
    wish = Wish(1, start=1, action=(1.0,))
    shown = [sessions.step({0: wish})[0][0] for _ in range(3)]
    assert [x(one) for one in shown] == [10.0, 10.5, 11.0]
    assert [one.step for one in shown] == [0, 1, 2]
    assert shown[2].reward == pytest.approx(-(10.0**2)) and shown[2].total == pytest.approx(-(9.5**2) - 10.0**2)


def test_an_episode_begins_anew_when_it_is_asked_for():
    sessions, wish = Sessions(game()), Wish(1, action=(1.0,))
    for _ in range(4):
        sessions.step({0: wish})
    frame = sessions.step({0: replace(wish, start=2, begun=1)})[0][0]
    assert (x(frame), frame.step, frame.total) == (-3.0, 0, 0.0)


def test_nobody_moves_by_what_others_do_and_whoever_comes_and_goes():
    sessions, alone = Sessions(game()), Sessions(game())
    wish = Wish(1, action=(0.5,))
    others = [{}, {5: Wish(2, 1, action=(1.0,))}, {5: Wish(2, 1, action=(-1.0,)), 3: Wish(3, 2)}, {3: Wish(3, 2)}, {}]
    for more in others:
        assert x(sessions.step({0: wish, **more})[0][0]) == x(alone.step({0: wish})[0][0])


def test_who_takes_a_seat_begins_an_episode_of_his_own():
    sessions = Sessions(game())
    for _ in range(3):
        sessions.step({0: Wish(1, 1, action=(1.0,))})
    frame = sessions.step({0: Wish(2, 2, action=(1.0,))})[0][0]
    assert (frame.visit, x(frame), frame.step) == (2, -3.0, 0)


def test_all_sessions_are_one_model_step():
    world = PushedWorld()
    sessions = Sessions(pushed_game(world=world))
    for _ in range(3):
        shown, _ = sessions.step({seat: Wish(seat, seat % 2) for seat in range(20)})
    assert len(shown) == 20 and world.steps == 2


def test_the_policy_takes_over_and_hands_back():
    def act(belief):
        return torch.full_like(belief.feat, -1.0)

    sessions = Sessions(game(surrogate=LinearSurrogate(), act=act))
    mine = Wish(1, action=(1.0,))
    wishes = [mine, mine, replace(mine, policy=True), replace(mine, policy=True), mine]
    shown = [sessions.step({0: wish})[0][0] for wish in wishes]
    assert [x(one) for one in shown] == [0.0, 0.5, 0.0, -0.5, 0.0]
    assert [one.policy for one in shown] == [False, False, True, True, False]


def test_where_nobody_acts_the_action_that_led_to_the_start_is_held():
    held = game()
    held = replace(held, windows=replace(held.windows, action=torch.ones(3, 1, 1)))
    sessions = Sessions(held)
    shown = [sessions.step({0: Wish(1)})[0][0] for _ in range(2)]
    assert [x(one) for one in shown] == [0.0, 0.5]


def test_a_recording_holds_what_was_seen_before_each_action():
    sessions, wish = Sessions(game()), Wish(1, action=(1.0,))
    for record in (False, True, True, True):
        frames, finished = sessions.step({0: replace(wish, record=record)})
        assert not finished
    assert frames[0].recorded == 3
    _, (played,) = sessions.step({})
    assert played.seen["x"][:, 0].tolist() == [0.0, 0.5, 1.0]
    assert played.action.tolist() == [[1.0], [1.0], [1.0]]
    assert played.reward.tolist() == pytest.approx([-0.25, 0.0, -0.25]) and played.cont.tolist() == [1.0] * 3


def test_recordings_end_with_their_episode_and_when_they_are_long_enough():
    sessions, wish = Sessions(game(), longest=4), Wish(1, action=(1.0,), record=True)
    found = [len(one.reward) for _ in range(10) for one in sessions.step({0: wish})[1]]
    assert found == [4, 4]
    for _ in range(2):
        sessions.step({0: wish})
    finished = sessions.step({0: replace(wish, begun=1)})[1]
    assert [len(one.reward) for one in finished] == [3]


def test_an_episode_that_the_model_ends_begins_again_and_says_so():
    sessions, wishes = Sessions(game(EndingWorld())), {0: Wish(1, action=(1.0,)), 1: Wish(2, 2, action=(1.0,))}
    shown = [sessions.step(wishes)[0] for _ in range(4)]
    assert [x(one[0]) for one in shown] == [0.0, 0.5, 1.0, 0.0]
    assert "over" in shown[3][0].note and shown[3][0].step == 0
    assert [x(one[1]) for one in shown] == [-3.0, -2.5, -2.0, -1.5]


class BrokenWorld(LinearWorld):
    """The same, until it goes up."""

    def step(self, context: Place, action: Tensor) -> tuple[Place, Step]:
        after, seen = super().step(context, action)
        return after, replace(seen, obs=torch.where(action > 0, torch.nan, seen.obs))


def test_answers_that_are_not_finite_end_one_episode_and_no_other():
    sessions = Sessions(game(BrokenWorld()))
    wishes = {0: Wish(1, action=(1.0,)), 1: Wish(2, action=(-1.0,))}
    shown = [sessions.step(wishes)[0] for _ in range(3)]
    assert "not finite" in shown[1][0].note and [x(one[0]) for one in shown] == [0.0, 0.0, 0.0]
    assert [x(one[1]) for one in shown] == [0.0, -0.5, -1.0]


class Twin:
    """x' = x + a, which does not begin at the last start and fails beyond 2."""

    made = 0

    def __init__(self) -> None:
        Twin.made += 1

    def begin(self, start: Start) -> bool:
        self.at = 0.0
        return start.label != "-3.0"

    def step(self, action: np.ndarray) -> None:
        self.at += float(action[0])
        if self.at > 2:
            raise RuntimeError("out of reach")

    def look(self) -> Side:
        return Side(None, {"x": np.array([self.at])})


def test_a_real_environment_is_told_the_same():
    sessions, wish = Sessions(game(twin=Twin)), Wish(1, action=(0.5,), real=True)
    shown = [sessions.step({0: wish})[0][0] for _ in range(3)]
    assert [one.real.numbers["x"][0] for one in shown] == [0.0, 0.5, 1.0]


def test_real_environments_are_few_and_are_used_again():
    Twin.made, sessions = 0, Sessions(game(twin=Twin), real=1)
    wish = Wish(1, action=(0.0,), real=True)
    shown = sessions.step({0: wish, 1: replace(wish, visit=2)})[0]
    assert shown[0].real is not None and shown[1].real is None and "taken" in shown[1].alone
    shown = sessions.step({1: replace(wish, visit=2, begun=1)})[0]
    assert shown[1].real is not None and Twin.made == 1


def test_a_real_environment_that_fails_or_cannot_begin_stops_nobody():
    sessions = Sessions(game(twin=Twin))
    wishes = {0: Wish(1, action=(1.0,), real=True), 1: Wish(2, 2, action=(1.0,), real=True)}
    shown = [sessions.step(wishes)[0] for _ in range(5)]
    assert "out of reach" in shown[4][0].alone and "recorded moment" in shown[4][1].alone
    assert [x(one[0]) for one in shown] == [0.0, 0.5, 1.0, 1.5, 2.0]
