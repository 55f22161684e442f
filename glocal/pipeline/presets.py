"""Presets: configurations as plain values."""

from dataclasses import replace
from typing import Any

from glocal.core.improve import ImproveConfig
from glocal.core.matching import MatchingConfig
from glocal.evaluate.gates import GateConfig
from glocal.models.codecs.compact import CompactCodecConfig
from glocal.models.codecs.egocentric import EgocentricCodecConfig
from glocal.models.codecs.grid import GridCodecConfig
from glocal.models.codecs.points import PointsCodecConfig
from glocal.models.codecs.tokenizer import TokenizerConfig
from glocal.models.surrogates.rssm import RSSMConfig
from glocal.models.worlds.cameras import CamerasWorldConfig
from glocal.models.worlds.ensemble import EnsembleConfig
from glocal.models.worlds.memory import MemoryConfig
from glocal.models.worlds.motion import MotionConfig
from glocal.models.worlds.pixels import PixelConfig
from glocal.models.worlds.shortcut import ShortcutConfig
from glocal.models.worlds.vectors import VectorWorldConfig
from glocal.pipeline.config import Config, EnvConfig, RobotConfig
from glocal.runtime.trainer import FitConfig
from glocal.tasks.pusht import PushTConfig

PATCHES = PixelConfig(
    context=2,
    size=1,
    patch=4,
    diffuse="change",
    sampling_steps=2,
    sigma_min=0.2,
    sigma_data=0.2,
    sigma_offset=0.0,
    sigma_mean=-0.9,
    sigma_std=1.5,
    context_noise=0.02,
    answers=1,
    worst=1 / 16,
    reward_steps=8,
)
"""Diffusion of pictures that a CPU can afford: of how they change, in patches."""


def _pusht_keypoints() -> Config:
    return Config(
        preset="pusht-keypoints",
        world_fit=FitConfig(updates=6000, batch=512),
        surrogate_fit=FitConfig(updates=2500, batch=64, average=0.99),
        cloning_fit=FitConfig(updates=3000, batch=512, average=0.99),
    )


def _pusht_keypoints_long() -> Config:
    short = _pusht_keypoints()
    return replace(
        short,
        preset="pusht-keypoints-long",
        world_fit=replace(short.world_fit, updates=12_000),
        learn=replace(short.learn, iterations=1250),
        watch=replace(short.watch, every=125),
    )


def _pusht_keypoints_rssm() -> Config:
    return replace(
        _pusht_keypoints(),
        preset="pusht-keypoints-rssm",
        surrogate=RSSMConfig(),
        surrogate_fit=FitConfig(updates=4000, batch=32, average=0.99),
        surrogate_length=20,
    )


def _pusht() -> Config:
    long = _pusht_keypoints_long()
    return replace(
        long,
        preset="pusht",
        task=PushTConfig(images=True),
        codec_fit=FitConfig(updates=2000, batch=32, lr=2e-3, average=0.99),
        probe_fit=FitConfig(updates=4000, batch=512),
    )


def _pusht_images() -> Config:
    return replace(_pusht(), preset="pusht-images", task=PushTConfig(images=True, agent=False))


def _pusht_grid() -> Config:
    images = _pusht()
    return replace(
        images,
        preset="pusht-grid",
        codec=GridCodecConfig(),
        codec_fit=FitConfig(updates=12_000, batch=64, lr=1e-3, average=0.999),
        world=CamerasWorldConfig(),
        world_fit=FitConfig(updates=40_000, batch=64),
        surrogate=RSSMConfig(),
        surrogate_fit=FitConfig(updates=6000, batch=32, average=0.99),
        surrogate_length=20,
        gates=GateConfig(codec=(8.0, 6.0, 0.1)),
        probe_fit=FitConfig(updates=4000, batch=128),
    )


def _pusht_motion() -> Config:
    grid = _pusht_grid()
    return replace(
        grid,
        preset="pusht-motion",
        task=PushTConfig(images=True, agent=False),
        world=MotionConfig(),
        world_fit=FitConfig(updates=40_000, batch=64, average=0.999),
    )


def _pusht_pixels() -> Config:
    return replace(_pusht_motion(), preset="pusht-pixels", world=PATCHES)


def _pusht_points() -> Config:
    images = _pusht_images()
    return replace(
        images,
        preset="pusht-points",
        codec=PointsCodecConfig(),
        codec_fit=FitConfig(updates=5000, batch=32, lr=2e-3, average=0.999),
        world=VectorWorldConfig(scales=4),
        world_fit=FitConfig(updates=20_000, batch=256),
        surrogate_fit=FitConfig(updates=6000, batch=64, average=0.99),
        gates=GateConfig(codec=(8.0, 6.0, 0.1)),
    )


def _robot() -> Config:
    keypoints = _pusht_keypoints()
    return replace(
        keypoints,
        preset="robot",
        task=RobotConfig(),
        world_fit=FitConfig(updates=20_000, batch=256),
        learn=replace(keypoints.learn, iterations=500, gamma=0.95),
        matching=MatchingConfig(),
    )


def _robot_ensemble() -> Config:
    robot, world = _robot(), EnsembleConfig(forecast=16)
    learn = replace(robot.learn, warm_up=world.context)
    fit = replace(robot.world_fit, updates=8000, batch=64)  # a window costs twenty times what one of diffusion does
    return replace(robot, preset="robot-ensemble", world=world, world_fit=fit, learn=learn)


def _robot_images() -> Config:
    robot = _robot()
    return replace(
        robot,
        preset="robot-images",
        task=RobotConfig(images=True),
        codec=GridCodecConfig(),
        codec_fit=FitConfig(updates=6000, batch=64, lr=1e-3, average=0.999),
        world=CamerasWorldConfig(),
        world_fit=FitConfig(updates=20_000, batch=64),
        surrogate=RSSMConfig(),
        surrogate_fit=FitConfig(updates=6000, batch=32, average=0.99),
        surrogate_length=20,
    )


def _robot_points() -> Config:
    robot, images = _robot(), _robot_images()
    return replace(
        robot,
        preset="robot-points",
        task=images.task,
        codec=PointsCodecConfig(),
        codec_fit=_pusht_points().codec_fit,
        world=VectorWorldConfig(scales=4),
    )


def _robot_motion() -> Config:
    world = MotionConfig(motion="affine")
    return replace(_robot_images(), preset="robot-motion", world=world, world_fit=_pusht_motion().world_fit)


def _robot_pixels() -> Config:
    return replace(_robot_motion(), preset="robot-pixels", world=PATCHES)


def _memory(config: Config, name: str) -> Config:
    """A narrow code of each picture, and a world that remembers, in place of a preset's codec and global model."""
    world = MemoryConfig()
    return replace(
        config,
        preset=name,
        codec=CompactCodecConfig(),
        codec_fit=FitConfig(updates=8000, batch=64, lr=1e-3, average=0.999),
        world=world,
        world_fit=FitConfig(updates=6000, batch=64),
        learn=replace(config.learn, warm_up=world.context),
    )


def _robot_ego() -> Config:
    """An eye of its own: where things are around the robot, and the global model of numbers."""
    robot = _robot()
    return replace(
        robot,
        preset="robot-ego",
        task=RobotConfig(images=True),
        codec=EgocentricCodecConfig(),
        codec_fit=FitConfig(updates=3000, batch=128, lr=2e-3, average=0.99),
    )


def _dreamer(config: Config, name: str) -> Config:
    """Dreamer 4's tokenizer and dynamics in place of a preset's codec and global model."""
    world = ShortcutConfig()
    return replace(
        config,
        preset=name,
        codec=TokenizerConfig(),
        world=world,
        world_fit=FitConfig(updates=20_000, batch=16),
        learn=replace(config.learn, warm_up=world.context),
    )


def debug(config: Config) -> Config:
    """The same run with every axis shrunk, to be through in seconds; for tests."""
    tiny = FitConfig(updates=20, batch=16, warm_up=5, average=0.9)
    wide, learn = 16, config.learn
    assert isinstance(learn, ImproveConfig)
    fits = dict.fromkeys(("codec_fit", "world_fit", "surrogate_fit", "cloning_fit", "probe_fit"), tiny)
    surrogate: Any = (
        replace(config.surrogate, recurrent=wide, stochastic=4, width=wide)
        if isinstance(config.surrogate, RSSMConfig)
        else replace(config.surrogate, width=wide, blocks=1)
    )
    return replace(
        config,
        preset=f"{config.preset}-debug",
        threads=1,
        processes=1,
        task=replace(config.task, control_steps=10 if isinstance(config.task, RobotConfig) else 30),
        play=replace(config.play, control_steps=600),
        codec=_tiny(config.codec),
        world=_small(config.world),
        surrogate=surrogate,
        agent=replace(config.agent, width=wide),
        warm_start=min(20, config.warm_start),
        learn=replace(
            learn,
            warm_up=min(4, learn.warm_up) if isinstance(config.world, ShortcutConfig | MemoryConfig) else learn.warm_up,
            iterations=12,
            critics_first=min(2, learn.critics_first),
            envs=8,
            horizon=4,
            episode=8,
            replay=64,
            refresh_size=4,
        ),
        watch=replace(config.watch, every=6, episodes=2, imagined=4),
        evaluate=replace(config.evaluate, episodes=4, filmed=2),
        icem=replace(config.icem, samples=4, iterations=2, horizon=3, elites=2),
        mppi=replace(config.mppi, samples=4, iterations=2, horizon=3),
        probe=replace(config.probe, width=8, channels=8),
        clock=replace(config.clock, checkpoint_seconds=1.0, log_every=2),
        **fits,
    )


def _tiny(codec: Any) -> Any:
    if isinstance(codec, GridCodecConfig):
        return replace(codec, channels=2, width=8, blocks=1)
    if isinstance(codec, PointsCodecConfig):
        return replace(codec, points=4, side=16, width=8, landmark_updates=10)
    if isinstance(codec, CompactCodecConfig):
        return replace(codec, numbers=8, width=8)
    if isinstance(codec, EgocentricCodecConfig):
        return replace(codec, colours=4, width=8, rows=4, led=10)
    if isinstance(codec, TokenizerConfig):
        return replace(codec, tokens=4, channels=2, size=0)
    return replace(codec, points=4, width=8)


def _small(world: Any) -> Any:
    if isinstance(world, ShortcutConfig):
        return replace(world, size=0, context=4, back=6, window=6)
    if isinstance(world, MemoryConfig):
        return replace(world, size=0, context=4, window=6)
    return replace(world, size=0)


def _on_task(name: str, env: EnvConfig, control_steps: int, episode: int) -> Config:
    """A robot that an environment stands for; its logs are recorded by a script in runs/."""
    robot = _robot()
    task, learn = replace(robot.task, control_steps=control_steps), replace(robot.learn, episode=episode)
    return replace(robot, preset=name, task=task, env=env, learn=learn)


def _fetch(name: str, task: str) -> Config:
    return _on_task(name, EnvConfig(f"Fetch{task}-v4"), control_steps=25, episode=25)


def _metaworld(task: str) -> Config:
    options = (f"env_name={task}-v3", "seed=0", "num_goals=200")
    env = EnvConfig("Meta-World/MT1", success="success", senses=("observation.state=",), options=options)
    return _of_demonstrations(_on_task(f"metaworld-{task}", env, control_steps=50, episode=50))


def _of_demonstrations(config: Config) -> Config:
    """Where demonstrations are among the logs: begun from cloning of the best episodes, and held near that."""
    learn = replace(config.learn, iterations=150, imitation=1.0, critics_first=30)
    return replace(config, warm_start=3000, cloning=replace(config.cloning, best=0.3), learn=learn)


TASKS = (
    _fetch("fetch-push", "Push"),
    _fetch("fetch-pick-and-place", "PickAndPlace"),
    _metaworld("push"),
    _metaworld("drawer-open"),
    _metaworld("pick-place"),
    _on_task("push-cube", EnvConfig("glocal/PushCube-v0"), control_steps=300, episode=48),
    _on_task("grasp-lift", EnvConfig("glocal/GraspLift-v0"), control_steps=100, episode=32),
)
"""The preset `robot` on tasks that environments stand for."""
_ALL = (
    _pusht_keypoints(),
    _pusht_keypoints_long(),
    _pusht_keypoints_rssm(),
    _pusht(),
    _pusht_images(),
    _pusht_grid(),
    _pusht_points(),
    _pusht_motion(),
    _pusht_pixels(),
    _memory(_pusht_motion(), "pusht-memory"),
    _dreamer(_pusht_motion(), "pusht-dreamer"),
    _robot(),
    _robot_ensemble(),
    _robot_images(),
    _robot_points(),
    _robot_motion(),
    _robot_pixels(),
    _memory(_robot_images(), "robot-memory"),
    _robot_ego(),
    _dreamer(_robot_images(), "robot-dreamer"),
    *TASKS,
)
PRESETS: dict[str, Config] = {config.preset: config for config in (*_ALL, *map(debug, _ALL))}
