"""The real environment's verdict: episodes from fixed initial states, counted with intervals, and filmed."""

from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import av
import numpy as np

from glocal.evaluate.filming import grid
from glocal.evaluate.intervals import wilson
from glocal.runtime.files import atomic_write
from glocal.tasks.pusht import (
    COVERAGE,
    IMAGE_SIZE,
    Array,
    PushT,
    PushTConfig,
    Seen,
    keypoint_distance,
    pose_reached,
)

FRAME = (128, 128)


@dataclass(frozen=True)
class Episodes:
    """What happened in n episodes of T control steps."""

    pose: Array
    """(n,) whether the block was within 20 px and pi/9 of its goal at the end of any control step."""
    coverage: Array
    """(n,) the largest coverage."""
    distance: Array
    """(n,) the smallest mean keypoint distance in pixels."""
    agent: Array
    """(n, T + 1, 2) the agent's way."""
    keypoints: Array
    """(n, T + 1, 16) the block's."""
    frames: list[Array]
    """Pictures of the filmed episodes in a grid, (h, w, 3) per control step."""

    @property
    def success(self) -> Array:
        """(n,) whether coverage exceeded 0.95: the environment's own criterion."""
        return self.coverage > COVERAGE

    @property
    def scores(self) -> dict[str, Array]:
        """What is counted of an episode, (n,) each; what counts most comes first."""
        return {"pose": self.pose, "coverage95": self.success, "max_coverage": self.coverage}

    @property
    def arrays(self) -> dict[str, Array]:
        """What is kept of them."""
        return {
            "agent": self.agent.astype(np.float32),
            "keypoints": self.keypoints.astype(np.float32),
            "pose": self.pose,
            "coverage": self.coverage,
            "distance": self.distance,
        }

    def summary(self) -> dict[str, Any]:
        """Counts with Wilson intervals, and means."""
        return {
            "pose": wilson(int(self.pose.sum()), len(self.pose)),
            "coverage95": wilson(int(self.success.sum()), len(self.pose)),
            "max_coverage": float(self.coverage.mean()),
            "median_best_keypoint_px": float(np.median(self.distance)),
        }


def run_episodes(
    task: PushTConfig,
    controller: Generator[Array, Sequence[Seen], None],
    episodes: int,
    first_seed: int,
    filmed: int = 0,
    tick: Callable[[int], None] | None = None,
    picture: tuple[int, int] = (IMAGE_SIZE, IMAGE_SIZE),
) -> Episodes:
    """Run a controller from the initial states of seeds `first_seed` and following, all episodes side by side.

    `tick` is called with the number of control steps behind them; `picture` is the height and width of the camera's.
    """
    envs = [PushT(task, FRAME if i < filmed and not task.images else picture) for i in range(episodes)]
    next(controller)
    seen = [env.reset(first_seed + i) for i, env in enumerate(envs)]
    history, frames = [seen], [_grid(envs[:filmed])] if filmed else []
    for t in range(task.control_steps):
        actions = controller.send(seen)
        seen = [env.step(action) for env, action in zip(envs, actions, strict=True)]
        history.append(seen)
        if filmed:
            frames.append(_grid(envs[:filmed]))
        if tick is not None:
            tick(t + 1)
    return _gather(history, frames)


def write_video(path: Path, frames: Sequence[Array], fps: int = 10) -> None:
    """An mp4 (H.264) of pictures (h, w, 3) uint8, whole or not at all."""
    with atomic_write(path) as draft, av.open(str(draft), "w", format="mp4") as container:
        stream = container.add_stream("libx264", rate=fps, options={"crf": "23"})
        stream.height, stream.width = frames[0].shape[:2]
        stream.pix_fmt = "yuv420p"
        for frame in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(np.ascontiguousarray(frame), format="rgb24")))
        container.mux(stream.encode())


def _gather(history: Sequence[Sequence[Seen]], frames: list[Array]) -> Episodes:
    pose = np.stack([[one.pose for one in seen] for seen in history], axis=1)
    keypoints = np.stack([[one.keypoints for one in seen] for seen in history], axis=1)
    coverage = np.array([[one.coverage for one in seen] for seen in history]).T
    return Episodes(
        pose=np.any(pose_reached(pose), axis=1),
        coverage=coverage.max(1),
        distance=keypoint_distance(keypoints).min(1),
        agent=np.stack([[one.agent for one in seen] for seen in history], axis=1),
        keypoints=keypoints,
        frames=frames,
    )


def _grid(envs: Sequence[PushT]) -> Array:
    return grid([env.picture() for env in envs])
