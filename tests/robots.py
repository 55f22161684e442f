"""A robot that nobody has seen before: logs of it, and an environment that stands for it."""

from pathlib import Path
from typing import Any, ClassVar

import gymnasium
import numpy as np

from glocal.data.dataset import Feature
from glocal.data.formats.lerobot_writer import Layout, write_lerobot

ID = "glocal-tests/Reach-v0"
SHOWN = "glocal-tests/ShownReach-v0"
FPS = 20


class Reach(gymnasium.Env[Any, Any]):
    """A point in three dimensions is told by how much to move, and a gripper how wide to be; success is at a goal."""

    observation_space = gymnasium.spaces.Dict(
        {"state": gymnasium.spaces.Box(-2, 2, (4,)), "goal": gymnasium.spaces.Box(-1, 1, (3,))}
    )
    action_space = gymnasium.spaces.Box(-0.1, 1.0, (4,))

    def __init__(self) -> None:
        self.action_space = gymnasium.spaces.Box(np.float32([-0.1] * 3 + [0]), np.float32([0.1] * 3 + [1]))

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> Any:
        super().reset(seed=seed)
        self.state = np.r_[self.np_random.uniform(-1, 1, 3), 0.5]
        self.goal = self.np_random.uniform(-1, 1, 3)
        return self._seen(), {}

    def step(self, action: Any) -> Any:
        self.state = np.r_[np.clip(self.state[:3] + action[:3], -1.5, 1.5), action[3]]
        away = float(np.linalg.norm(self.state[:3] - self.goal))
        return self._seen(), -away, False, False, {"is_success": away < 0.25}

    def _seen(self) -> dict[str, Any]:
        return {"state": self.state.astype(np.float32), "goal": self.goal.astype(np.float32)}


class Shown(Reach):
    """The same, that can be looked at."""

    metadata: ClassVar[dict[str, Any]] = {"render_modes": ["rgb_array"]}

    def __init__(self, render_mode: str | None = None) -> None:
        super().__init__()
        self.render_mode = render_mode

    def render(self) -> Any:
        return _dots(self.state[None, :2])[0]


if ID not in gymnasium.registry:
    gymnasium.register(ID, Reach)
    gymnasium.register(SHOWN, Shown)

FEATURES = {
    "observation.state": Feature((4,), "float32", names=("x", "y", "z", "gripper")),
    "observation.goal": Feature((3,), "float32"),
    "action": Feature((4,), "float32", names=("dx", "dy", "dz", "gripper")),
    "next.reward": Feature((1,), "float32"),
    "next.success": Feature((1,), "bool"),
}


def seeing_logs(folder: Path, episodes: int = 8, steps: int = 60, leave_out: tuple[str, ...] = ()) -> Path:
    """The same, seen by two cameras: a dot where the point is from above, and one where it is from the side."""
    pictures = {f"observation.images.{name}": Feature((24, 32, 3), "uint8", picture=True) for name in ("top", "side")}

    def seen(number: int) -> dict[str, Any]:
        episode = _episode(np.random.default_rng([1, number]), steps)
        places = {"top": episode["observation.state"][:, [0, 1]], "side": episode["observation.state"][:, [0, 2]]}
        episode |= {f"observation.images.{name}": _dots(place) for name, place in places.items()}
        return {name: episode[name] for name in features}

    features = {name: one for name, one in (FEATURES | pictures).items() if name not in leave_out}
    write_lerobot(folder, map(seen, range(episodes)), Layout(FPS, features))
    return folder


def _dots(places: Any) -> Any:
    pictures = np.full((len(places), 24, 32, 3), 200, np.uint8)
    for picture, (x, y) in zip(pictures, places, strict=True):
        row, column = int((y + 1.5) / 3 * 20), int((x + 1.5) / 3 * 28)
        picture[row : row + 4, column : column + 4] = (20, 60, 160)
    return pictures


def robot_logs(folder: Path, episodes: int = 12, steps: int = 60, seed: int = 0) -> Path:
    """Logs of play, at 20 steps a second, that goes for the goal now and then; the gripper follows its own command."""
    write_lerobot(
        folder, (_episode(np.random.default_rng([seed, i]), steps) for i in range(episodes)), Layout(FPS, FEATURES)
    )
    return folder


def _episode(rng: np.random.Generator, steps: int) -> dict[str, Any]:
    env, rows = Reach(), {name: [] for name in FEATURES}
    seen, _ = env.reset(seed=int(rng.integers(2**31)))
    while len(rows["action"]) < steps:
        target = seen["goal"] if rng.random() < 0.4 else rng.uniform(-1, 1, 3)
        width = rng.uniform(0, 1)
        for _ in range(10):
            move = np.clip((target - seen["state"][:3]) / 2, -0.1, 0.1) * rng.uniform(0.5, 1.0)
            action = np.r_[move, width].astype(np.float32)
            after, reward, _, _, info = env.step(action)
            told = (seen["state"], seen["goal"], action, [reward], [info["is_success"]])
            for name, value in zip(FEATURES, told, strict=True):
                rows[name].append(value)
            seen = after
    return {name: np.array(rows[name][:steps], FEATURES[name].dtype) for name in FEATURES}
