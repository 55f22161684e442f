"""Push-T: the real environment (`gym_pusht/PushT-v0`, unmodified), its action, its reward and its success."""

import math
import os
import warnings
from dataclasses import dataclass
from typing import Annotated, Any

import gymnasium
import numpy as np
from numpy.typing import NDArray

from glocal.core.ranges import Range

os.environ.setdefault("PYGAME_HIDE_SUPPORT_PROMPT", "1")
with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    import gym_pusht  # noqa: F401  (registers the environment)

Array = NDArray[Any]

TABLE = 512.0
"""Side of the table in pixels."""
REACH = 50.0
"""Pixels that an action of 1 puts the target away from the agent, unless a robot is said to have another reach."""
STEPS_A_SECOND = 10.0
"""Of the environment."""
HOLD = 2
"""Its steps that one control step is held for."""
CONTROL_STEPS = 150
"""Control steps in an episode: 30 seconds."""
IMAGE_SIZE = 64
KEYPOINTS = 8
"""Of the T."""
GOAL = np.array([256.0, 256.0, math.pi / 4])
REWARD_TERMS = ((0.8, 80.0), (0.2, 10.0))
"""(weight, pixels of mean keypoint distance over which it falls): the way there, and the last centimetre."""
POSE_PIXELS, POSE_RADIANS = 20.0, math.pi / 9
COVERAGE = 0.95
T_SHAPE = np.array([[-60, 0], [60, 0], [60, 30], [-60, 30], [-15, 30], [15, 30], [15, 120], [-15, 120]], float)
"""The T's keypoints in its own frame, in the environment's order."""
CENTRE_OF_MASS = np.array([0.0, 45.0])
"""In the T's frame: the point that it turns about."""


@dataclass(frozen=True)
class PushTConfig:
    """What a robot on this task records and is given."""

    images: bool = False
    """Record images, and observe what a codec makes of them in place of tracked keypoints."""
    agent: bool = True
    """Whether the agent's own position is observed; without it, it has to be found in the images."""
    control_steps: Annotated[int, Range(2, 10_000)] = CONTROL_STEPS
    reach: Annotated[float, Range(0, 512, open_low=True)] = REACH
    """Pixels that an action of 1 puts the target away from the agent."""


@dataclass(frozen=True)
class Seen:
    """What was recorded at one moment: pixels throughout. `pose` is the block's (x, y, angle)."""

    keypoints: Array
    agent: Array
    pose: Array
    coverage: float
    image: Array | None


def place(pose: Array) -> Array:
    """The T's keypoints (8, 2) at a pose (x, y, angle)."""
    cos, sin = math.cos(pose[2]), math.sin(pose[2])
    return T_SHAPE @ np.array([[cos, sin], [-sin, cos]]) + pose[:2]


def pose_of(keypoints: Array) -> Array:
    """The pose (*batch, 3) at which the T's keypoints come nearest to the given ones, (*batch, 16)."""
    points = keypoints.reshape(*keypoints.shape[:-1], 8, 2)
    centre, own = points.mean(-2), T_SHAPE - T_SHAPE.mean(0)
    arms = points - centre[..., None, :]
    angle = np.arctan2((arms[..., 1] * own[:, 0] - arms[..., 0] * own[:, 1]).sum(-1), (arms * own).sum((-1, -2)))
    cos, sin = np.cos(angle), np.sin(angle)
    x, y = T_SHAPE.mean(0)
    lever = np.stack([cos * x - sin * y, sin * x + cos * y], -1)
    return np.concatenate([centre - lever, angle[..., None]], -1)


GOAL_KEYPOINTS = place(GOAL)


def keypoint_distance(keypoints: Array) -> Array:
    """Mean distance in pixels of the T's keypoints (*batch, 16) to the goal's, (*batch,)."""
    offset = keypoints.reshape(*keypoints.shape[:-1], 8, 2) - GOAL_KEYPOINTS
    return np.linalg.norm(offset, axis=-1).mean(-1)


def reward_of(keypoints: Array) -> Array:
    """The dense reward in (0, 1] that a tracker puts on a log: (*batch, 16) to (*batch,)."""
    distance = keypoint_distance(keypoints)
    return sum((weight * np.exp(-distance / scale) for weight, scale in REWARD_TERMS), np.zeros_like(distance))


def angle_between(a: Any, b: Any) -> Any:
    """The absolute difference of angles, in [0, pi]."""
    return np.abs((np.asarray(a) - b + math.pi) % (2 * math.pi) - math.pi)


def pose_reached(pose: Array) -> Array:
    """Whether block poses (*batch, 3) are within 20 px and pi/9 of the goal's."""
    near = np.asarray(np.linalg.norm(pose[..., :2] - GOAL[:2], axis=-1) < POSE_PIXELS)
    return near & (angle_between(pose[..., 2], GOAL[2]) < POSE_RADIANS)


def _as_reset_state(state: Array) -> Array:
    """What the environment has to be told for the block to lie at a pose: it turns it about its centre of mass."""
    cos, sin = math.cos(state[4]), math.sin(state[4])
    lever = np.array([[cos, -sin], [sin, cos]]) @ CENTRE_OF_MASS - CENTRE_OF_MASS
    return np.concatenate([state[:2], state[2:4] + lever, state[4:]])


class PushT:
    """One episode after another in the real environment, at 5 Hz: `reset`, then `step` as often as wanted."""

    def __init__(self, cfg: PushTConfig, picture: tuple[int, int] = (IMAGE_SIZE, IMAGE_SIZE)):
        """With a camera whose pictures are `picture` (height, width) pixels large."""
        self.cfg = cfg
        self.env = gymnasium.make(
            "gym_pusht/PushT-v0",
            disable_env_checker=True,
            max_episode_steps=10**9,
            obs_type="environment_state_agent_pos",
            render_mode="rgb_array",
            visualization_width=picture[1],
            visualization_height=picture[0],
        )
        self.agent = np.zeros(2)

    def reset(self, seed: int, state: Array | None = None) -> Seen:
        """Start an episode: at a random state drawn from `seed`, or with agent (2) and block pose (3) put by hand."""
        options = None if state is None else {"reset_to_state": _as_reset_state(state)}
        obs, info = self.env.reset(seed=seed, options=options)
        coverage = self.env.unwrapped._get_coverage()  # pyright: ignore[reportAttributeAccessIssue]
        return self._see(obs, info["block_pose"], coverage)

    def step(self, action: Array) -> Seen:
        """Hold an action, an end-effector delta in [-1, 1]^2, for 0.2 s; coverage is the best of its steps'."""
        target = np.clip(self.agent + self.cfg.reach * np.clip(action, -1, 1), 0, TABLE).astype(np.float32)
        obs, _, success, _, info = self.env.step(target)
        coverage = info["coverage"]
        for _ in range(HOLD - 1):
            if not success:
                obs, _, success, _, info = self.env.step(target)
                coverage = max(coverage, info["coverage"])
        return self._see(obs, info["block_pose"], coverage)

    def move(self, target: Array) -> Seen:
        """Go towards a target in pixels (2,) for 0.1 s, the environment's own step."""
        obs, _, _, _, info = self.env.step(target.astype(np.float32))
        return self._see(obs, info["block_pose"], info["coverage"])

    def picture(self) -> Array:
        """The scene as an image (height, width, 3), without the marker of the last action."""
        inner: Any = self.env.unwrapped
        inner._last_action = None
        return inner.render()

    def _see(self, obs: Any, pose: Array, coverage: float) -> Seen:
        self.agent = obs["agent_pos"]
        image = self.picture() if self.cfg.images else None
        return Seen(obs["environment_state"], self.agent, pose, coverage, image)
