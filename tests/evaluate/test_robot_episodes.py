"""Episodes of a robot: which count as success, when it came, and that each has its own initial state."""

import numpy as np

from glocal.evaluate.filming import Film
from glocal.evaluate.robot_episodes import RobotEpisodes, run_robot_episodes
from glocal.tasks.robot import Outcome


class Scripted:
    """Succeeds when its seed says, for one control step; those of odd seeds end there."""

    def reset(self, seed):
        self.seed, self.t = seed, 0
        return {"seen": np.array([float(seed)])}

    def step(self, action):
        assert action[0] == self.seed + self.t, "an action is of what was seen last"
        self.t += 1
        return Outcome({"seen": np.array([float(self.seed + self.t)])}, self.t == self.seed % 10, self.ends)

    @property
    def ends(self):
        return self.seed % 2 == 1 and self.t == self.seed % 10


def echo(_):
    seen = yield np.zeros((0, 1))
    while True:
        seen = yield np.stack([one["seen"] for one in seen])


def run(episodes: int, first_seed: int, told=None) -> RobotEpisodes:
    return run_robot_episodes(Scripted, echo, 4, episodes, first_seed, told)


def test_success_is_counted_at_any_time_and_at_the_end():
    found = run(6, 20)  # seeds 20 to 25: never, at 1 (which ends it), 2, 3 (ends), 4, and later than there is time for
    assert found.success.tolist() == [False, True, True, True, True, False]
    assert found.at_end.tolist() == [False, True, False, True, True, False]
    assert found.control_steps.tolist() == [4, 1, 2, 3, 4, 4]


def test_more_episodes_than_robots_go_on_with_the_next_seeds():
    told: list[int] = []
    found = run(23, 20, told.append)
    assert found.success.tolist() == [0 < seed % 10 <= 4 for seed in range(20, 43)]
    assert told[-1] == 4 and told == sorted(told)


def test_a_summary_counts_and_says_how_long_it_took():
    found = run(6, 20).summary()
    assert (found["success"]["k"], found["success"]["n"], found["success_at_end"]["k"]) == (4, 6, 3)
    assert found["median_control_steps_to_success"] == 2.5
    assert run(1, 20).summary()["median_control_steps_to_success"] is None


class Drawn(Scripted):
    """Shows how many control steps it has behind it, or fails to."""

    fails = False

    def picture(self):
        if self.fails:
            raise RuntimeError("no screen")
        return np.full((20, 30, 3), 10 * self.t, np.uint8)


class Blind(Drawn):
    fails = True


def test_the_first_episodes_are_filmed_control_step_by_control_step():
    film = Film(3, Drawn)
    found = run_robot_episodes(Scripted, echo, 4, 23, 20, film=film)
    assert len(found.frames) == 5 and found.frames[0].shape == (2 * 128, 2 * 192, 3) and found.not_filmed == ""
    corners = [[int(one[y, x, 0]) for y, x in ((0, 0), (0, 200), (130, 0), (130, 200))] for one in found.frames]
    # seeds 20 to 22: never at an end, ended after one control step, never; and nobody
    assert corners == [[0, 0, 0, 255], [10, 10, 10, 255], [20, 10, 20, 255], [30, 10, 30, 255], [40, 10, 40, 255]]


def test_more_filmed_episodes_than_robots_are_all_in_the_film():
    found = run_robot_episodes(Scripted, echo, 4, 12, 20, film=Film(12, Drawn))
    assert {one.shape for one in found.frames} == {(3 * 128, 4 * 192, 3)} and len(found.frames) == 5


def test_what_cannot_be_filmed_says_why_and_is_counted_all_the_same():
    found = run_robot_episodes(Scripted, echo, 4, 6, 20, film=Film(3, Blind))
    assert found.frames == [] and found.summary()["not_filmed"] == "its environment cannot be filmed: no screen"
    assert found.success.tolist() == run(6, 20).success.tolist() and "not_filmed" not in run(6, 20).summary()
