"""Logs of Push-T as a tracker sees it: the T's keypoints and the agent, and the targets that it was told."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from glocal.tasks.pusht import Array, pose_of, reward_of


@dataclass(frozen=True)
class TrackedReading:
    """How such an episode, a row for each control step, becomes one of a store: as `record_episode` keeps it."""

    keypoints: str
    agent: str
    action: str
    """What the logs call these, all in pixels."""
    reach: float
    """Pixels that an action of 1 puts the target away from the agent."""
    leave_out: tuple[int, ...] = ()
    """Episodes that are not used."""

    @property
    def features(self) -> list[str]:
        return [self.keypoints, self.agent, self.action]

    @property
    def row_bytes(self) -> int:
        return 112

    def episodes(self, count: int) -> list[int]:
        return [number for number in range(count) if number not in self.leave_out]

    def rows(self, observations: int) -> int:
        return observations

    def apply(self, found: Mapping[str, Array], final: Mapping[str, Array]) -> dict[str, Array]:
        """Fields as in `record_episode`, less `coverage`; what was told last, whose outcome nobody saw, is left out."""
        seen, agent = (found[name].astype(np.float32) for name in (self.keypoints, self.agent))
        if self.keypoints in final and self.agent in final:
            seen = np.concatenate([seen, final[self.keypoints].astype(np.float32)])
            agent = np.concatenate([agent, final[self.agent].astype(np.float32)])
        steps = min(len(found[self.action]), len(seen) - 1)
        moved = (found[self.action][:steps] - agent[:steps]) / self.reach
        return {
            "keypoints": seen,
            "agent": agent,
            "pose": pose_of(seen).astype(np.float32),
            "action": np.concatenate([np.zeros((1, 2)), np.clip(moved, -1, 1)]).astype(np.float32),
            "reward": reward_of(seen).astype(np.float32),
            "cont": np.ones(len(seen), np.float32),
        }

    def look(self, found: Mapping[str, Array], number: int, episode: Mapping[str, Array]) -> dict[str, Array]:
        """Nothing: what a tracker tells has no checks of its own."""
        return {}


def sides_of(keypoints: Array) -> Array:
    """Distances between the T's keypoints (..., 16) and the next ones, (..., 8)."""
    points = keypoints.reshape(*keypoints.shape[:-1], -1, 2)
    return np.linalg.norm(points - np.roll(points, 1, axis=-2), axis=-1)
