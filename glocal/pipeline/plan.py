"""The stages of a run: what each does, what it reads, and what it has to be done again for."""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, is_dataclass
from pathlib import Path
from typing import Any, get_args, get_type_hints

from glocal.pipeline import collect, stages, validate
from glocal.pipeline.config import Config
from glocal.runtime.versions import Package
from glocal.tasks.pusht import PushTConfig

LOADED = Package.read(Path(__file__).parents[1])
"""The package's sources as they were when this process began, whatever is edited while it works."""
FREE = ("preset", "device", "threads", "processes", "clock", "logs", "after")
"""Parts of the configuration that any stage may read: no result depends on them, but for logs and the run before on
what they hold."""
KEPT = ("collect", "codec", "global", "judge", "local", "cloning", "policy")
"""Stages whose output is not made again in seconds: none is set aside unless that is asked for."""
_DATA = ("seed", "held_out", "judge", "task", "codec")
"""What decides which experience models are trained on, and how they see it."""


@dataclass(frozen=True)
class Stage:
    """One step of a run: what it does, what it leaves, and what it has to be done again for."""

    name: str
    work: Callable[[Any], None]
    """Called with the class of run that its argument asks for."""
    output: str
    """File or folder within the run that it makes."""
    needs: tuple[str, ...]
    """Stages whose output it reads."""
    config: tuple[str, ...]
    """Parts of the configuration that its result depends on, dotted where it is a part of a part; it can read no
    other."""
    leaves: tuple[str, ...]
    """Patterns of the files that later stages read, within the run."""
    advice: tuple[str, ...] = ()
    """Parts of the configuration that it reads to warn or to refuse, and that its result does not depend on."""
    beside: str | None = None
    """A further folder that it makes."""
    idle: Callable[[Config], bool] = lambda config: False
    """Whether it has nothing to do; then it need not be asked for."""
    shared: bool = False
    """Whether all processes that were started work at it, and not the leading one alone."""
    takes_in: bool = False
    """Whether it reads the logs that the configuration names."""

    @property
    def readable(self) -> tuple[str, ...]:
        """The parts of the configuration that it can read."""
        return (*self.config, *self.advice, *FREE)


def _trained(*folders: str) -> tuple[str, ...]:
    """What is read of checkpoints."""
    return tuple(f"{folder}/last/{name}" for folder in folders for name in ("config.json", "model.safetensors"))


STAGES = {
    stage.name: stage
    for stage in (
        Stage(
            "collect", collect.collect, "data", (), ("seed", "task", "play"),
            ("data/index.json", "data/*.npy", *_trained("before/*")), beside="before", takes_in=True,
            advice=("codec", "world.context", "held_out", "judge"),
        ),
        Stage(
            "codec", stages.train_codec, "codec", ("collect",), (*_DATA, "codec_fit"), _trained("codec"),
            shared=True, idle=lambda config: isinstance(config.task, PushTConfig) and not config.task.images,
        ),
        Stage(
            "global", stages.train_global, "global", ("collect", "codec"), (*_DATA, "world", "world_fit"),
            _trained("global"), shared=True,
        ),
        Stage(
            "judge", stages.train_judge, "judge", ("collect", "codec"), (*_DATA, "world", "world_fit"),
            _trained("judge"), shared=True, idle=lambda config: not config.judge,
        ),
        Stage(
            "local", stages.train_local, "local", ("collect", "codec", "global"),
            (*_DATA, "world", "surrogate", "surrogate_fit", "surrogate_length", "matching"), _trained("local"),
            shared=True,
        ),
        Stage(
            "gates", validate.check_gates, "gates.json", ("collect", "codec", "global", "local"),
            (*_DATA, "world", "surrogate", "gates", "probe", "probe_fit", "learn.horizon", "learn.gamma"),
            ("gates.json", "gates/rollouts.npz"), beside="gates",
        ),
        Stage(
            "cloning", stages.train_cloning, "cloning", ("collect", "codec", "local"),
            (*_DATA, "policy_seed", "surrogate", "agent", "cloning", "cloning_fit"), _trained("cloning"),
            shared=True,
        ),
        Stage(
            "policy", stages.train_policy, "policy", ("collect", "codec", "global", "judge", "local"),
            (
                *_DATA, "policy_seed", "world", "surrogate", "agent", "learn", "watch", "warm_start", "matching",
                "cloning.best",
            ),
            _trained("policy", "policy/best", "policy/trusted"), advice=("env",), shared=True,
        ),
        Stage(
            "evaluate", stages.evaluate, "results.json", ("collect", "codec", "global", "cloning", "policy"),
            (
                "seed", "task", "env", "codec", "play", "surrogate", "agent", "learn", "cloning", "watch.keep",
                "evaluate", "world", "icem", "policy_seed",
            ),
            ("results.json", "evaluation/*.npz", "evaluation/*.mp4"), beside="evaluation",
        ),
        Stage(
            "report", stages.report, "report.html", ("collect", "gates", "cloning", "policy", "evaluate"), (),
            ("report.html",),
        ),
    )
}  # fmt: skip


def seed_of(stage: Stage, config: Config) -> int:
    """The seed of torch's random numbers in a stage."""
    own = f" {config.policy_seed}" if "policy_seed" in stage.config and config.policy_seed else ""
    return int(hashlib.sha256(f"{stage.name} {config.seed}{own}".encode()).hexdigest()[:8], 16)


def code_version(stage: Stage, package: Package = LOADED) -> str:
    """A hash of all code of this package that the stage's work can execute; comments and annotations do not count."""
    return package.version(roots(stage))


def roots(stage: Stage) -> list[str]:
    """Where a stage's code begins: its work, its class of run, and the classes of what it has declared."""
    kinds = [kind for part in (*stage.config, *FREE) for kind in _classes(part)]
    return [*map(_told, (stage.work, run_class(stage), seed_of, *kinds))]


def run_class(stage: Stage) -> type[Any]:
    """What a stage's work is called with."""
    return get_type_hints(stage.work)["run"]


def _classes(part: str) -> list[type[Any]]:
    """The classes that a whole part of the configuration may have."""
    hint = get_type_hints(Config).get(part)
    return [kind for kind in (get_args(hint) or (hint,)) if isinstance(kind, type) and is_dataclass(kind)]


def _told(definition: Any) -> str:
    return f"{definition.__module__}.{definition.__qualname__}"
