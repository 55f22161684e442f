"""Meta-World's tasks at 16 control steps a second, with a camera beside the table that a CPU draws quickly."""

from typing import Any

import gymnasium
import numpy as np
from gymnasium.spaces import Box, Dict
from gymnasium.utils import seeding
from numpy.typing import NDArray

from glocal_envs.scene import Array, Observation

HOLD = 5
"""Steps of Meta-World (80 a second) in a control step."""
SIDE = 96
"""Of a picture, in pixels."""
VIEW = {"distance": 0.9, "azimuth": 180.0, "elevation": -40.0, "lookat": np.array([0.0, 0.68, 0.08])}
"""The table from the robot's left: the hand, what it works on and the goal."""


class MetaWorld(gymnasium.Env[Observation, Array]):
    """A task of Meta-World, `env_name` (as `drawer-open-v3`); its initial states are drawn from a list of `num_goals`
    that `seed` makes, by the seed of `reset`.

    Action (4,) in [-1, 1]: by how much the hand moves (1 is 5 cm in a control step) and the gripper's strength, held
    for 5 steps of Meta-World. Observation: `hand` (4,), the hand's place (m) and how far it is open; `state` (39,),
    all that Meta-World tells, which has the hand, the object and the goal; with `camera=True`, `front` (96, 96, 3)
    bytes, which a camera beside the table sees, without shadows and smoothing. Reward and `info` are Meta-World's after
    the last of the steps.
    """

    metadata = {"render_modes": ["rgb_array"], "render_fps": 16}  # noqa: RUF012 (Gymnasium's own name for it)

    def __init__(
        self, env_name: str, seed: int = 0, num_goals: int = 50, camera: bool = False, render_mode: str | None = None
    ) -> None:
        gymnasium.register_envs(__import__("metaworld"))
        goals = {"env_name": env_name, "seed": seed, "num_goals": num_goals}
        drawn = {"render_mode": "rgb_array", "width": SIDE, "height": SIDE}
        self.inner = gymnasium.make(
            "Meta-World/MT1", max_episode_steps=10**9, disable_env_checker=True, **goals, **drawn
        )
        scene: Any = self.inner.unwrapped
        scene.model.light_castshadow[:] = 0
        scene.model.vis.quality.shadowsize = scene.model.vis.quality.offsamples = 0
        scene.mujoco_renderer.camera_id, scene.mujoco_renderer.default_cam_config = -1, VIEW
        self.render_mode, self.camera, self.action_space = render_mode, camera, self.inner.action_space
        spaces: dict[str, Any] = {
            name: Box(-np.inf, np.inf, (n,), np.float32) for name, n in (("hand", 4), ("state", 39))
        }
        if camera:
            spaces["front"] = Box(0, 255, (SIDE, SIDE, 3), np.uint8)
        space: Any = Dict(spaces)  # their types say too little
        self.observation_space = space

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[Observation, dict[str, Any]]:
        super().reset(seed=seed)
        if seed is not None:  # Meta-World draws its task from this, and ignores the seed that it is reset with
            self.inner.unwrapped.np_random = seeding.np_random(seed)[0]
        state, info = self.inner.reset(seed=seed, options=options)
        return self._observe(state), info

    def step(self, action: Array) -> tuple[Observation, Any, bool, bool, dict[str, Any]]:
        happened = self.inner.step(action)
        for _ in range(HOLD - 1):
            if happened[2] or happened[3]:
                break
            happened = self.inner.step(action)
        return self._observe(happened[0]), *happened[1:]

    def render(self) -> NDArray[np.uint8]:
        """What the camera sees, (96, 96, 3) bytes."""
        return np.asarray(self.inner.render())

    def close(self) -> None:
        self.inner.close()

    def _observe(self, state: Array) -> Observation:
        seen = {"hand": np.asarray(state[:4], np.float32), "state": np.asarray(state, np.float32)}
        return {**seen, "front": self.render()} if self.camera else seen
