"""What sessions may say, and how much of it."""

import json

import numpy as np
import pytest

from glocal.deploy.play.game import Frame, Side, Wish
from glocal.deploy.play.messages import Allowance, MalformedError, frame_text, heeded

WISH = Wish(3, action=(0.0, 0.0))


def test_a_message_changes_what_it_names():
    wish = heeded(WISH, '{"n": 7, "action": [2, -0.5], "policy": true}', 2, 5)
    assert (wish.visit, wish.number, wish.action, wish.policy, wish.begun) == (3, 7, (1.0, -0.5), True, 0)
    wish = heeded(wish, '{"start": 4}', 2, 5)
    assert (wish.start, wish.begun, wish.action, wish.policy) == (4, 1, None, True)


@pytest.mark.parametrize(
    "text", ["", "{", "[]", "1", "null", '{"x": 1}', '{"n": -1}', '{"n": 1.5}', '{"n": true}', '{"start": 5}',
             '{"start": "0"}', '{"policy": 1}', '{"action": [1]}', '{"action": [1, 2, 3]}', '{"action": "ab"}',
             '{"action": [NaN, 0]}', '{"action": [1e999, 0]}', '{"action": [true, 0]}', "[" * 300,
             '{"action": [1' + "0" * 350 + ", 0]}"],
)  # fmt: skip
def test_what_says_nothing_that_can_be_done_is_refused(text):
    with pytest.raises(MalformedError, match="expected"):
        heeded(WISH, text, 2, 5)


def test_an_allowance_comes_back_with_time():
    allowance = Allowance(rate=2.0, burst=3.0)
    assert [allowance.use(1, 0.0) for _ in range(4)] == [True, True, True, False]
    assert allowance.use(1, 1.0) and not allowance.use(1, 1.0)


def test_a_frame_is_json_whatever_is_in_it():
    picture = np.zeros((8, 12, 3), np.uint8)
    side = Side(picture, {"x": np.array([np.nan, 0.123456])}, 0.5, True)
    frame = Frame(1, 2, 3, 0, np.array([0.5]), 0.25, 1.0, False, 0, None, {"y": np.arange(3)}, side, "", "a note")
    told = json.loads(frame_text(frame), parse_constant=pytest.fail)
    assert told["numbers"] == {"y": [0, 1, 2]} and told["picture"] is None and told["note"] == "a note"
    assert told["real"]["numbers"] == {"x": [None, 0.1235]} and told["real"]["success"] is True
    assert told["real"]["picture"].startswith("data:image/jpeg;base64,")
