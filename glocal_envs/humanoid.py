"""A humanoid's upper body of capsules, about as large as a Unitree G1: its MJCF, and how its hand follows a target.

The pelvis stands fixed. The waist sways by itself, and the head's camera with it; the right arm has seven joints and a
parallel gripper, which points down; the left arm hangs.
"""

from importlib import import_module
from typing import Any

import numpy as np

from glocal_envs.scene import Array

mujoco: Any = import_module("mujoco")  # it has no types

ARM = ("shoulder_pitch", "shoulder_roll", "shoulder_yaw", "elbow", "wrist_roll", "wrist_pitch", "wrist_yaw")
FINGERS = ("finger_left", "finger_right")
JOINTS = ("waist", *ARM, *FINGERS)
HOME = np.array([0.0, -0.2, -0.9, 0.4, 1.5, 0.0, 0.5, 0.0, 0.0, 0.0])
"""Of the joints where an episode begins, rad and m."""
CLOSED = 0.045
"""How far each finger travels to the middle, m."""
SWAY = 0.03
"""Of the waist, rad, in each of two sines."""
SWAY_RATES = (2.1, 3.7)
"""Rad/s."""
REACH, TWIST, TWIST_WEIGHT = 0.04, 0.3, 0.25
"""Largest step of the hand towards its target (m) and turn (rad) in 20 ms, and what a rad counts in m."""
DAMPING, FOLLOW, RETURN = 1e-3, 0.9, 0.2
"""Of the least squares (m^2), the share of its answer that is commanded, and of the way to the home pose beside it."""
PASSES = 3
"""Of the least squares, each without the joints that would leave their range."""


def body_mjcf() -> str:
    """The body `waist`, with the camera `head`, for a `worldbody`."""
    return f"""
<body name="waist" pos="0 0 .8" gravcomp="1">
  <joint name="waist" class="body" axis="0 0 1" range="-1 1"/>
  <geom class="body" type="capsule" size=".09" fromto="0 0 .03 0 0 .22"/>
  <geom class="body" type="capsule" size=".04" fromto="0 -.12 .25 0 .12 .25"/>
  <geom class="body" type="capsule" size=".032" fromto="0 .14 .25 0 .17 .01"/>
  <geom class="body" type="capsule" size=".028" fromto="0 .17 .01 .16 .16 -.05"/>
  <body name="head" pos="0 0 .38">
    <geom class="body" size=".07" mass="1"/>
    <camera name="head" pos=".08 0 .02" xyaxes="0 -1 0 .77 0 .64" fovy="58"/>
  </body>
  <body pos="0 -.14 .25" gravcomp="1">
    <joint name="shoulder_pitch" class="body" axis="0 1 0" range="-3 2.6"/>
    <geom class="body" size=".045" mass=".7"/>
    <body gravcomp="1">
      <joint name="shoulder_roll" class="body" axis="1 0 0" range="-2.2 1.5"/>
      <geom class="body" size=".03" mass=".2"/>
      <body gravcomp="1">
        <joint name="shoulder_yaw" class="body" axis="0 0 1" range="-2.6 2.6"/>
        <geom class="body" type="capsule" size=".032" fromto="0 0 -.03 0 0 -.22" mass=".8"/>
        <body pos="0 0 -.22" gravcomp="1">
          <joint name="elbow" class="body" axis="0 -1 0" range="-.3 2.4"/>
          <geom class="body" type="capsule" size=".028" fromto="0 0 0 0 0 -.2" mass=".6"/>
          {_hand_mjcf()}
        </body>
      </body>
    </body>
  </body>
</body>"""


def _hand_mjcf() -> str:
    return f"""
<body pos="0 0 -.2" gravcomp="1">
  <joint name="wrist_roll" class="body" axis="0 0 1" range="-2 2"/>
  <geom class="body" size=".027" mass=".2"/>
  <body gravcomp="1">
    <joint name="wrist_pitch" class="body" axis="0 1 0" range="-1.7 2.9"/>
    <geom class="body" size=".02" mass=".1"/>
    <body gravcomp="1">
      <joint name="wrist_yaw" class="body" axis="1 0 0" range="-1.7 1.7"/>
      <geom class="body" type="box" pos="0 0 -.05" size=".02 .05 .02" mass=".2" rgba=".25 .25 .28 1"/>
      <site name="tip" pos="0 0 -.125"/>
      {_finger_mjcf("finger_left", 0.05, -1)}
      {_finger_mjcf("finger_right", -0.05, 1)}
    </body>
  </body>
</body>"""


def _finger_mjcf(name: str, y: float, inward: int) -> str:
    return f"""
<body pos="0 {y} -.07" gravcomp="1">
  <joint name="{name}" class="body" type="slide" axis="0 {inward} 0" range="0 {CLOSED}" damping="4"/>
  <geom class="solid" type="box" pos="0 0 -.035" size=".012 .006 .035" mass=".05" rgba=".2 .2 .22 1"/>
</body>"""


def defaults_mjcf() -> str:
    """The classes `body`, which touches nothing, and `solid`, which does, for a `default`."""
    return """
<default class="body">
  <joint damping="2" armature=".02"/>
  <geom rgba=".75 .76 .8 1" contype="0" conaffinity="0"/>
  <position kp="150" kv="12" forcerange="-60 60"/>
</default>
<default class="solid"><geom contype="1" conaffinity="1" friction="1 .01 .001" condim="4"/></default>"""


def actuators_mjcf() -> str:
    """Position servos of the joints, in their order, for an `actuator`."""
    arm = "".join(f'<position class="body" joint="{joint}"/>' for joint in ("waist", *ARM))
    grip = "".join(
        f'<position class="body" joint="{joint}" kp="300" kv="10" forcerange="-15 15"/>' for joint in FINGERS
    )
    return arm + grip


class Arm:
    """Inverse kinematics of the right arm at 50 Hz: damped least squares, with the gripper kept pointing down."""

    def __init__(self, model: Any) -> None:
        self.model, self.tip = model, model.site("tip").id
        self.dofs = [int(model.joint(name).dofadr[0]) for name in ARM]
        self.places = [int(model.joint(name).qposadr[0]) for name in ARM]
        self.low, self.high = np.stack([model.joint(name).range for name in ARM], axis=1)
        self.jacobian = np.zeros((6, model.nv))

    def towards(self, data: Any, target: Array) -> Array:
        """Joint angles (7,), rad, that bring the tip nearer to a target (3,), m."""
        mujoco.mj_jacSite(self.model, data, self.jacobian[:3], self.jacobian[3:], self.tip)
        axes = data.site_xmat[self.tip].reshape(3, 3)
        twist = 0.5 * (np.cross(axes[:, 2], [0, 0, 1]) + np.cross(axes[:, 1], [0, 1, 0]))
        way = np.clip(target - data.site_xpos[self.tip], -REACH, REACH)
        wanted = np.append(way, TWIST_WEIGHT * np.clip(twist, -TWIST, TWIST))
        jacobian = self.jacobian[:, self.dofs] * np.repeat([1.0, TWIST_WEIGHT], 3)[:, None]
        angles = data.qpos[self.places]
        change = self._change(jacobian, wanted, angles, RETURN * (HOME[1:8] - angles))
        return np.clip(angles + FOLLOW * change, self.low, self.high)

    def _change(self, jacobian: Array, wanted: Array, angles: Array, rest: Array) -> Array:
        """Of the joints, nearest to `rest` of those that do what is wanted; joints that would leave their range stop at
        its end, and the others do without them."""
        moving, change = np.ones(len(ARM)), rest
        for _ in range(PASSES):
            free = jacobian * moving
            inverse = np.linalg.solve(free @ free.T + DAMPING * np.eye(6), free).T
            change = rest + inverse @ (wanted - jacobian @ rest)
            kept = np.clip(angles + change, self.low, self.high) - angles
            over = (moving > 0) & (np.abs(change - kept) > 1e-6)
            if not over.any():
                break
            moving, rest = np.where(over, 0.0, moving), np.where(over, kept, rest)
        return change


def sway(seconds: float) -> float:
    """The waist's angle, rad."""
    return SWAY * sum(np.sin(rate * seconds + shift) for rate, shift in zip(SWAY_RATES, (0.0, 1.0), strict=True))
