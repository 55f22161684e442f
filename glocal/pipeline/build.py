"""From a configuration to models, and from checkpoints to models with their weights."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from glocal.core.features import FeaturesConfig, StandardConfig
from glocal.core.improve import Policy
from glocal.core.spec import Part, Spec
from glocal.core.types import Codec
from glocal.models.arrangements import ArrangementConfig
from glocal.models.carried import Carried, CarriedConfig
from glocal.models.codecs.cameras import CamerasCodec, PictureCodecConfig, observed_spec
from glocal.models.codecs.compact import CompactCodecConfig
from glocal.models.codecs.egocentric import EgocentricCodec, EgocentricCodecConfig, egocentric_spec
from glocal.models.codecs.grid import GridCodecConfig
from glocal.models.codecs.identity import IdentityCodec
from glocal.models.codecs.keypoints import KeypointCodec
from glocal.models.codecs.points import PointsCodecConfig
from glocal.models.codecs.standard import StandardCodec
from glocal.models.codecs.tokenizer import TokenizerConfig
from glocal.models.policies.actor import Actor, TwinCritics
from glocal.models.policies.cloning import ChunkActor
from glocal.models.policies.ppo import NETWORKS, PPOConfig
from glocal.models.rigid2d.scene import SceneConfig, scene_spec
from glocal.models.surrogates.mlp import MLPSurrogate
from glocal.models.surrogates.rssm import RSSM, RSSMConfig
from glocal.models.worlds.cameras import CamerasWorld, CamerasWorldConfig
from glocal.models.worlds.diffusion import DiffusionWorld
from glocal.models.worlds.ensemble import EnsembleConfig, EnsembleWorld
from glocal.models.worlds.hindsight import HindsightWorld
from glocal.models.worlds.memory import MemoryConfig, MemoryWorld
from glocal.models.worlds.motion import MotionConfig, MotionWorld
from glocal.models.worlds.pictures import PictureWorld
from glocal.models.worlds.pixels import PixelConfig, PixelWorld
from glocal.models.worlds.shortcut import ShortcutConfig, ShortcutWorld
from glocal.models.worlds.vectors import VectorWorld, VectorWorldConfig
from glocal.pipeline.config import Config, PictureWorldConfig, RobotConfig, WorldConfig
from glocal.runtime import checkpoints
from glocal.runtime.checkpoints import Checkpoint
from glocal.runtime.files import UserError
from glocal.tasks.pusht import IMAGE_SIZE, KEYPOINTS, TABLE, PushTConfig

GlobalModel = DiffusionWorld | MemoryWorld | EnsembleWorld | PictureWorld | ShortcutWorld | HindsightWorld


def build_spec(config: Config) -> Spec:
    """What the models see: a robot's streams, the T's own keypoints, or what the codec makes of images."""
    task, cfg = config.task, config.codec
    if isinstance(task, PushTConfig) and not task.images:
        return scene_spec(KEYPOINTS)
    actions = task.mapping.action_dim if isinstance(task, RobotConfig) else 2
    if isinstance(cfg, EgocentricCodecConfig):
        return egocentric_spec(cfg, _streams(task), _cameras(task), actions)
    if isinstance(task, PushTConfig) and not isinstance(cfg, PictureCodecConfig):
        return Spec(cfg.parts, 2)
    if isinstance(cfg, PictureCodecConfig):
        return observed_spec(cfg, _streams(task), _cameras(task), actions)
    return Spec(_streams(task), actions)


def _streams(task: PushTConfig | RobotConfig) -> tuple[Part, ...]:
    """The numbers beside the pictures of cameras."""
    if isinstance(task, RobotConfig):
        return tuple(Part(stream.name, (len(stream.columns),)) for stream in task.mapping.streams)
    return (Part("agent", (2,)),) if task.agent else ()


def _cameras(task: PushTConfig | RobotConfig) -> dict[str, int]:
    """The sides of the pictures that each camera shows."""
    if isinstance(task, RobotConfig):
        return {camera.name: camera.size for camera in task.mapping.cameras}
    return {"image": IMAGE_SIZE}


def build_features(config: Config) -> FeaturesConfig:
    """How models look at what they see: as plain numbers, as points, or as a rigid body and an agent in a plane."""
    seen = isinstance(config.codec, PictureCodecConfig) and config.task.images and bool(_cameras(config.task))
    if seen and isinstance(config.codec, PointsCodecConfig):
        return ArrangementConfig()
    if (
        isinstance(config.codec, EgocentricCodecConfig)
        and isinstance(config.task, RobotConfig)
        and _cameras(config.task)
    ):
        return CarriedConfig(sum(part.size for part in _streams(config.task)))
    return StandardConfig() if seen or isinstance(config.task, RobotConfig) else build_scene(config.task)


def carry_along(model: Any, codec: Codec, so: bool = False) -> None:
    """Let a model's features, if they tell of places around a robot, carry them along as the codec does; in a model of
    what was `so` the codec tells what is in sight."""
    if isinstance(features := getattr(model, "features", None), Carried) and isinstance(codec, EgocentricCodec):
        features.motion = codec.around.leading.clone()
        features.in_sight = codec.in_sight if so else None


def build_scene(task: PushTConfig) -> SceneConfig:
    """What is known of Push-T's scene."""
    return SceneConfig(rigid=True, reach=2 * task.reach / TABLE)


def build_codec(config: Config) -> Codec:
    """Between what is recorded and what models see."""
    task, cfg = config.task, config.codec
    if isinstance(task, RobotConfig) and not task.mapping.cameras:
        return StandardCodec(_streams(task))
    if isinstance(task, PushTConfig) and not task.images:
        return IdentityCodec(TABLE)
    if isinstance(cfg, PictureCodecConfig):
        return CamerasCodec(cfg, _streams(task), _cameras(task))
    if isinstance(cfg, EgocentricCodecConfig):
        return EgocentricCodec(cfg, _streams(task), _cameras(task))
    if isinstance(task, RobotConfig):
        raise UserError("a robot's cameras are seen as latent grids; use the preset robot-images")
    return KeypointCodec(cfg, TABLE, IMAGE_SIZE, task.agent)


def build_world(config: Config, codec: Codec) -> GlobalModel:
    """An untrained global model; where it draws pictures, `codec` makes observations of them, and where a robot knows
    less than its recordings tell afterwards, it is a model of the latter with the robot in it."""
    world = _world(config, codec)
    if not isinstance(config.codec, EgocentricCodecConfig):
        return world
    carry_along(world, codec, so=True)
    return HindsightWorld(world, codec.follow, codec.hindsight)


def _world(config: Config, codec: Codec) -> GlobalModel:
    """The same, of all that is observed."""
    cfg, spec = config.world, build_spec(config)
    _check_parts(_sees(cfg, spec, codec), "world", spec)
    if isinstance(cfg, CamerasWorldConfig):
        return CamerasWorld(cfg, spec)
    if isinstance(cfg, MotionConfig | PixelConfig):
        assert isinstance(codec, CamerasCodec), "what makes grids of pictures"
        return MotionWorld(cfg, spec, codec) if isinstance(cfg, MotionConfig) else PixelWorld(cfg, spec, codec)
    if isinstance(cfg, ShortcutConfig):
        return ShortcutWorld(cfg, spec)
    if isinstance(cfg, EnsembleConfig):
        return EnsembleWorld(cfg, spec, build_features(config))
    if isinstance(cfg, MemoryConfig):
        return MemoryWorld(cfg, spec, build_features(config))
    return VectorWorld(cfg, spec, build_features(config))


def _sees(cfg: WorldConfig, spec: Spec, codec: Codec) -> bool:
    """Whether a world takes the observations that a codec makes."""
    if isinstance(cfg, ShortcutConfig):
        return True
    if not isinstance(codec, CamerasCodec):
        return not isinstance(cfg, CamerasWorldConfig | PictureWorldConfig)
    if isinstance(cfg, VectorWorldConfig | MemoryConfig | EnsembleConfig):
        return isinstance(codec.cfg, PointsCodecConfig | CompactCodecConfig)
    return isinstance(cfg, PictureWorldConfig) or (isinstance(cfg, CamerasWorldConfig) and _is_grid(spec))


def build_surrogate(config: Config) -> MLPSurrogate | RSSM:
    cfg, spec = config.surrogate, build_spec(config)
    pictures = isinstance(config.codec, GridCodecConfig | TokenizerConfig)
    _check_parts(isinstance(cfg, RSSMConfig) or not pictures, "surrogate", spec)
    return RSSM(cfg, spec) if isinstance(cfg, RSSMConfig) else MLPSurrogate(cfg, spec, build_features(config))


def _is_grid(spec: Spec) -> bool:
    return any(len(part.shape) == 3 for part in spec.parts)


def _check_parts(fits: bool, model: str, spec: Spec) -> None:
    if not fits:
        found = ", ".join(part.name for part in spec.parts)
        raise UserError(f"this {model} does not take what the codec makes ({found}); see how presets pair them")


def build_critics(config: Config, surrogate: MLPSurrogate | RSSM) -> TwinCritics:
    return TwinCritics(config.agent, surrogate.feat_dim)


def device_of(config: Config) -> torch.device:
    """Where models are trained; raises `UserError` where a GPU is asked for and there is none."""
    if config.device == "cuda" and not torch.cuda.is_available():
        raise UserError("--device cuda was asked for, but torch finds no GPU here; use --device cpu or auto")
    wanted = ("cuda" if torch.cuda.is_available() else "cpu") if config.device == "auto" else config.device
    return torch.device(wanted)


def compiled(function: Any, device: torch.device) -> Any:
    """The function as one compiled program on a GPU; on CPUs it stays as it is, where compiling gained nothing."""
    return torch.compile(function, dynamic=False) if device.type == "cuda" else function


def load_trained(module: Any, folder: Path, kind: str, check: Callable[[Checkpoint], None] | None = None) -> Any:
    """The module with its stage's weights, frozen; raises `UserError` where the stage has not finished.

    `check` may refuse the checkpoint before its weights are used.
    """
    checkpoint = checkpoints.load(folder, kind)
    if checkpoint is None:
        raise UserError(f"there is no trained {kind} model in {folder}; run `glocal train {kind}` first")
    if check is not None:
        check(checkpoint)
    checkpoints.restore(module, checkpoint)
    return module.requires_grad_(False).eval()


def build_policy(config: Config, surrogate: MLPSurrogate | RSSM, kind: str = "policy") -> Policy:
    """What the stage `kind` (policy or cloning) trains."""
    actions = build_spec(config).action_dim
    if kind == "policy" and isinstance(config.learn, PPOConfig):
        actor = NETWORKS[config.learn.networks].actor
        return Policy(surrogate, actor(config.learn, config.agent, surrogate.feat_dim, actions))
    if kind == "cloning" and config.cloning.chunk > 1:
        return Policy(surrogate, ChunkActor(config.agent, surrogate.feat_dim, actions, config.cloning.chunk))
    return Policy(surrogate, Actor(config.agent, surrogate.feat_dim, actions))
