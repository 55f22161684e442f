"""The tracker finds a body that was drawn at known places, and says so where there is none."""

import math

import cv2
import numpy as np
import pytest

from glocal.data.rewards.tracker import Tracker, TrackerConfig
from glocal.runtime.files import UserError

COLOUR = (150, 60, 40)
SHAPE = np.array([[-12, -4], [12, -4], [12, 2], [4, 2], [4, 16], [-2, 16], [-2, 2], [-12, 2]], float)
FINE = 8


def drawn(x: float, y: float, angle: float, clutter: bool = True) -> np.ndarray:
    """A picture (80, 96, 3) of the body, antialiased, and of a blue thing that is none of its business."""
    cos, sin = math.cos(angle), math.sin(angle)
    points = (SHAPE @ np.array([[cos, sin], [-sin, cos]]) + (x, y)) * FINE
    large = np.full((80 * FINE, 96 * FINE, 3), 240, np.uint8)
    if clutter:
        cv2.circle(large, (12 * FINE, 12 * FINE), 4 * FINE, (40, 80, 220), -1)
    cv2.fillPoly(large, [points.round().astype(int)], COLOUR)
    return cv2.resize(large, (96, 80), interpolation=cv2.INTER_AREA)


@pytest.fixture(scope="module")
def tracker() -> Tracker:
    return Tracker(TrackerConfig(COLOUR), drawn(48, 40, 0.0))


@pytest.mark.parametrize("x, y, angle", [(48, 40, 0.0), (30.3, 50.7, 1.0), (70.5, 25.2, -2.5), (25, 30, math.pi)])
def test_a_body_is_found_to_fractions_of_a_pixel(tracker, x, y, angle):
    found = tracker.track(drawn(x, y, angle))
    cos, sin = math.cos(angle), math.sin(angle)
    lever = tracker.centre + 0.5 - (48, 40)  # from the shape's origin to its centre of mass, where pixels begin at 0
    wanted = np.array([x, y]) + np.array([[cos, -sin], [sin, cos]]) @ lever - 0.5
    assert np.linalg.norm(found.pose[:2] - wanted) < 0.25
    assert abs((found.pose[2] - angle + math.pi) % (2 * math.pi) - math.pi) < 0.03
    assert found.fit > 0.85


def test_coverage_is_the_share_of_the_goal_that_lies_under_the_body(tracker):
    assert tracker.track(drawn(48, 40, 0.0)).coverage > 0.98
    assert tracker.track(drawn(48 + 12, 40, 0.0)).coverage == pytest.approx(72 / 228, abs=0.06)
    assert tracker.track(drawn(20, 60, 2.0)).coverage < 0.05


def test_distance_is_that_of_the_outline(tracker):
    assert tracker.distance(np.r_[tracker.centre + np.array([3, 4]), 0.0]) == pytest.approx(5.0)


def test_it_is_followed_from_picture_to_picture_and_found_again_after_a_leap(tracker):
    near = tracker.track(drawn(30, 40, 0.5))
    assert np.allclose(tracker.track(drawn(31, 41, 0.6), near).pose, tracker.track(drawn(31, 41, 0.6)).pose, atol=0.05)
    leapt = tracker.track(drawn(70, 30, 3.0), near)
    assert leapt.fit > 0.85 and abs(leapt.pose[2]) == pytest.approx(3.0, abs=0.05)


def test_where_there_is_no_body_nothing_is_covered(tracker):
    found = tracker.track(np.full((80, 96, 3), 240, np.uint8))
    assert found.coverage == found.fit == 0


def test_a_goal_without_the_body_is_refused():
    with pytest.raises(UserError, match="shows 0 pixels of colour"):
        Tracker(TrackerConfig((0, 255, 0)), drawn(48, 40, 0.0))
