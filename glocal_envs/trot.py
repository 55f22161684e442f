"""A trot at 50 Hz that follows a commanded velocity: Raibert's footholds, a level trunk, an integral of the error."""

from dataclasses import dataclass, field

import numpy as np

from glocal_envs.quadruped import HEIGHT, HIPS, STANDS, Array, leg_angles

DT = 0.02
"""Seconds of a step."""
PERIOD, STANCE = 0.36, 0.55
"""Seconds of a stride, and the share of it for which a foot is on the ground."""
LEADS = np.array([0.0, 0.5, 0.5, 0.0])
"""By how much of a stride each leg is ahead: diagonal pairs step together."""
LIFT = 0.07
"""Of swinging feet, m."""
FURTHEST = 0.14
"""Foothold from where the foot stands by default, m."""
CAPTURE, LEVEL, INTEGRAL = 0.12, 0.5, 2.0
"""Gains: of the velocity's error on footholds (s), of the trunk's tilt on leg lengths, of the integral (1/s)."""
LARGEST_TRIM = 0.15
"""Of the integral, m/s and rad/s."""
LEVERS = np.stack([-STANDS[:, 1], STANDS[:, 0]], axis=1)
"""Velocity of each foot's stand when the trunk turns at 1 rad/s, m/s, (4, 2)."""


@dataclass(frozen=True)
class Trunk:
    """What the gait feels of the trunk."""

    velocity: Array
    """Forward and leftward (m/s) and turning (rad/s), (3,), in the trunk's heading."""
    roll: float
    pitch: float
    """Rad."""


@dataclass(frozen=True)
class Gait:
    """The state of the trot; a new one stands still."""

    phase: float = 0.0
    """Of the stride, in [0, 1)."""
    trim: Array = field(default_factory=lambda: np.zeros(3))
    """What is commanded on top, to make up for what was not followed."""
    feet: Array = field(default_factory=lambda: np.zeros((4, 2)))
    """From where they stand by default, m."""
    lifted: Array = field(default_factory=lambda: np.zeros((4, 2)))
    """Where each was when it last left the ground."""


def trot(gait: Gait, trunk: Trunk, command: Array) -> tuple[Gait, Array]:
    """One step of the trot: the gait after it, and the joint angles (4, 3) to hold, rad.

    `command` is the velocity to walk at, (3,): forward and leftward (m/s) and turning (rad/s).
    """
    phase = (gait.phase + DT / PERIOD) % 1.0
    trim = np.clip(gait.trim + INTEGRAL * DT * (command - trunk.velocity), -LARGEST_TRIM, LARGEST_TRIM)
    wanted, have = _of_stands(command + trim), _of_stands(trunk.velocity)
    legs = (phase + LEADS) % 1.0
    down = (legs < STANCE)[:, None]
    swing = np.clip((legs - STANCE) / (1 - STANCE), 0, 1)
    blend = (swing**2 * (3 - 2 * swing))[:, None]
    foothold = np.clip(have * STANCE * PERIOD / 2 + CAPTURE * (have - wanted), -FURTHEST, FURTHEST)
    feet = np.where(down, gait.feet - wanted * DT, gait.lifted * (1 - blend) + foothold * blend)
    lifted = np.where(down, feet, gait.lifted)
    tilt = STANDS @ [-np.tan(trunk.pitch), np.tan(trunk.roll)]
    height = -HEIGHT + LEVEL * tilt + LIFT * np.sin(np.pi * swing)
    return Gait(phase, trim, feet, lifted), leg_angles(np.column_stack([STANDS + feet - HIPS, height]))


def _of_stands(velocity: Array) -> Array:
    """Of each foot's stand, (4, 2), where the trunk moves so."""
    return velocity[:2] + velocity[2] * LEVERS
