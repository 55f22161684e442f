"""Episodes of a robot: which count as success, when it came, and that each has its own initial state."""

import numpy as np

from glocal.evaluate.robots import RobotEpisodes, run_robot_episodes
from glocal.tasks.robot import Decided


class Scripted:
    """Succeeds when its seed says, for one decision; those of odd seeds end there."""

    def reset(self, seed):
        self.seed, self.t = seed, 0
        return {"seen": np.array([float(seed)])}

    def step(self, action):
        assert action[0] == self.seed + self.t, "an action is of what was seen last"
        self.t += 1
        return Decided({"seen": np.array([float(self.seed + self.t)])}, self.t == self.seed % 10, self.ends)

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
    assert found.decisions.tolist() == [4, 1, 2, 3, 4, 4]


def test_more_episodes_than_robots_go_on_with_the_next_seeds():
    told: list[int] = []
    found = run(23, 20, told.append)
    assert found.success.tolist() == [0 < seed % 10 <= 4 for seed in range(20, 43)]
    assert told[-1] == 4 and told == sorted(told)


def test_a_summary_counts_and_says_how_long_it_took():
    found = run(6, 20).summary()
    assert (found["success"]["k"], found["success"]["n"], found["success_at_end"]["k"]) == (4, 6, 3)
    assert found["median_decisions_to_success"] == 2.5
    assert run(1, 20).summary()["median_decisions_to_success"] is None
