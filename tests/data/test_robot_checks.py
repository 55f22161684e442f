"""What would spoil a model is found in a robot's logs before anything is trained."""

from dataclasses import replace

import numpy as np
import pytest

from glocal.data.findings import Finding
from glocal.data.reading import RobotReading
from glocal.data.robot_checks import check_robot_logs
from glocal.data.streams import ActionPart, Camera, RobotMapping, Stream

MAPPING = RobotMapping(
    (Stream("joints", "state", (0, 1)),),
    (ActionPart("action", (0, 1), (-1.0, -1.0), (1.0, 1.0), "delta"),),
    reward="reward",
)


def episode(seed: int, steps: int = 20, **change: np.ndarray) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    plain = {
        "state": rng.normal(size=(steps, 2)),
        "action": rng.uniform(-1, 1, (steps, 2)),
        "reward": rng.random(steps),
    }
    return plain | change


def findings(*episodes: dict[str, np.ndarray], mapping: RobotMapping = MAPPING) -> dict[str, Finding]:
    reading = RobotReading(mapping)
    looks = {i: reading.look(one, i, reading.apply(one, {})) for i, one in enumerate(episodes)}
    return {one.name: one for one in check_robot_logs(mapping, looks, context=4)}


def verdicts(*episodes: dict[str, np.ndarray], mapping: RobotMapping = MAPPING) -> dict[str, tuple[str, str]]:
    return {name: (one.verdict, one.found) for name, one in findings(*episodes, mapping=mapping).items()}


def test_plain_logs_pass():
    found = verdicts(episode(0), episode(1))
    assert {verdict for verdict, _ in found.values()} == {"ok"}
    assert found["lengths"][1] == "2 episodes of 19 to 19 control steps"


def film(seed: int, moves: bool) -> np.ndarray:
    pictures = np.random.default_rng(seed).integers(0, 255, (20, 32, 32, 3), dtype=np.uint8)
    return pictures if moves else np.repeat(pictures[:1], 20, axis=0)


@pytest.mark.parametrize(
    "moving, verdict, frozen",
    [
        ((True, True, True), "ok", ()),
        ((True, False, True), "warn", (1,)),
        ((False, False, False), "warn", ()),
    ],
)
def test_a_camera_that_shows_the_same_picture_throughout_an_episode_is_named(moving, verdict, frozen):
    mapping = replace(MAPPING, cameras=(Camera("wrist", "film"),))
    found = findings(*(episode(i, film=film(i, moves)) for i, moves in enumerate(moving)), mapping=mapping)
    assert (found["camera wrist"].verdict, found["camera wrist"].episodes) == (verdict, frozen)


def test_copies_and_short_episodes_are_named():
    found = verdicts(episode(0), episode(1, steps=4), episode(0))
    assert found["copies"] == ("fail", "1 episodes hold the very numbers of earlier ones: 2")
    assert found["lengths"] == (
        "warn",
        "3 episodes of 3 to 19 control steps; 1 are not longer than the context of 4: 1",
    )


@pytest.mark.parametrize("scale, verdict", [(1.0, "ok"), (1.2, "warn"), (3.0, "fail"), (0.01, "warn")])
def test_limits_that_cut_much_or_are_hardly_used_are_named(scale, verdict):
    action = episode(0)["action"]
    found = verdicts(episode(0, action=action * np.array([scale, 1.0])), episode(1))
    several = verdicts(*(episode(i, action=episode(i)["action"] * np.array([scale, 1.0])) for i in range(5)))
    assert _limits_of(found, "1")[0] == "ok" and _limits_of(several, "0")[0] == verdict


def _limits_of(found: dict[str, tuple[str, str]], column: str) -> tuple[str, str]:
    return next(one for name, one in found.items() if name.startswith("limits of action") and column in name)


def test_limits_of_which_the_same_is_to_be_said_are_one_finding():
    action = np.repeat(episode(0)["action"][:, :1], 4, 1) * np.array([1.0, 3.0, 1.0, 3.0])
    part = ActionPart("action", (3, 0, 1, 2), (-1.0,) * 4, (1.0,) * 4, "delta")
    found = verdicts(episode(0, action=action), mapping=replace(MAPPING, action=(part,)))
    named = [name for name in found if name.startswith("limits")]
    assert named == ["limits of action 3 1", "limits of action 0 2"]
    assert [found[name][0] for name in named] == ["fail", "ok"]


def test_numbers_that_never_change_are_named():
    state, action = episode(0)["state"], episode(0)["action"]
    state[:, 1], action[:, 0] = 3.0, 0.5
    found = verdicts(episode(0, state=state, action=action))
    assert found["stream joints"] == ("warn", "of its 2 numbers these never change, by column: 1")
    assert found["action 0"] == ("warn", "is always 0.5 of its limits")


def test_episodes_are_left_out_for_numbers_that_are_not_finite_unless_all_would_be():
    broken = np.full((20, 2), np.nan)
    some = findings(episode(0, state=broken), episode(1))["numbers"]
    assert some.verdict == "fail" and some.episodes == (0,)
    every = findings(episode(0, state=broken), episode(1, state=broken))["numbers"]
    assert every.verdict == "fail" and every.episodes == () and "take joints out of the mapping" in every.advice


def test_a_reward_is_needed_and_has_to_change():
    still = verdicts(episode(0, reward=np.ones(20)), episode(1, reward=np.ones(20)))
    assert still["reward"] == ("fail", "is always 1")
    without = RobotMapping(MAPPING.streams, MAPPING.action)
    assert verdicts(episode(0), mapping=without)["reward"] == ("fail", "there is none")
