"""Whether a configuration makes sense: each option's range, options that go together, and models that can be built.

Everything here is asked before any work is done, and answers in one sentence.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from inspect import signature
from itertools import chain
from typing import Any, get_type_hints

import torch

from glocal.core.ranges import outside
from glocal.data.streams import RobotMapping
from glocal.models.codecs.egocentric import EgocentricCodecConfig
from glocal.models.codecs.grid import GridCodecConfig
from glocal.models.codecs.tokenizer import TokenizerConfig, missing_perceptual
from glocal.models.policies.ppo import PPOConfig
from glocal.models.worlds.diffusion import DiffusionConfig
from glocal.models.worlds.memory import MemoryConfig
from glocal.models.worlds.shortcut import ShortcutConfig
from glocal.pipeline.build import build_codec, build_spec, build_surrogate, build_world, device_of
from glocal.pipeline.config import Config, PictureWorldConfig, RobotConfig, typed
from glocal.pipeline.run_dir import split_recorded
from glocal.runtime.files import UserError
from glocal.tasks.pusht import PushTConfig


def check(config: Config) -> None:
    """Raise `UserError` where an option is out of its range, parts do not go together, or the device is not there."""
    _refuse([f"--{_spelt(one)}" for one in outside(config, Config, "")])
    _refuse(list(_apart(config)))
    device_of(config)
    if isinstance(config.task, RobotConfig) and config.task.mapping == RobotMapping():
        return  # what models are made of is known once logs are named
    with torch.device("meta"):
        build_world(config, build_codec(config))
        build_surrogate(config)
    if not config.logs and isinstance(config.task, PushTConfig):
        split_recorded(config, max(1, round(config.play.control_steps / config.task.control_steps)))


def check_call(function: Callable[..., Any], *arguments: Any, **options: Any) -> None:
    """Raise `UserError` where an argument of a function is out of the range that its annotation names."""
    bound = signature(function).bind(*arguments, **options).arguments
    check_values(bound, get_type_hints(function, include_extras=True))


def check_values(values: Mapping[str, Any], hints: Mapping[str, Any]) -> None:
    """The same of options by name; those of a job, or that a verb takes together, are typed without that word."""
    told = (outside(value, hints.get(name), "" if name in ("job", "cfg") else name) for name, value in values.items())
    _refuse([f"--{_spelt(one)}" for one in chain.from_iterable(told)])


def _spelt(told: str) -> str:
    """A field's name as it is typed on the command line."""
    name, found = told.split(" ", 1)
    return f"{name.replace('_', '-')} {found}"


def _refuse(wrong: list[str]) -> None:
    if wrong:
        raise UserError("; ".join(wrong))


def _apart(config: Config) -> Iterator[str]:
    """What of a configuration's parts does not go together, in words."""
    yield from _watching(config)
    yield from _learning(config)
    yield from _matched(config)
    world, play, agent = config.world, config.play, config.agent
    if isinstance(world, DiffusionConfig) and world.sigma_min >= world.sigma_max:
        yield f"--world.sigma-min is {world.sigma_min}, expected less than --world.sigma-max, {world.sigma_max}"
    if play.goal_share + play.elsewhere_share > 1:
        yield (
            f"--play.goal-share is {play.goal_share} and --play.elsewhere-share {play.elsewhere_share}, "
            "expected at most 1 in all"
        )
    if agent.first_std <= agent.least_std:
        yield f"--agent.first-std is {agent.first_std}, expected more than --agent.least-std, {agent.least_std}"
    if config.env.id and isinstance(config.task, PushTConfig):
        yield f"--env is {config.env.id}, but Push-T is judged in its own; it is for presets of robots"
    if isinstance(config.task, RobotConfig) and not config.env.id:
        asked = {"evaluate.planned": config.evaluate.planned, "env.options": config.env.options}
        for name, value in (asked | {"env.senses": config.env.senses}).items():
            if value:
                yield f"{typed(name, value)} asks for an environment, and there is none; name one with --env ID"
    for one in config.env.senses:
        if "=" not in one:
            yield f"--env.senses is {one}, expected FEATURE=ENTRY"
    yield from _leading(config)
    if config.icem.elites > config.icem.samples:
        yield f"--icem.elites is {config.icem.elites}, expected at most --icem.samples, which is {config.icem.samples}"
    yield from _options(config.env.options)
    yield from _grouped(config)
    yield from _sharded(config)
    yield from _transforming(config)
    if config.surrogate_length < 2:
        yield f"--surrogate-length is {config.surrogate_length}, expected at least 2: what is seen, and what follows"
    if config.cloning.window < 2:
        yield f"--cloning.window is {config.cloning.window}, expected at least 2: all but the last step are seen"


def _leading(config: Config) -> Iterator[str]:
    """Nothing would ever lead what is around a robot."""
    if isinstance(config.codec, EgocentricCodecConfig) and config.codec.led >= config.codec_fit.updates:
        yield (
            f"--codec.led is {config.codec.led}, expected less than --codec-fit.updates, which is "
            f"{config.codec_fit.updates}: until then nothing leads; about half of it does"
        )


def _matched(config: Config) -> Iterator[str]:
    if isinstance(config.world, PictureWorldConfig) and config.matching.weight:
        yield (
            f"--matching.weight is {config.matching.weight:g}, but this world answers pictures, which are not kept "
            "of what is imagined; expected 0, or another world"
        )
    task = config.task
    if isinstance(task, PushTConfig) and config.matching.weight and "agent" not in build_spec(config).names:
        yield f"--matching.weight is {config.matching.weight:g}, but nothing tells where the agent is; expected 0"


def _options(options: Sequence[str]) -> Iterator[str]:
    """Each is a keyword argument, said once."""
    names = [one.split("=", 1)[0] for one in options]
    for name, one in zip(names, options, strict=True):
        if "=" not in one or not name.isidentifier():
            yield f"--env.options is {one}, expected KEY=VALUE"
    for name in dict.fromkeys(names):
        if names.count(name) > 1:
            yield f"--env.options says {name} {names.count(name)} times, expected once"


def _transforming(config: Config) -> Iterator[str]:
    """What does not go together in a world that remembers, or in what makes tokens for it."""
    world, codec = config.world, config.codec
    if isinstance(codec, TokenizerConfig) and codec.perceptual and (missing := missing_perceptual()):
        yield missing
    if isinstance(world, ShortcutConfig | MemoryConfig) and world.context > world.window:
        yield f"--world.context is {world.context}, expected at most --world.window, {world.window}: what was trained"
    if not isinstance(world, ShortcutConfig):
        return
    if world.back > world.window:
        yield f"--world.back is {world.back}, expected at most --world.window, {world.window}: what was trained"
    if world.sampling_steps > world.finest:
        yield f"--world.sampling-steps is {world.sampling_steps}, expected at most --world.finest, {world.finest}"
    if not world.bootstrap and world.sampling_steps < world.finest:
        yield (
            "--world.bootstrap is 0, which leaves longer strides than the finest untrained; expected more, or "
            f"--world.sampling-steps {world.finest}"
        )


def _sharded(config: Config) -> Iterator[str]:
    for name in ("codec_fit", "world_fit", "surrogate_fit", "cloning_fit", "probe_fit"):
        fit = getattr(config, name)
        if fit.batch % fit.shards:
            yield (f"--{name.replace('_', '-')}.shards is {fit.shards}, which does not divide its batch of {fit.batch}")


def _grouped(config: Config) -> Iterator[str]:
    """Convolutions' channels that cannot be normalised in groups."""
    if not isinstance(config.codec, TokenizerConfig):
        yield from _ungrouped("codec.width", config.codec.width, 8 if isinstance(config.codec, GridCodecConfig) else 4)
    yield from _ungrouped("probe.channels", config.probe.channels, 4)


def _ungrouped(name: str, channels: int, groups: int) -> Iterator[str]:
    """A convolution's channels are normalised in so many groups."""
    if channels % groups:
        yield f"--{name} is {channels}, expected a multiple of {groups}"


def _watching(config: Config) -> Iterator[str]:
    watch, asked = config.watch, config.evaluate
    if watch.keep != "last" and not 0 < watch.every <= config.learn.iterations:
        yield f"--watch.keep {watch.keep} needs looks: found one every {watch.every} iterations"
    if watch.keep == "trusted" and not (config.judge and watch.imagined):
        yield "--watch.keep trusted needs a judge (--judge, a share of the episodes) and --watch.imagined"
    if asked.first_seed < watch.first_seed + watch.episodes and watch.first_seed < asked.first_seed + asked.episodes:
        yield (
            f"--evaluate.first-seed {asked.first_seed} and --watch.first-seed {watch.first_seed} name the same initial "
            "states; expected others for the final evaluation than for looks while the policy is trained"
        )


def _learning(config: Config) -> Iterator[str]:
    learn, context = config.learn, config.world.context
    if learn.warm_up < context:
        yield (
            f"--learn.warm-up is {learn.warm_up}, expected at least --world.context, which is {context}: "
            "what the global model sees when it begins"
        )
    rows = learn.envs * learn.horizon
    if isinstance(learn, PPOConfig):
        yield from _too_many("minibatches", learn.minibatches, rows)
        return
    if learn.horizon > learn.episode:
        yield f"--learn.horizon is {learn.horizon}, expected at most --learn.episode, which is {learn.episode}"
    if learn.imitation and not config.warm_start:
        yield (
            f"--learn.imitation is {learn.imitation:g} with no --warm-start, which is where the policy learns what the "
            "logs would do; expected some, as --warm-start 3000"
        )
    if learn.critics_first >= learn.iterations:
        yield f"--learn.critics-first is {learn.critics_first}, expected less than the {learn.iterations} iterations"
    yield from _too_many("actor-minibatches", learn.actor_minibatches, rows)
    yield from _too_many("critic-minibatches", learn.critic_minibatches, rows)
    if learn.replay < learn.envs:
        yield f"--learn.replay is {learn.replay}, expected at least --learn.envs, which is {learn.envs}"
    if learn.step > learn.longest_step:
        yield f"--learn.step is {learn.step}, expected at most --learn.longest-step, which is {learn.longest_step}"


def _too_many(name: str, minibatches: int, rows: int) -> Iterator[str]:
    if minibatches > rows:
        yield f"--learn.{name} is {minibatches}, expected at most the {rows} rows of a rollout (envs times horizon)"
