"""What environments with a cube in a MuJoCo scene share: spaces, cameras, and what differs between episodes."""

from collections.abc import Mapping
from dataclasses import dataclass
from importlib import import_module
from typing import Any

import gymnasium
import numpy as np
from numpy.typing import NDArray

from glocal_envs.pictures import Pictures

mujoco: Any = import_module("mujoco")  # it has no types

Array = NDArray[np.float64]
Observation = dict[str, np.ndarray]
STUCK = 1e6
"""Damping of the joint of a cube that was taken away: what is not there does not fall."""


@dataclass(frozen=True)
class Cube:
    """The cube, and the light that it is seen in."""

    edge: float
    """Half of it, m."""
    mass: float
    """Kg."""
    friction: float
    """Coefficient of sliding."""
    light: float = 1.0
    """How bright it is, as a share of what is usual."""

    def grown(self, edge: float, friction: float, light: float) -> "Cube":
        """One of the same stuff."""
        return Cube(edge, self.mass * (edge / self.edge) ** 3, friction, light)


@dataclass(frozen=True)
class Look:
    """How an environment is looked at: the choices of `gymnasium.make`."""

    render_mode: str | None
    camera: str
    """Which camera `render` shows."""
    width: int
    height: int
    head: int
    """Side of the head camera's pictures in observations; 0 leaves them out."""


class Scene(gymnasium.Env[Observation, np.ndarray]):
    """A MuJoCo model whose first free joint is that of a body `cube`, with one box `cube`.

    `hidden` names its cameras, `head` among them, and the groups of geoms that each does not show; `names` the numbers
    in each entry of an observation; `limits` the largest action.
    """

    metadata: dict[str, Any] = {"render_modes": ["rgb_array"], "render_fps": 5}  # noqa: RUF012  (Gymnasium's own)

    def __init__(
        self,
        mjcf: str,
        names: Mapping[str, tuple[str, ...]],
        limits: Array,
        usual: Cube,
        hidden: Mapping[str, tuple[int, ...]],
        look: Look,
    ) -> None:
        if look.camera not in hidden:
            raise ValueError(f"there is no camera {look.camera!r}; expected one of {', '.join(hidden)}")
        self.render_mode, self.look, self.usual, self.now = look.render_mode, look, usual, usual
        spaces: dict[str, gymnasium.Space[Any]] = {
            name: gymnasium.spaces.Box(-np.inf, np.inf, (len(numbers),), np.float32) for name, numbers in names.items()
        }
        if look.head:
            spaces["head"] = gymnasium.spaces.Box(0, 255, (look.head, look.head, 3), np.uint8)
        self.observation_space: Any = gymnasium.spaces.Dict(spaces)
        high = limits.astype(np.float32)
        self.action_space = gymnasium.spaces.Box(-high, high)
        self.model = mujoco.MjModel.from_xml_string(mjcf)
        self.data = mujoco.MjData(self.model)
        self.pictures = Pictures(self.model, hidden)
        self.taken, box = False, self.model.geom("cube")
        self._whole = [(array, array.copy()) for array in (box.contype, box.conaffinity, box.rgba, self._damping)]

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Observation, dict[str, Any]]:
        """Put the cube back where it was taken away; what else begins an episode is the environment's own."""
        super().reset(seed=seed, options=options)
        self.taken = False
        for array, whole in self._whole:
            array[:] = whole
        return {}, {}

    def take_cube(self) -> None:
        """Take the cube away until the next reset: nothing shows or feels it, it counts as nowhere near its goal, and
        what tracks it goes on telling where it was."""
        box = self.model.geom("cube")
        self.taken, box.contype[:], box.conaffinity[:], box.rgba[3], self._damping[:] = True, 0, 0, 0, STUCK
        self.data.qvel[:6] = 0

    @property
    def _damping(self) -> Array:
        """Of the cube's free joint."""
        return self.model.dof_damping[:6]

    def render(self) -> Any:
        """What the camera shows, (height, width, 3) bytes; None where pictures were not asked for."""
        if self.render_mode is None:
            return None
        return self.pictures.draw(self.data, self.look.camera, self.look.height, self.look.width)

    def close(self) -> None:
        self.pictures.close()

    def observed(self, entries: Mapping[str, list[Any]]) -> Observation:
        """An observation: these numbers, and what the head camera sees where it is asked for."""
        found: Observation = {name: np.hstack(numbers).astype(np.float32) for name, numbers in entries.items()}
        if self.look.head:
            found["head"] = self.pictures.draw(self.data, "head", self.look.head, self.look.head)
        return found

    def told(self, action: Any) -> Array:
        """An action, in exact numbers; raises `ValueError` where it is not as many finite numbers as are asked for."""
        told = np.asarray(action, np.float64)
        if told.shape != self.action_space.shape or not np.isfinite(told).all():
            raise ValueError(f"an action of {self.action_space.shape} finite numbers was expected, not {action!r}")
        return told

    def settle(self, cube: Cube) -> None:
        """Make the cube and the light what they are in this episode."""
        if cube == self.now:
            return
        self.now, geom, body = cube, self.model.geom("cube"), self.model.body("cube")
        geom.size[:], geom.friction[0] = cube.edge, cube.friction
        geom.rbound[:] = np.sqrt(3) * cube.edge
        self.model.geom_aabb[geom.id, 3:] = self.model.bvh_aabb[self.model.body_bvhadr[body.id], 3:] = cube.edge
        body.mass[:], body.inertia[:] = cube.mass, cube.mass * (2 * cube.edge) ** 2 / 6
        self.pictures.light(cube.light)
        mujoco.mj_setConst(self.model, self.data)


def free_joint(x: float, y: float, z: float, heading: float) -> list[float]:
    """What the seven numbers of a free joint are."""
    return [x, y, z, np.cos(heading / 2), 0.0, 0.0, np.sin(heading / 2)]


def heading(free: Array) -> float:
    """Of what a free joint's seven numbers say, rad."""
    w, x, y, z = free[3:7]
    return float(np.arctan2(2 * (w * z + x * y), 1 - 2 * (y * y + z * z)))
