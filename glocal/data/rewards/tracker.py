"""A body of one colour on a table, tracked by classic means: its mask, and where the goal's mask fits it best.

Nothing is learned and no shape is told: the body is cut out of a picture that shows it where it is wanted, and other
pictures are registered with that, first over all angles and then to fractions of a pixel (Lucas and Kanade 1981).
"""

import math
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from glocal.runtime.files import UserError

Mask = NDArray[np.float32]
"""How much of each pixel belongs to the body, from 0 to 1, (h, w)."""
Window = tuple[int, int, int, int]
"""Left, top, width and height of a part of a picture."""
ANGLES = 36
"""Angles that are tried before refinement."""
REFINEMENTS = 6
STEPS = np.array([0.5, 0.5, 0.02])
"""Pixels and radians by which derivatives of a mask are taken."""
ENOUGH = 0.01
"""Pixels and radians below which a refinement is the last."""
MARGIN = 16
"""Pixels around the body that are looked at."""
LOST = 0.95
"""Share of the fit before below which the body counts as lost."""
SOFT = 0.6
"""Share of the tolerance within which a pixel belongs to the body whole."""


@dataclass(frozen=True)
class TrackerConfig:
    """What the body looks like."""

    colour: tuple[int, int, int]
    """Red, green and blue, 0 to 255."""
    tolerance: float = 75.0
    """Distance in colour at which a pixel no longer belongs to the body."""
    least: float = 8.0
    """Pixels that the body has to have."""


@dataclass(frozen=True)
class Tracked:
    """Where the body is: its centre of mass in pixels and its angle against the goal's, how much of the goal it covers,
    and how well the mask fits (intersection over union)."""

    pose: NDArray[np.float64]
    coverage: float
    fit: float


class Tracker:
    """Tracks the body that a goal picture (h, w, 3) shows; raises `UserError` where that shows none."""

    def __init__(self, cfg: TrackerConfig, goal: NDArray[np.uint8]):
        self.cfg, self.goal = cfg, body_mask(cfg, goal)
        if self.goal.sum() < cfg.least:
            raise UserError(
                f"the goal picture shows {self.goal.sum():.0f} pixels of colour {cfg.colour}, expected {cfg.least:.0f} "
                "or more; say another colour or tolerance"
            )
        self.centre = _centre(self.goal)
        self.outline = _outline(self.goal) - self.centre
        self.side = 2 * math.ceil(np.linalg.norm(self.outline, axis=1).max()) + MARGIN

    def track(self, picture: NDArray[np.uint8], near: Tracked | None = None) -> Tracked:
        """Where the body is in a picture of the goal picture's size; where it does not show, fit and coverage are 0.

        It is looked for near where it was before, and if it does not fit there as well as then, in all angles.
        """
        mask = body_mask(self.cfg, picture)
        if mask.sum() < self.cfg.least:
            return Tracked(np.array([*self.centre, 0.0]), 0.0, 0.0)
        if near is not None:
            found = self._told(mask, self._refined(mask, near.pose))
            if found.fit > LOST * near.fit:
                return found
        return self._told(mask, self._refined(mask, self._best_angle(mask)))

    def _told(self, mask: Mask, pose: NDArray[np.float64]) -> Tracked:
        placed = self.placed(pose)
        shared = float(np.minimum(placed, self.goal).sum() / self.goal.sum())
        fit = float(np.minimum(placed, mask).sum() / np.maximum(placed, mask).sum())
        return Tracked(np.array([*pose[:2], (pose[2] + math.pi) % (2 * math.pi) - math.pi]), shared, fit)

    def distance(self, pose: NDArray[np.float64]) -> float:
        """Mean distance in pixels of the outline's points from where they are at the goal."""
        cos, sin = math.cos(pose[2]), math.sin(pose[2])
        moved = self.outline @ np.array([[cos, sin], [-sin, cos]]) + pose[:2]
        return float(np.linalg.norm(moved - self.outline - self.centre, axis=1).mean())

    def placed(self, pose: NDArray[np.float64], window: Window | None = None) -> Mask:
        """The goal's mask, moved and turned; in a window of the picture, or all of it."""
        left, top, width, height = window or (0, 0, *self.goal.shape[::-1])
        cos, sin = math.cos(pose[2]), math.sin(pose[2])
        turn = np.array([[cos, -sin], [sin, cos]])
        way = np.concatenate([turn, (pose[:2] - (left, top) - turn @ self.centre)[:, None]], axis=1)
        return cv2.warpAffine(self.goal, way, (width, height)).astype(np.float32)

    def _window(self, mask: Mask) -> Window:
        """The part of a picture that holds the body."""
        height, width = mask.shape
        left, top = (max(0, int(middle - self.side / 2)) for middle in _centre(mask))
        return left, top, min(width - left, self.side), min(height - top, self.side)

    def _best_angle(self, mask: Mask) -> NDArray[np.float64]:
        window, centre = self._window(mask), _centre(mask)
        seen = _within(mask, window)
        poses = [np.array([*centre, 2 * math.pi * i / ANGLES]) for i in range(ANGLES)]
        return min(poses, key=lambda pose: float(np.abs(self.placed(pose, window) - seen).sum()))

    def _refined(self, mask: Mask, pose: NDArray[np.float64]) -> NDArray[np.float64]:
        """Gauss-Newton on the squared difference of the masks."""
        window = self._window(mask)
        seen = _within(mask, window)
        for _ in range(REFINEMENTS):
            near = [self.placed(pose + side * step, window) for step in np.diag(STEPS) for side in (1, -1)]
            slopes = [((a - b) / (2 * h)).ravel() for a, b, h in zip(near[::2], near[1::2], STEPS, strict=True)]
            rows = np.stack(slopes, axis=1)
            left = (seen - self.placed(pose, window)).ravel()
            step, *_ = np.linalg.lstsq(rows.T @ rows, rows.T @ left, rcond=None)
            pose = pose + np.clip(step, [-2, -2, -0.2], [2, 2, 0.2])
            if np.abs(step).max() < ENOUGH:
                break
        return pose


def body_mask(cfg: TrackerConfig, picture: NDArray[np.uint8]) -> Mask:
    """How much of each pixel is of the body's colour, in the largest such place alone."""
    away = np.linalg.norm(picture.astype(np.float32) - np.array(cfg.colour, np.float32), axis=-1)
    soft = np.clip((cfg.tolerance - away) / ((1 - SOFT) * cfg.tolerance), 0, 1).astype(np.float32)
    count, places, stats, _ = cv2.connectedComponentsWithStats((soft > 0.5).astype(np.uint8), connectivity=8)
    if count < 2:
        return np.zeros_like(soft)
    largest = 1 + int(stats[1:, cv2.CC_STAT_AREA].argmax())
    around = cv2.dilate((places == largest).astype(np.uint8), np.ones((3, 3), np.uint8))
    return soft * around


def _within(mask: Mask, window: Window) -> Mask:
    left, top, width, height = window
    return mask[top : top + height, left : left + width]


def _centre(mask: Mask) -> NDArray[np.float64]:
    """The centre of mass (x, y) in pixels."""
    found = cv2.moments(mask)
    return np.array([found["m10"], found["m01"]]) / found["m00"]


def _outline(mask: Mask, count: int = 32) -> NDArray[np.float64]:
    """Points (count, 2) along the body's outline."""
    contours, _ = cv2.findContours((mask > 0.5).astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    longest = max(contours, key=len)[:, 0].astype(np.float64)
    return longest[np.linspace(0, len(longest) - 1, count).astype(int)]
