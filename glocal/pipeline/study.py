"""What `glocal compare` is asked for."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import tyro

from glocal.core.ranges import Range, Seed
from glocal.models.policies.ppo import PPOConfig
from glocal.pipeline.check import check_values
from glocal.pipeline.config import Config
from glocal.pipeline.methods import METHODS, usual_steps
from glocal.pipeline.usage import read, short_help


@dataclass(frozen=True)
class Options:
    config: Annotated[tyro.conf.AvoidSubcommands[Config], tyro.conf.arg(name="")]
    run: Path
    """The study's folder."""
    steps: Annotated[float, Range(1, 1e12)]
    """Imagined steps for each method and seed."""
    methods: tuple[str, ...] = ("decouple", "imagine", "freeze", "ppo", "cloning")
    seeds: tuple[Seed, ...] = (0, 1, 2)
    """Of policies; data and models are the preset's, made once from --seed."""
    runs: tuple[Path, ...] = ()
    """Finished runs on the same data that stand in the same table."""
    replace: bool = False
    """Make data, models and policies again where the study's have other options; those are kept."""
    ppo: PPOConfig = field(default_factory=PPOConfig)
    """Iterations, environments, episode and discount are those of the other methods."""


def asked(target: str, known: Config, options: Sequence[str]) -> Options:
    """The options of a comparison on a preset; raises `UserError` for what cannot be meant."""
    prog = f"glocal compare {target}"
    steps = usual_steps(known)
    own = [
        ("--run FOLDER", "the study's folder"),
        ("--methods ...", f"some of {' '.join(METHODS)}"),
        ("--seeds 0 1 2", "of policies; data and models are made once from --seed"),
        (f"--steps {steps:g}", "imagined steps for each method and seed"),
        ("--runs ...", "finished runs on the same data that stand in the same table"),
        ("--replace", "make data, models and policies again that have other options; those are kept in previous"),
    ]
    chosen = read(
        Options,
        options,
        prog,
        short_help("compare", prog, known, own),
        default=Options(known, Path("out") / f"compare-{target}", steps),
        description=f"Methods: {', '.join(METHODS)}.",
    )
    check_values({"seeds": chosen.seeds, "steps": chosen.steps, "ppo": chosen.ppo}, Options.__annotations__)
    return chosen
