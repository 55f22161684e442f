"""Real environments beside imagined ones."""

from collections.abc import Mapping

import numpy as np

from glocal.deploy.controllers import Array
from glocal.deploy.play.game import Side, Start
from glocal.tasks.pusht import PushT, pose_reached, reward_of
from glocal.tasks.robot import GymRobot


class PushTTwin:
    """Push-T, which begins at recorded moments, too."""

    def __init__(self, env: PushT, states: Mapping[int, Array]):
        """`states` are the agent's position and the block's pose, (5,), in rows of the recording."""
        self.env, self.states = env, states

    def begin(self, start: Start) -> bool:
        """From the state that was recorded, or that of a seed."""
        state = None if start.row is None else self.states.get(start.row)
        if start.seed is None and state is None:
            return False
        self.seen = self.env.reset(start.seed or 0, state)
        return True

    def step(self, action: Array) -> None:
        """Hold an action for one control step."""
        self.seen = self.env.step(action)

    def look(self) -> Side:
        """The scene from above, and the reward that a tracker would put on it."""
        seen = self.seen
        numbers = {"keypoints": seen.keypoints, "agent": seen.agent}
        return Side(self.env.picture(), numbers, float(reward_of(seen.keypoints)), bool(pose_reached(seen.pose)))


class RobotTwin:
    """An environment that stands for a robot, which begins where a seed says."""

    def __init__(self, robot: GymRobot):
        self.robot, self.draws = robot, True
        self.success = self.ended = False
        self.fields: Mapping[str, Array] = {}

    def begin(self, start: Start) -> bool:
        """From the initial state of a seed alone."""
        if start.seed is None:
            return False
        self.fields, self.success, self.ended = self.robot.reset(start.seed), False, False
        return True

    def step(self, action: Array) -> None:
        """Hold an action for one control step, unless the environment has ended the episode."""
        if not self.ended:
            outcome = self.robot.step(action)
            self.fields, self.success, self.ended = outcome.fields, outcome.success, outcome.ended

    def look(self) -> Side:
        """What its `render` makes, or what cameras show, and the numbers that are sensed."""
        numbers = {name: x for name, x in self.fields.items() if x.ndim == 1}
        return Side(self._picture(), numbers, None, self.success)

    def _picture(self) -> Array | None:
        if self.draws:
            try:
                picture = self.robot.picture()
                if picture is not None:
                    return np.asarray(picture)
            except Exception:  # of whatever draws it: what cameras show, and numbers, are still there
                self.draws = False
        cameras = [x for x in self.fields.values() if x.ndim == 3]
        return np.concatenate(cameras, axis=1) if cameras and len({len(x) for x in cameras}) == 1 else None
