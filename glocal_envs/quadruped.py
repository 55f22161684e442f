"""A quadruped of capsules with the leg geometry and masses of a Unitree Go2: its MJCF, and its inverse kinematics."""

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

THIGH = CALF = 0.213
"""Lengths of a leg's two links, m."""
HIP_WIDTH = 0.0955
"""From the hip's roll axis out to the leg's plane, m."""
FOOT_RADIUS = 0.022
HEIGHT = 0.29
"""Of the hips over the feet's centres when standing, m."""
LEGS = ("FR", "FL", "RR", "RL")
SIDE = np.array([-1.0, 1.0, -1.0, 1.0])
"""Of each leg: 1 is left."""
HIPS = np.stack([[0.1934, 0.1934, -0.1934, -0.1934], 0.0465 * SIDE], axis=1)
"""Forward and leftward from the trunk's centre, m, (4, 2)."""
STANDS = HIPS + np.stack([np.zeros(4), HIP_WIDTH * SIDE], axis=1)
"""Below which points of the trunk the feet stand, m, (4, 2)."""
STANDING = np.column_stack([STANDS - HIPS, np.full(4, -HEIGHT)])
"""Of the feet from their hips, m, (4, 3)."""
SHORTEST, LONGEST = -0.9, 0.66
"""Cosines of the angles that the knees reach."""

ROBOT, WORLD, FENCE = 1, 2, 4
"""Contact bits: of the robot, of what it bumps into, and of what only the cube does."""


def quadruped_mjcf() -> str:
    """The body `trunk` with its free joint, twelve leg joints and two cameras, for a `worldbody`.

    `head` looks ahead and a little down, and sways with the trot; `chase` follows from where x is less.
    """
    return f"""
<body name="trunk" pos="0 0 {HEIGHT}">
  <freejoint/>
  <inertial pos=".02 0 0" mass="6.92" diaginertia=".024 .098 .107"/>
  <geom type="box" size=".188 .047 .057" class="robot"/>
  <geom type="cylinder" size=".05 .045" pos=".285 0 .01" class="robot"/>
  <geom size=".047" pos=".293 0 -.06" class="robot"/>
  <camera name="head" pos=".335 0 .06" xyaxes="0 -1 0 .26 0 .966" fovy="75"/>
  <camera name="chase" mode="trackcom" pos="-1.3 0 1" xyaxes="0 -1 0 .55 0 .83"/>
  {"".join(_leg_mjcf(*leg) for leg in zip(LEGS, HIPS, SIDE, strict=True))}
</body>"""


def _leg_mjcf(name: str, hip: Array, side: float) -> str:
    return f"""
<body pos="{hip[0]} {hip[1]} 0">
  <inertial pos="0 0 0" mass=".68" diaginertia=".0009 .0006 .0005"/>
  <joint name="{name}_roll" class="robot" axis="1 0 0" range="-1.05 1.05"/>
  <body pos="0 {side * HIP_WIDTH} 0">
    <inertial pos="0 0 -.033" mass="1.15" diaginertia=".006 .006 .0009"/>
    <joint name="{name}_hip" class="robot" range="-1.6 3.5"/>
    <geom type="capsule" size=".022" fromto="0 0 0 0 0 -{THIGH}" class="robot"/>
    <body pos="0 0 -{THIGH}">
      <inertial pos="0 0 -.14" mass=".24" diaginertia=".0015 .0015 .00005"/>
      <joint name="{name}_knee" class="robot" range="-2.72 -.84"/>
      <geom type="capsule" size=".014" fromto="0 0 0 0 0 -{CALF - 0.02}" class="robot"/>
      <geom size="{FOOT_RADIUS}" pos="0 0 -{CALF}" friction=".9 .02 .01" priority="1" class="robot"/>
    </body>
  </body>
</body>"""


def defaults_mjcf() -> str:
    """The class `robot` of its joints and geoms, for a `default`."""
    return f"""
<default class="robot">
  <joint axis="0 1 0" damping=".5" armature=".01" frictionloss=".1"/>
  <geom contype="{ROBOT}" conaffinity="{WORLD}"/>
</default>"""


def actuators_mjcf() -> str:
    """Position servos of the twelve joints, leg by leg, for an `actuator`."""
    torques = {"roll": 24, "hip": 24, "knee": 45}
    return "".join(
        f'<position joint="{leg}_{joint}" kp="90" kv="2.5" forcerange="-{torque} {torque}"/>'
        for leg in LEGS
        for joint, torque in torques.items()
    )


def leg_angles(feet: Array) -> Array:
    """Joint angles (roll, hip, knee) of each leg, rad, (4, 3), that bring feet (4, 3) there, m from their own hips."""
    x, y, z = feet.T
    length = np.sqrt(np.maximum(y**2 + z**2 - HIP_WIDTH**2, 0.01))
    cosine = (x**2 + length**2 - THIGH**2 - CALF**2) / (2 * THIGH * CALF)
    knee = -np.arccos(np.clip(cosine, SHORTEST, LONGEST))
    roll = np.arctan2(y, -z) - np.arctan2(SIDE * HIP_WIDTH, length)
    hip = np.arctan2(-x, length) - np.arctan2(CALF * np.sin(knee), THIGH + CALF * np.cos(knee))
    return np.stack([roll, hip, knee], axis=1)
