"""An arm for LeRobot that moves as it is told, is seen by two cameras, and writes down what happened."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from lerobot.robots import Robot, RobotConfig

JOINTS = ("x.pos", "y.pos", "z.pos", "gripper.pos")
CAMERAS = ("top", "side")


@RobotConfig.register_subclass("fakearm")
@dataclass
class FakeArmConfig(RobotConfig):
    journal: Path = Path("journal.npz")


class FakeArm(Robot):
    config_class = FakeArmConfig
    name = "fakearm"

    def __init__(self, config: FakeArmConfig):
        super().__init__(config)
        self.journal, self.rng = config.journal, np.random.default_rng(0)
        self.joints = np.zeros(4, np.float32)
        self.seen: list[dict[str, Any]] = []
        self.told: list[Any] = []
        self.connected = False

    @property
    def observation_features(self) -> dict[str, Any]:
        return dict.fromkeys(JOINTS, float) | dict.fromkeys(CAMERAS, (24, 32, 3))

    @property
    def action_features(self) -> dict[str, Any]:
        return dict.fromkeys(JOINTS, float)

    @property
    def is_connected(self) -> bool:
        return self.connected

    @property
    def is_calibrated(self) -> bool:
        return True

    def connect(self, calibrate: bool = True) -> None:
        self.connected = True

    def calibrate(self) -> None: ...

    def configure(self) -> None: ...

    def get_observation(self) -> dict[str, Any]:
        pictures = {name: self.rng.integers(0, 256, (24, 32, 3), dtype=np.uint8) for name in CAMERAS}
        self.seen.append({"state": self.joints.copy()} | pictures)
        return dict(zip(JOINTS, self.joints.tolist(), strict=True)) | pictures

    def send_action(self, action: dict[str, Any]) -> dict[str, Any]:
        told = np.array([action[name] for name in JOINTS], np.float32)
        self.told.append(told)
        self.joints = np.r_[self.joints[:3] + told[:3], told[3]].astype(np.float32)
        return action

    def disconnect(self) -> None:
        self.connected = False
        columns = {name: np.stack([one[name] for one in self.seen]) for name in self.seen[0]}
        np.savez(self.journal, told=np.array(self.told), **columns)
