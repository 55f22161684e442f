"""Push-Cube's arena: a walled floor with a cube and a goal, the quadruped in it, and the cameras that look on."""

import numpy as np

from glocal_envs.pictures import VISUAL_MJCF
from glocal_envs.quadruped import FENCE, ROBOT, WORLD, actuators_mjcf, defaults_mjcf, quadruped_mjcf
from glocal_envs.scene import Cube

SIM_DT = 0.004
WALL = 2.0
"""Distance of the walls from the arena's centre, m."""
USUAL = Cube(edge=0.15, mass=1.5, friction=0.3)
FREE = 1.3
"""From the centre, the cube's faces are kept within this by a fence that the robot does not feel, so that the robot can
always walk round it, m."""
RADIUS = 0.2
"""Of the goal's disc, within which the cube's centre has to be, m."""
ABOVE = 8.0
"""Height of the camera that shows the whole arena, m."""
BEACON = (0.45, 1.3)
"""From how high to how high the beacon hangs over the goal, so that cube and robot pass below, m."""
PLAIN, WALKED = 1, 2
"""Groups of geoms: what is drawn from above alone, and what only those see who are on the floor."""
HIDDEN = {"above": (WALKED,), "head": (PLAIN,), "chase": (PLAIN,)}
"""Which groups each camera does not show."""
WALLS = {(1, 0): ".45 .5 .6", (-1, 0): ".65 .55 .4", (0, 1): ".5 .65 .5", (0, -1): ".6 .45 .55"}
"""Colours of the walls as they are seen from the floor, by the side that they stand on."""


def arena_mjcf() -> str:
    """The scene; the cube's free joint comes first, the quadruped's second."""
    edge = USUAL.edge
    return f"""
<mujoco>
  <option timestep="{SIM_DT}" integrator="implicitfast" cone="pyramidal" iterations="20"/>
  <compiler angle="radian" autolimits="true"/>
  {VISUAL_MJCF}
  <asset>
    <texture name="floor" type="2d" builtin="checker" rgb1=".62 .6 .56" rgb2=".5 .48 .46" width="256" height="256"/>
    <material name="floor" texture="floor" texrepeat="4 4"/>
    <texture type="skybox" builtin="gradient" rgb1=".7 .8 .9" rgb2=".3 .35 .4" width="64" height="384"/>
  </asset>
  <default>{defaults_mjcf()}<default class="seen"><geom contype="0" conaffinity="0" mass="0"/></default></default>
  <worldbody>
    <camera name="above" pos="0 0 {ABOVE}" fovy="{np.degrees(2 * np.arctan(1.05 * WALL / ABOVE)):.2f}"/>
    <site name="goal" type="cylinder" size="{RADIUS} .002" pos="0 0 .002" rgba=".2 .75 .3 1"/>
    <geom type="plane" size="{WALL} {WALL} .1" rgba=".85 .85 .85 1" friction=".8" group="{PLAIN}"
          contype="{WORLD}" conaffinity="{ROBOT | FENCE}"/>
    <geom class="seen" type="plane" size="{WALL} {WALL} .1" material="floor" group="{WALKED}"/>
    {"".join(_wall_mjcf(side, colour) for side, colour in WALLS.items())}
    <body name="beacon" mocap="true">
      <geom class="seen" type="cylinder" fromto="0 0 {BEACON[0]} 0 0 {BEACON[1]}" size=".04" rgba=".1 .75 .25 1"
            group="{WALKED}"/>
    </body>
    <body name="cube">
      <freejoint/>
      <geom name="cube" type="box" size="{edge} {edge} {edge}" mass="{USUAL.mass}" priority="1"
            friction="{USUAL.friction} .005 .0001" rgba=".95 .45 .1 1"
            contype="{WORLD | FENCE}" conaffinity="{ROBOT | FENCE}"/>
    </body>
    {quadruped_mjcf()}
  </worldbody>
  <actuator>{actuators_mjcf()}</actuator>
</mujoco>"""


def _wall_mjcf(side: tuple[int, int], colour: str) -> str:
    unseen = 'rgba="0 0 0 0"'
    return (
        _barrier_mjcf(side, WALL, f'contype="{WORLD}" conaffinity="{ROBOT}" group="{PLAIN}"')
        + _barrier_mjcf(side, WALL, f'class="seen" rgba="{colour} 1" group="{WALKED}"')
        + _barrier_mjcf(side, FREE, f'{unseen} contype="{FENCE}" conaffinity="{FENCE}" friction=".05"')
    )


def _barrier_mjcf(side: tuple[int, int], distance: float, more: str) -> str:
    """An upright slab whose inner face is so far from the centre, on one side of it."""
    x, y = (distance + 0.05) * side[0], (distance + 0.05) * side[1]
    half_x, half_y = (0.05, WALL) if side[0] else (WALL, 0.05)
    return f'<geom type="box" pos="{x} {y} .3" size="{half_x} {half_y} .3" {more}/>'
