"""What a person chooses: one frozen `Config`."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import Annotated, Any, Literal

import cattrs
import tyro
from cattrs.strategies import configure_tagged_union

from glocal.core.improve import ImproveConfig
from glocal.core.matching import MatchingConfig
from glocal.core.ranges import Inner, Many, Part, Processes, Range, Seed, Small
from glocal.data.streams import RobotMapping
from glocal.deploy.planning import ICEMConfig, MPPIConfig
from glocal.evaluate.gates import GateConfig
from glocal.evaluate.probe import ProbeConfig
from glocal.models.codecs.cameras import PictureCodecConfig
from glocal.models.codecs.egocentric import EgocentricCodecConfig
from glocal.models.codecs.keypoints import KeypointCodecConfig
from glocal.models.policies.actor import ActorConfig
from glocal.models.policies.cloning import CloningConfig
from glocal.models.policies.ppo import PPOConfig
from glocal.models.surrogates.mlp import MLPSurrogateConfig
from glocal.models.surrogates.rssm import RSSMConfig
from glocal.models.worlds.cameras import CamerasWorldConfig
from glocal.models.worlds.ensemble import EnsembleConfig
from glocal.models.worlds.memory import MemoryConfig
from glocal.models.worlds.motion import MotionConfig
from glocal.models.worlds.pixels import PixelConfig
from glocal.models.worlds.shortcut import ShortcutConfig
from glocal.models.worlds.vectors import VectorWorldConfig
from glocal.runtime.declarations import whole
from glocal.runtime.files import UserError
from glocal.runtime.progress import quoted
from glocal.runtime.trainer import Clock, FitConfig
from glocal.tasks.play import PlayConfig
from glocal.tasks.pusht import PushTConfig

CodecConfig = KeypointCodecConfig | PictureCodecConfig | EgocentricCodecConfig
PictureWorldConfig = MotionConfig | PixelConfig
"""Of worlds that draw pictures."""
WorldConfig = (
    VectorWorldConfig | MemoryConfig | EnsembleConfig | CamerasWorldConfig | ShortcutConfig | PictureWorldConfig
)


@dataclass(frozen=True)
class EvaluateConfig:
    """How the real environment is asked; its seeds overlap with nothing else's."""

    episodes: Annotated[int, Range(1, 100_000)] = 100
    first_seed: Seed = 1_000_000
    """Initial states are those that the environment draws from this seed and the following ones."""
    filmed: Annotated[int, Range(0, 1000)] = 16
    """Episodes shown in the video."""
    planned: Annotated[int, Range(0, 100_000)] = 0
    """Episodes, of the same, in which iCEM plans in the global model at every control step; 0 for none."""


@dataclass(frozen=True)
class WatchConfig:
    """Looks while the policy is trained, at the real environment and at the imagined ones: for the report, and unless
    asked for, nothing else."""

    every: Many = 60
    """Policy iterations between looks; 0 for none."""
    episodes: Annotated[int, Range(1, 100_000)] = 20
    """In the real environment."""
    first_seed: Seed = 2_000_000
    """Other initial states than the final evaluation's."""
    keep: Literal["last", "best", "trusted"] = "last"
    """What is deployed: the last policy; the one that did best in these looks, by what its task counts first; or the
    last one before the judge's alarm, which asks the real environment nothing."""
    imagined: Annotated[int, Range(0, 100_000)] = 64
    """Imagined episodes in a look, from which it is told whether imagination can still be trusted; 0 for none."""


@dataclass(frozen=True)
class RobotConfig:
    """Any robot, as its logs show it."""

    mapping: tyro.conf.Fixed[RobotMapping] = field(default_factory=RobotMapping)
    """What is sensed and told, from the file beside the logs, or as it is proposed; a preset has none yet."""
    control_steps: Annotated[int, Range(2, 10_000)] = 100
    """Control steps in an episode."""
    images: bool = False
    """Observe what the logs' cameras show, beside the numbers; without, numbers alone."""


@dataclass(frozen=True)
class EnvConfig:
    """A Gymnasium environment that stands for a robot which is known by its logs; without one, policies are judged
    offline alone."""

    id: str = ""
    options: tuple[str, ...] = ()
    """KEY=VALUE, of what it is made with; values are read as JSON where they are JSON, and are words otherwise."""
    success: str = "is_success"
    """Key of its info that says success."""
    senses: tuple[str, ...] = ()
    """FEATURE=ENTRY, where an entry of its observation is not called as the logs' feature is, less `observation.`;
    FEATURE= alone for the whole observation, FEATURE=ENTRY[0:3,9] for some of its numbers, as Python counts, and
    FEATURE=render() for the picture that its `render` makes."""

    @property
    def arguments(self) -> dict[str, Any]:
        """The keyword arguments that it is made with."""
        return {name: _read(value) for name, value in (one.split("=", 1) for one in self.options)}


def _read(value: str) -> Any:
    try:
        return json.loads(value)
    except ValueError:
        return value


@dataclass(frozen=True)
class Config:
    """A run: all that it depends on besides the code."""

    preset: str = "pusht-keypoints"
    seed: Seed = 0
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Where models are trained; auto is a GPU where there is one. Which one it was is part of no result's identity."""
    threads: Processes = 2
    """Of torch. Use 1 where anything else is running: two busy processes of two threads each collapse."""
    processes: Processes = 2
    """That record at once."""
    held_out: Inner = 0.1
    """Share of the recorded episodes, the last ones, that no model is trained on."""
    judge: Part = 0.0
    """Share of the recorded episodes that nothing but the judge is trained on: a second global model, which says what
    an imagined return is worth to one that the policy was not trained in. 0 for none."""
    logs: str = ""
    """Path of a dataset in any known format that models are trained on; without one, play on Push-T is recorded, and
    presets of robots need one."""
    after: tyro.conf.Fixed[str] = ""
    """Folder of the run that this one goes on from, with new logs: `glocal run --after`."""
    task: PushTConfig | RobotConfig = field(default_factory=PushTConfig)
    env: EnvConfig = field(default_factory=EnvConfig)
    play: PlayConfig = field(default_factory=PlayConfig)
    codec: CodecConfig = field(default_factory=KeypointCodecConfig)
    codec_fit: FitConfig = field(default_factory=FitConfig)
    world: WorldConfig = field(default_factory=VectorWorldConfig)
    world_fit: FitConfig = field(default_factory=FitConfig)
    surrogate: MLPSurrogateConfig | RSSMConfig = field(default_factory=MLPSurrogateConfig)
    surrogate_fit: FitConfig = field(default_factory=FitConfig)
    surrogate_length: Small = 10
    """Steps in the recorded windows that the local model is pretrained on."""
    matching: MatchingConfig = field(default_factory=MatchingConfig)
    agent: ActorConfig = field(default_factory=ActorConfig)
    learn: ImproveConfig | PPOConfig = field(default_factory=ImproveConfig)
    policy_seed: Seed = 0
    """Of policies alone: with another one, other policies are trained between the same models."""
    warm_start: Many = 0
    """Updates of behaviour cloning, in batches of 512, that the policy begins with."""
    cloning: CloningConfig = field(default_factory=CloningConfig)
    cloning_fit: FitConfig = field(default_factory=FitConfig)
    gates: GateConfig = field(default_factory=GateConfig)
    probe: ProbeConfig = field(default_factory=ProbeConfig)
    probe_fit: FitConfig = field(default_factory=FitConfig)
    watch: WatchConfig = field(default_factory=WatchConfig)
    evaluate: EvaluateConfig = field(default_factory=EvaluateConfig)
    icem: ICEMConfig = field(default_factory=ICEMConfig)
    mppi: MPPIConfig = field(default_factory=MPPIConfig)
    clock: Clock = field(default_factory=Clock)

    @property
    def reward_scale(self) -> float:
        """What recorded rewards were divided by, for models."""
        return self.task.mapping.reward_scale if isinstance(self.task, RobotConfig) else 1.0


@cache
def _converter() -> cattrs.Converter:
    converter = cattrs.Converter(forbid_extra_keys=True)
    configure_tagged_union(PushTConfig | RobotConfig, converter)
    configure_tagged_union(CodecConfig, converter)
    configure_tagged_union(WorldConfig, converter)
    configure_tagged_union(MLPSurrogateConfig | RSSMConfig, converter)
    configure_tagged_union(ImproveConfig | PPOConfig, converter)
    return converter


def to_dict(config: Config) -> dict[str, Any]:
    """The configuration as plain values, for JSON."""
    return _converter().unstructure(whole(config))


def from_dict(values: Mapping[str, Any], source: object) -> Config:
    """The configuration that `to_dict` wrote; raises `UserError` naming `source` where it does not fit."""
    try:
        return _converter().structure(dict(values), Config)
    except Exception as error:
        reasons = "; ".join(cattrs.transform_error(error)) if isinstance(error, Exception) else str(error)
        raise UserError(
            f"{source} is not a configuration of this version: {reasons}; go on with the version that made it, or "
            "name another folder"
        ) from error


def rooted(config: Config) -> Config:
    """With the whole paths of its logs and of the run before it, where they are: a run goes on from any folder that a
    person works in."""
    paths = {name: Path(path) for name in ("logs", "after") if (path := getattr(config, name))}
    return replace(config, **{name: str(path.absolute()) for name, path in paths.items() if path.exists()})


def flat(values: Mapping[str, Any], above: str = "") -> Iterator[tuple[str, Any]]:
    """What `to_dict` makes, by dotted names."""
    for name, value in values.items():
        if isinstance(value, dict):
            yield from flat(value, f"{above}{name}.")
        else:
            yield f"{above}{name}", value


def typed(name: str, value: Any = None) -> str:
    """An option as it is typed, with its value where one is given; flags stand by themselves."""
    *above, last = name.replace("_", "-").split(".")
    if isinstance(value, bool):
        return "--" + ".".join([*above, last if value else f"no-{last}"])
    values = [] if value is None else value if isinstance(value, list | tuple) else [value]
    return " ".join(["--" + ".".join([*above, last]), *map(quoted, values)])
