"""Grasp and lift: a humanoid is told where its hand goes, and is to pick up a cube from a tray on a table."""

from dataclasses import dataclass
from importlib import import_module
from typing import Any, Literal

import numpy as np

from glocal_envs.humanoid import CLOSED, HOME, JOINTS, Arm, actuators_mjcf, body_mjcf, defaults_mjcf, sway
from glocal_envs.pictures import VISUAL_MJCF
from glocal_envs.scene import Array, Cube, Look, Observation, Scene, free_joint, heading

mujoco: Any = import_module("mujoco")  # it has no types

LIMITS = np.array([0.05, 0.05, 0.05, 1.0])
"""Largest action: by how much the hand's target moves along x, y and z (m), and the grip."""
TABLE = 0.76
"""Its height, m."""
LOW, HIGH = np.array([0.21, -0.26, TABLE + 0.02]), np.array([0.39, 0.05, TABLE + 0.24])
"""Where the hand's target is kept, m."""
START = np.array([0.28, -0.1, TABLE + 0.2])
"""The hand's first target, m."""
USUAL = Cube(edge=0.025, mass=0.1, friction=1.0)
LIFTED, ENOUGH = 0.10, 0.12
"""How far above the table a cube is lifted, and how far higher earns nothing more, m."""
RISE = 2.0
"""What a metre of height is worth in metres of the hand's way to the cube."""
HELD_STEPS = 5
"""Control steps (1 s) on end for which it has to stay lifted."""
DT, SIM_DT, CONTROLS = 0.02, 0.004, 10
"""Seconds of a control of the arm and of a step of the simulation, and controls in a control step of 0.2 s."""
SETTLING = 60
"""Controls before an episode begins."""
HIDDEN = {"head": (), "side": ()}
"""Its cameras, and the groups of geoms that each does not show."""
OWN, CUBE_ONLY = 1, 2
"""Contact bits: of everything solid, and of what only the cube feels."""

NAMES = {
    "joints": JOINTS,
    "hand": ("x", "y", "z"),
    "command": ("x", "y", "z", "grip"),
    "task": (
        "cube.x", "cube.y", "cube.z", "cube.heading.sin", "cube.heading.cos", "cube.height",
        "cube.velocity.x", "cube.velocity.y", "cube.velocity.z",
    ),
}  # fmt: skip
"""Of the numbers in each entry of an observation."""


@dataclass(frozen=True)
class Start:
    """Where an episode begins, in the pelvis's axes."""

    cube: tuple[float, float, float]
    """x, y (m) and heading (rad); the tray spans 0.19 to 0.44 in x and -0.27 to 0.09 in y."""
    seconds: float = 0.0
    """At which moment of the sway."""


class GraspLift(Scene):
    """A humanoid picks up a cube of 5 cm and 100 g from a tray; 5 control steps a second.

    Action (4,): by how much the hand's target moves along x (forward), y (left) and z, m, and whether the gripper
    closes (above 0) or opens. Inverse kinematics follow at 50 Hz with the gripper pointing down, and the target is kept
    within what the arm reaches.

    Observation, all in m, rad and s, angles as sine and cosine, in the axes of the pelvis, which stands still while the
    waist sways by up to 0.06 rad:

    - `joints` (10,): waist, the arm's seven, and the two fingers (0 open).
    - `hand` (3,): the point between the finger tips.
    - `command` (4,): the hand's target, and the grip (1 closes).
    - `task` (9,): the tracked cube's centre as seen from the hand, its heading (four times it, since faces look alike),
      its height above where it rests on the table, and its velocity, the mean over the last control step.

    With `head=64` what the camera in the robot's head sees is observed as well, `head` (64, 64, 3) bytes.

    Reward, never positive: minus the hand's distance from the cube, minus twice what its height lacks of 12 cm (m).

    `info["is_success"]`: the cube has been 10 cm above the table for the last 1 s; `info["lifted"]`: it is now.
    Episodes are not terminated: the cube cannot leave the tray. It and the sway are drawn from the seed by `reset`, or
    given by `reset(options={"state": Start(...)})`; where the environment was made with `varied=True` so are the cube's
    size, mass and friction and the light, given as `options["cube"]` (`Cube`).

    `render()`, where it was made with `render_mode="rgb_array"`: what `camera` sees, (height, width, 3) bytes.
    """

    def __init__(
        self,
        render_mode: str | None = None,
        width: int = 96,
        height: int = 96,
        camera: Literal["side", "head"] = "side",
        head: int = 0,
        varied: bool = False,
    ) -> None:
        super().__init__(_table_mjcf(), NAMES, LIMITS, USUAL, HIDDEN, Look(render_mode, camera, width, height, head))
        self.arm, self.varied = Arm(self.model), varied
        self._place(Start((0.3, -0.1, 0.0)))

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Observation, dict[str, Any]]:
        """Begin an episode: the open hand is above the tray, the cube somewhere in it."""
        super().reset(seed=seed)
        given = options or {}
        start = given.get("state") or _start(self.np_random)
        self.settle(given.get("cube") or (_cube(self.np_random) if self.varied else USUAL))
        self._place(start)
        return self._observed(), self._info()

    def step(self, action: np.ndarray) -> tuple[Observation, float, bool, bool, dict[str, Any]]:
        """Hold an action for 0.2 s."""
        told, before = np.clip(self.told(action), -LIMITS, LIMITS), self.cube
        self.target = np.clip(self.target + told[:3], LOW, HIGH)
        self.grip = float(told[3] > 0)
        for _ in range(CONTROLS):
            self._control()
        self.velocity = (self.cube - before) / (CONTROLS * DT)
        self.lifted = self.lifted + 1 if self.rise > LIFTED and not self.taken else 0
        return self._observed(), reward_of(self.hand, self.cube, self.rise), False, False, self._info()

    @property
    def hand(self) -> Array:
        """Where the point between the finger tips is, (3,), m."""
        return self.data.site_xpos[self.arm.tip].copy()

    @property
    def cube(self) -> Array:
        """Where the cube's centre is, (3,), m."""
        return self.data.qpos[:3].copy()

    @property
    def rise(self) -> float:
        """How far the cube is above where it rests on the table, m."""
        return float(self.data.qpos[2] - TABLE - self.now.edge)

    def _place(self, start: Start) -> None:
        mujoco.mj_resetData(self.model, self.data)
        x, y, turned = start.cube
        self.data.qpos[:7] = free_joint(x, y, TABLE + self.now.edge, turned)
        self.data.qpos[7:] = self.data.ctrl[:] = HOME
        self.target, self.grip, self.seconds = START.copy(), 0.0, start.seconds
        self.velocity, self.lifted = np.zeros(3), 0
        mujoco.mj_forward(self.model, self.data)
        for _ in range(SETTLING):
            self._control()

    def _control(self) -> None:
        self.seconds += DT
        self.data.ctrl[0] = sway(self.seconds)
        self.data.ctrl[1:8] = self.arm.towards(self.data, self.target)
        self.data.ctrl[8:] = CLOSED * self.grip
        mujoco.mj_step(self.model, self.data, round(DT / SIM_DT))

    def _observed(self) -> Observation:
        quarter = 4 * heading(self.data.qpos[:7])
        entries = {
            "joints": [self.data.qpos[7:]],
            "hand": [self.hand],
            "command": [self.target, self.grip],
            "task": [self.cube - self.hand, np.sin(quarter), np.cos(quarter), self.rise, self.velocity],
        }
        return self.observed(entries)

    def _info(self) -> dict[str, Any]:
        return {"is_success": self.lifted >= HELD_STEPS, "lifted": self.lifted > 0}


def reward_of(hand: Array, cube: Array, rise: float) -> float:
    """Of a step that led to these places, (3,) each, and this height above the table; see `GraspLift`."""
    return -float(np.linalg.norm(hand - cube)) - RISE * max(0.0, ENOUGH - rise)


def _start(rng: np.random.Generator) -> Start:
    x, y, turned = rng.uniform([0.24, -0.21, -np.pi / 4], [0.39, 0.03, np.pi / 4])
    return Start((x, y, turned), rng.uniform(0, 100))


def _cube(rng: np.random.Generator) -> Cube:
    return USUAL.grown(rng.uniform(0.02, 0.028), rng.uniform(0.7, 1.2), rng.uniform(0.6, 1.3))


def _table_mjcf() -> str:
    rim = ((0.15, -0.08, 0.01, 0.24), (0.47, -0.08, 0.01, 0.24), (0.31, 0.15, 0.17, 0.01), (0.31, -0.31, 0.17, 0.01))
    fence = ((0.19, -0.09, 0.02, 0.3), (0.44, -0.09, 0.02, 0.3), (0.31, 0.09, 0.2, 0.02), (0.31, -0.27, 0.2, 0.02))
    wood = 'class="solid" rgba=".6 .5 .38 1" friction=".1"'
    edge = USUAL.edge
    unseen = f'rgba="0 0 0 0" contype="{CUBE_ONLY}" conaffinity="0" friction=".05"'
    return f"""
<mujoco>
  <option timestep="{SIM_DT}" integrator="implicitfast" cone="elliptic" impratio="10" iterations="30"/>
  <compiler angle="radian" autolimits="true"/>
  {VISUAL_MJCF}
  <asset>
    <texture name="floor" type="2d" builtin="checker" rgb1=".5 .45 .4" rgb2=".42 .4 .36" width="128" height="128"/>
    <material name="floor" texture="floor" texrepeat="6 6"/>
    <texture type="skybox" builtin="gradient" rgb1=".7 .8 .9" rgb2=".3 .35 .4" width="64" height="384"/>
  </asset>
  <default>{defaults_mjcf()}</default>
  <worldbody>
    <camera name="side" pos="1.2 -1.1 1.4" xyaxes=".68 .73 0 -.33 .3 .9" fovy="28"/>
    <geom class="body" type="plane" size="3 3 .1" material="floor"/>
    <geom class="solid" type="box" pos=".42 -.05 {TABLE - 0.02}" size=".28 .4 .02" rgba=".72 .6 .45 1"/>
    {"".join(_slab_mjcf(one, TABLE + 0.02, 0.03, wood) for one in rim)}
    {"".join(_slab_mjcf(one, TABLE + 0.3, 0.3, unseen) for one in fence)}
    <body name="cube">
      <freejoint/>
      <geom name="cube" class="solid" type="box" size="{edge} {edge} {edge}" mass="{USUAL.mass}" rgba=".85 .2 .15 1"
            conaffinity="{OWN | CUBE_ONLY}"/>
    </body>
    {body_mjcf()}
  </worldbody>
  <actuator>{actuators_mjcf()}</actuator>
</mujoco>"""


def _slab_mjcf(slab: tuple[float, float, float, float], z: float, half: float, more: str) -> str:
    """An upright one, by its centre and half of its sides."""
    x, y, half_x, half_y = slab
    return f'<geom type="box" pos="{x} {y} {z}" size="{half_x} {half_y} {half}" {more}/>'
