"""An exported policy as a LeRobot policy."""

import shutil
from pathlib import Path
from typing import Any

from lerobot.configs import PreTrainedConfig
from lerobot.policies.pretrained import PreTrainedPolicy
from torch import Tensor

from .bridge import Bridge
from .configuration_glocal import TRAINED, GlocalConfig


class GlocalPolicy(PreTrainedPolicy):
    """Acts as the runner in its bundle does. It runs on the CPU and has no parameters."""

    config_class = GlocalConfig
    name = "glocal"

    def __init__(self, config: GlocalConfig, folder: str | Path | None = None, **_: Any):
        super().__init__(config)
        if folder is None and config.pretrained_path is None:
            raise ValueError(f"{TRAINED}; name a bundle with --policy.path")
        self.bridge = Bridge(folder or config.pretrained_path, config.fps, config.careful)

    @classmethod
    def from_pretrained(
        cls, pretrained_name_or_path: str | Path, *, config: PreTrainedConfig | None = None, **_: Any
    ) -> "GlocalPolicy":
        folder = Path(pretrained_name_or_path)
        if not folder.is_dir():
            raise FileNotFoundError(
                f"{folder} is no folder. A bundle holds code that is run, so that none is downloaded here: "
                "get it, read its runner.py, and name the folder"
            )
        return cls(config or PreTrainedConfig.from_pretrained(folder), folder).eval()

    def _save_pretrained(self, save_directory: Path, state_dict: dict[str, Tensor] | None = None) -> None:
        shutil.copytree(self.bridge.folder, save_directory, dirs_exist_ok=True)
        self.config._save_pretrained(save_directory)

    def reset(self) -> None:
        self.bridge.reset()

    def select_action(self, batch: dict[str, Tensor], **_: Any) -> Tensor:
        """The action of this call, (b, a), in the robot's units."""
        return self.bridge.step(batch)

    def predict_action_chunk(self, batch: dict[str, Tensor], **_: Any) -> Tensor:
        """The actions of a control step, (b, hold, a). To be called once per control step: the policy remembers."""
        return self.bridge.chunk(batch)

    def forward(self, batch: dict[str, Tensor]) -> tuple[Tensor, dict | None]:
        raise NotImplementedError(TRAINED)

    def get_optim_params(self) -> dict:
        raise NotImplementedError(TRAINED)
