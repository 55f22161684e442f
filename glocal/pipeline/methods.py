"""What can be compared: every method makes a configuration of its own of a study's.

Where the study's policies begin from cloning, so do those of all methods.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Literal, NamedTuple

from glocal.core.gradients import LINKS
from glocal.core.improve import ImproveConfig
from glocal.models.policies.ppo import PPOConfig
from glocal.pipeline.config import Config

CHUNK = 10
"""Actions that chunked cloning tells at once: two seconds."""
BEST = 0.25
"""Share of the training episodes that filtered cloning clones, where the configuration names none."""
LOOKS = 10
"""At the real environment while a policy is trained."""
STEPS = 3e6
"""Imagined steps for each method and seed, where nothing is said."""


@dataclass(frozen=True)
class Study:
    """What is compared: between which models, for how many imagined steps, and with which PPO."""

    config: Config
    steps: float
    ppo: PPOConfig = field(default_factory=PPOConfig)


def usual_steps(config: Config) -> float:
    """Imagined steps where nothing is said; of debug presets, which are through in seconds, those of their policy."""
    learn = config.learn
    return float(learn.iterations * learn.envs * learn.horizon) if config.preset.endswith("-debug") else STEPS


def _first_order(link: str) -> Callable[[Study], Config]:
    def chosen(study: Study) -> Config:
        learn = study.config.learn
        assert isinstance(learn, ImproveConfig)
        iterations = max(1, math.ceil(study.steps / (learn.envs * learn.horizon)))
        alone = min(learn.critics_first, iterations - 1)
        learn = replace(learn, link=link, iterations=iterations, critics_first=alone)
        return _watched(replace(study.config, learn=learn))

    return chosen


def _restarted(study: Study) -> Config:
    """`imagine` whose belief never strays farther from what was recorded than a horizon, as Dreamer's does not: every
    rollout begins from recorded windows."""
    config = _first_order("imagine")(study)
    return replace(config, learn=replace(config.learn, episode=config.learn.horizon))


def _ppo(study: Study) -> Config:
    learn, ppo = study.config.learn, study.ppo
    iterations = max(1, math.ceil(study.steps / (learn.envs * ppo.horizon)))
    same = {"envs": learn.envs, "episode": learn.episode, "gamma": learn.gamma}
    same["warm_up"] = max(ppo.warm_up, study.config.world.context)
    return _watched(replace(study.config, learn=replace(ppo, iterations=iterations, **same)))


def _ppo_same(study: Study) -> Config:
    """PPO with the first-order policy's networks in place of the library's."""
    return _ppo(replace(study, ppo=replace(study.ppo, networks="policy")))


def _watched(config: Config) -> Config:
    every = max(1, config.learn.iterations // LOOKS)
    return replace(config, watch=replace(config.watch, every=every))


def _warm(method: Callable[[Study], Config]) -> Callable[[Study], Config]:
    """The same, begun where cloning with as many updates as its own stage ends."""
    return lambda study: replace(method(study), warm_start=study.config.cloning_fit.updates)


def _chunks(study: Study) -> Config:
    return replace(study.config, cloning=replace(study.config.cloning, chunk=CHUNK))


def _best(study: Study) -> Config:
    chosen = study.config.cloning.best
    return replace(study.config, cloning=replace(study.config.cloning, best=chosen if chosen < 1 else BEST))


def _all(study: Study) -> Config:
    return replace(study.config, cloning=replace(study.config.cloning, best=1.0))


CLONED = ("cloning", "cloning-best", "chunks")


class Planned(NamedTuple):
    """What plans in the global model at every control step: how, and whether about what a policy would do."""

    kind: Literal["icem", "mppi"]
    guided: bool


PLANNED = {
    "icem": Planned("icem", False),
    "mppi": Planned("mppi", False),
    "icem-prior": Planned("icem", True),
    "mppi-prior": Planned("mppi", True),
}
PRIOR = "decouple"
"""The method whose policy, of the same seed, is the prior of planning."""
METHODS: Mapping[str, Callable[[Study], Config]] = {
    **{link: _first_order(link) for link in LINKS},
    "imagine-restarted": _restarted,
    "ppo": _ppo,
    "ppo-same": _ppo_same,
    "decouple-warm": _warm(_first_order("decouple")),
    "ppo-warm": _warm(_ppo),
    "cloning": _all,
    "cloning-best": _best,
    "chunks": _chunks,
    **{name: _first_order(PRIOR) if how.guided else (lambda study: study.config) for name, how in PLANNED.items()},
}
