"""Push-Cube: a quadruped is told how fast to walk, and is to push a cube to a place on the floor of a walled arena."""

from collections import deque
from dataclasses import dataclass
from importlib import import_module
from typing import Any, Literal

import numpy as np

from glocal_envs.arena import HIDDEN, RADIUS, SIM_DT, USUAL, arena_mjcf
from glocal_envs.quadruped import FOOT_RADIUS, HEIGHT, STANDING, leg_angles
from glocal_envs.scene import Array, Cube, Look, Observation, Scene, free_joint, heading
from glocal_envs.trot import DT, PERIOD, Gait, Trunk, trot

mujoco: Any = import_module("mujoco")  # it has no types

LIMITS = np.array([0.6, 0.3, 1.2])
"""Largest action: forward and leftward (m/s) and turning (rad/s)."""
SLEW = np.array([1.5, 1.5, 5.0])
"""How fast the command follows the action, per second: in jumps the trot would fall."""
GAIT_STEPS = 10
"""Steps of the trot in a control step, which lasts 0.2 s."""
HELD_STEPS = 5
"""Control steps (1 s) of success on end that count as held."""
BEHIND, PLACED = 0.5, 0.25
"""From where the cube is pushed: m behind its centre; and what a metre from there costs."""
UPRIGHT, LOWEST = 0.5, 0.12
"""The robot has fallen where the trunk's axis has less than this upwards, or its centre is lower than this, m."""

NAMES = {
    "proprio": (
        "velocity.forward", "velocity.left", "velocity.turn", "gravity.forward", "gravity.left", "height",
        "phase.sin", "phase.cos",
    ),
    "command": ("forward", "left", "turn"),
    "place": ("x", "y", "heading.sin", "heading.cos"),
    "task": (
        "cube.forward", "cube.left", "cube.heading.sin", "cube.heading.cos",
        "cube.velocity.forward", "cube.velocity.left", "cube.velocity.turn", "goal.forward", "goal.left",
    ),
}  # fmt: skip
"""Of the numbers in each entry of an observation."""


@dataclass(frozen=True)
class Start:
    """Where an episode begins, in the arena's axes."""

    robot: tuple[float, float, float]
    """x, y (m) and heading (rad)."""
    cube: tuple[float, float, float]
    goal: tuple[float, float]
    """x, y (m); the cube's centre can come within 1.15 m of the arena's in x and in y."""


@dataclass(frozen=True)
class Pose:
    """Of the robot or the cube on the floor, in the arena's axes."""

    position: Array
    """(2,), m."""
    heading: float
    """Rad."""

    def seen(self, point: Array) -> Array:
        """A point of the arena as it lies from here: m forward and m to the left."""
        return self.turned(point - self.position)

    def turned(self, vector: Array) -> Array:
        """A vector of the arena's axes, forward and to the left."""
        c, s = np.cos(self.heading), np.sin(self.heading)
        return np.array([c * vector[0] + s * vector[1], c * vector[1] - s * vector[0]])

    def since(self, before: "Pose") -> Array:
        """By how much it has moved along the arena's axes (m), and turned (rad), (3,)."""
        turned = (self.heading - before.heading + np.pi) % (2 * np.pi) - np.pi
        return np.append(self.position - before.position, turned)


class PushCube(Scene):
    """A quadruped pushes a cube of 30 cm and 1.5 kg to a goal; 5 control steps a second.

    Action (3,): velocity forward and leftward (m/s) and turning (rad/s), held for 0.2 s by a trot at 50 Hz. They trade
    off: an action outside the ellipsoid whose axes are the limits is shortened to it. The trot's command follows it at
    most as fast as `SLEW`.

    Observation, all in m, rad and s, angles as sine and cosine:

    - `proprio` (8,): the trunk's velocity forward, leftward and turning, in its heading, each the mean over the last
      stride (0.36 s), since it sways by up to 0.6 rad/s with every step; the direction of gravity forward and leftward
      in the trunk's frame (0, 0 when level); height of its centre; phase of the stride.
    - `command` (3,): what the trot follows now.
    - `place` (4,): x, y and heading in the arena, whose walls are 2 m from its centre.
    - `task` (9,), from the robot, forward and leftward in its heading: the tracked cube's centre, its heading, its
      velocity over the floor and its turning, each the mean over the last control step, and the goal's place.

    Unobserved, and so not quite Markov: the joints, and the trot's integral of at most 0.15 m/s.

    Reward, never positive: minus the cube's distance from the goal, minus 0.25 times the robot's distance from the
    place that is 0.5 m behind the cube as seen from the goal (m each); the second counts less, in proportion, where the
    cube is within 0.2 m of the goal.

    `info["is_success"]`: the cube's centre is within 0.2 m of the goal; `info["held"]`: it was for the last 1 s.
    An episode is terminated when the robot falls, which costs nothing by itself. Robot, cube and goal are drawn from
    the seed by `reset`, or given by `reset(options={"state": Start(...)})`; where the environment was made with
    `varied=True` so are the cube's size, mass and friction and the light, given as `options["cube"]` (`Cube`).

    With `head=64` what the robot's own camera sees is observed as well, `head` (64, 64, 3) bytes: the cube is orange,
    the goal a green disc on the floor over which a green beacon hangs, and each wall has a colour.

    `render()`, where it was made with `render_mode="rgb_array"`: what `camera` sees, (height, width, 3) bytes. `above`
    shows the whole arena, x to the right and y up, and no beacon; `chase` follows the robot; `head` is its own.
    """

    def __init__(
        self,
        render_mode: str | None = None,
        width: int = 96,
        height: int = 96,
        camera: Literal["above", "chase", "head"] = "above",
        head: int = 0,
        varied: bool = False,
    ) -> None:
        super().__init__(arena_mjcf(), NAMES, LIMITS, USUAL, HIDDEN, Look(render_mode, camera, width, height, head))
        self.varied = varied
        self.trunk, self.disc = self.model.body("trunk").id, self.model.site("goal").id
        self._place(Start((-1.0, 0.0, 0.0), (0.0, 0.0, 0.0), (0.9, 0.0)))

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Observation, dict[str, Any]]:
        """Begin an episode: the robot steps in place somewhere, at least 0.8 m from the cube, 0.5 m of the goal."""
        super().reset(seed=seed)
        given = options or {}
        start = given.get("state") or _start(self.np_random)
        self.settle(given.get("cube") or (_cube(self.np_random) if self.varied else USUAL))
        self._place(start)
        self._walk(np.zeros(3))
        return self._observed(), self._info()

    def step(self, action: np.ndarray) -> tuple[Observation, float, bool, bool, dict[str, Any]]:
        """Hold an action for 0.2 s."""
        told, before = _within(self.told(action)), self.cube
        self._walk(told)
        self.cube_velocity = self.cube.since(before) / (GAIT_STEPS * DT)
        arrived = np.linalg.norm(self.cube.position - self.goal) < RADIUS and not self.taken
        self.arrived = self.arrived + 1 if arrived else 0
        reward = reward_of(self.robot.position, self.cube.position, self.goal)
        return self._observed(), reward, self.fallen, False, self._info()

    @property
    def robot(self) -> Pose:
        """Where the robot is."""
        return _pose(self.data.qpos[7:14])

    @property
    def cube(self) -> Pose:
        """Where the cube is."""
        return _pose(self.data.qpos[:7])

    @property
    def fallen(self) -> bool:
        """Whether the robot lies."""
        return bool(self.data.xmat[self.trunk, 8] < UPRIGHT or self.data.qpos[9] < LOWEST)

    def _place(self, start: Start) -> None:
        mujoco.mj_resetData(self.model, self.data)
        for first, (x, y, turned), z in ((0, start.cube, self.now.edge), (7, start.robot, HEIGHT + FOOT_RADIUS)):
            self.data.qpos[first : first + 7] = free_joint(x, y, z, turned)
        self.data.qpos[14:] = leg_angles(STANDING).reshape(-1)
        self.goal = np.array(start.goal)
        self.model.site_pos[self.disc, :2] = self.data.mocap_pos[0, :2] = self.goal
        mujoco.mj_forward(self.model, self.data)
        self.gait, self.command, self.cube_velocity, self.arrived = Gait(), np.zeros(3), np.zeros(3), 0
        self.velocities: deque[Array] = deque(maxlen=round(PERIOD / DT))

    def _walk(self, wanted: Array) -> None:
        for _ in range(GAIT_STEPS):
            self.command = self.command + np.clip(wanted - self.command, -SLEW * DT, SLEW * DT)
            trunk = self._felt()
            self.velocities.append(trunk.velocity)
            self.gait, joints = trot(self.gait, trunk, self.command)
            self.data.ctrl[:] = joints.reshape(-1)
            mujoco.mj_step(self.model, self.data, round(DT / SIM_DT))

    def _felt(self) -> Trunk:
        up = self.data.xmat[self.trunk, 6:9]
        velocity = np.append(self.robot.turned(self.data.qvel[6:8]), self.data.qvel[11])
        return Trunk(velocity, float(np.arcsin(np.clip(up[1], -1, 1))), -float(np.arcsin(np.clip(up[0], -1, 1))))

    def _observed(self) -> Observation:
        robot, cube = self.robot, self.cube
        down = -self.data.xmat[self.trunk, 6:8]
        stride, apart = 2 * np.pi * self.gait.phase, cube.heading - robot.heading
        moving = np.append(robot.turned(self.cube_velocity[:2]), self.cube_velocity[2])
        entries = {
            "proprio": [np.mean(self.velocities, axis=0), down, self.data.qpos[9], np.sin(stride), np.cos(stride)],
            "command": [self.command],
            "place": [robot.position, np.sin(robot.heading), np.cos(robot.heading)],
            "task": [robot.seen(cube.position), np.sin(apart), np.cos(apart), moving, robot.seen(self.goal)],
        }
        return self.observed(entries)

    def _info(self) -> dict[str, Any]:
        return {"is_success": self.arrived > 0, "held": self.arrived >= HELD_STEPS}


def reward_of(robot: Array, cube: Array, goal: Array) -> float:
    """Of a step that led to these places, (2,) each; see `PushCube`."""
    left = float(np.linalg.norm(goal - cube))
    stand = cube - BEHIND * (goal - cube) / max(left, 1e-9)
    return -left - PLACED * min(1.0, left / RADIUS) * float(np.linalg.norm(robot - stand))


def _start(rng: np.random.Generator) -> Start:
    while True:
        robot, cube, goal = rng.uniform(-1.3, 1.3, 2), rng.uniform(-1, 1, 2), rng.uniform(-0.9, 0.9, 2)
        if np.linalg.norm(robot - cube) > 0.8 and np.linalg.norm(cube - goal) > 0.5:
            headings = rng.uniform(-np.pi, np.pi, 2)
            return Start((*robot, headings[0]), (*cube, headings[1]), tuple(goal))


def _cube(rng: np.random.Generator) -> Cube:
    return USUAL.grown(rng.uniform(0.12, 0.17), rng.uniform(0.2, 0.4), rng.uniform(0.6, 1.3))


def _within(action: Array) -> Array:
    return action / max(1.0, float(np.linalg.norm(action / LIMITS)))


def _pose(free: Array) -> Pose:
    return Pose(free[:2].copy(), heading(free))
