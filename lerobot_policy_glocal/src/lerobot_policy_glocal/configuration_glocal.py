"""LeRobot's configuration of an exported policy."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lerobot.configs import FeatureType, NormalizationMode, PolicyFeature, PreTrainedConfig

from .bridge import Bridge, features

TRAINED = "glocal trains its policies itself; LeRobot only runs what `glocal export` wrote"


@PreTrainedConfig.register_subclass("glocal")
@dataclass
class GlocalConfig(PreTrainedConfig):
    """How an exported policy is run.

    `fps` is the number of calls per second; it has to be that of LeRobot's loop, and is None for the rate of the logs.
    """

    device: str | None = "cpu"
    push_to_hub: bool = False
    fps: float | None = None
    careful: bool = True
    """No action changes faster than recorded ones did."""
    normalization_mapping: dict[str, NormalizationMode] = field(
        default_factory=lambda: {kind.value: NormalizationMode.IDENTITY for kind in FeatureType}
    )

    def validate_features(self) -> None:
        if not self.action_feature:
            raise ValueError("the configuration has no feature `action`; write it with python -m lerobot_policy_glocal")

    def get_optimizer_preset(self) -> Any:
        raise NotImplementedError(TRAINED)

    def get_scheduler_preset(self) -> Any:
        raise NotImplementedError(TRAINED)

    @property
    def observation_delta_indices(self) -> None:
        return None

    @property
    def action_delta_indices(self) -> None:
        return None

    @property
    def reward_delta_indices(self) -> None:
        return None


def configuration_of(bundle: Path) -> GlocalConfig:
    """The configuration that a bundle asks for."""
    bridge = Bridge(bundle)
    inputs = {name: PolicyFeature(FeatureType[kind], shape) for name, (kind, shape) in features(bridge.needs).items()}
    outputs = {"action": PolicyFeature(FeatureType.ACTION, (bridge.width,))}
    return GlocalConfig(input_features=inputs, output_features=outputs, fps=bridge.fps)
