"""Comparisons: several methods between the same frozen models, over seeds, judged on the same initial states.

A study is a folder: `base` is a run up to its models; each METHOD/seedN is a run that shares them and trains a policy
of its own. What is done and unchanged is skipped, and what was interrupted goes on.
"""

import math
import os
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from glocal.agents.ppo import PPOConfig
from glocal.config import Config
from glocal.core.gradients import LINKS
from glocal.core.improve import ImproveConfig
from glocal.deploy.policy import cloned
from glocal.evaluate.comparison import write_comparison
from glocal.evaluate.real import run_episodes
from glocal.files import UserError, read_json, remove, sha256, write_json
from glocal.models import Run
from glocal.progress import Ticker, console
from glocal.run import STAGES, create_run, perform, status
from glocal.stages import stage_seconds
from glocal.training import read_log, threads

SHARED = ("collect", "codec", "global", "local")
CHUNK = 10
"""Actions that chunked cloning tells at once: two seconds."""
LOOKS = 10
"""At the real environment while a policy is trained."""


def compare(folder: Path, config: Config, methods: Sequence[str], seeds: Sequence[int], steps: float) -> None:
    """Train and judge every method with every seed for as many imagined steps; writes `comparison.json` and `.html`.

    Raises `UserError` for methods that do not exist.
    """
    unknown = [method for method in methods if method not in METHODS]
    if unknown:
        raise UserError(f"there is no method {unknown[0]!r}; expected some of {', '.join(METHODS)}")
    base = create_run(folder / "base", config)
    for name in (*SHARED, "gates"):
        if status(base)[name].state != "done":
            perform(base, STAGES[name])
    cells = {}
    for seed in seeds:
        for method in methods:
            console.print(f"{method}, seed {seed}")
            cells[method, seed] = cell(base, folder / method / f"seed{seed}", method, seed, steps)
    write_comparison(folder, cells, config.evaluate.episodes)


def cell(base: Run, folder: Path, method: str, seed: int, steps: float) -> dict[str, Any]:
    """One method with one seed: its training, if it is not done yet, and what the real environment said."""
    run = create_run(folder, METHODS[method](replace(base.config, policy_seed=seed), steps))
    _share(base, run)
    kind = "cloning" if method in CLONED else "policy"
    if status(run)[kind].state != "done":
        perform(run, STAGES[kind])
    looks = [row for row in read_log(folder / kind) if "eval/pose" in row]
    seconds = stage_seconds(folder)[kind]
    return {"verdict": _verdict(run, kind), "seconds": seconds, "looks": looks}


def _share(base: Run, run: Run) -> None:
    """Let a cell see the base's data and models as its own."""
    for name in SHARED:
        stage = STAGES[name]
        link = run.folder / stage.output
        if not link.exists() and (base.folder / stage.output).exists():
            link.symlink_to(os.path.relpath(base.folder / stage.output, run.folder))
        (run.folder / "stages").mkdir(exist_ok=True)
        shutil.copy(base.folder / "stages" / f"{name}.json", run.folder / "stages" / f"{name}.json")


def _verdict(run: Run, kind: str) -> dict[str, Any]:
    """What the real environment says of a cell's policy; kept beside the hash of what was asked about."""
    path, cfg = run.folder / "verdict.json", run.config.evaluate
    asked = {
        "weights": sha256(run.folder / kind / "last" / "model.safetensors"),
        "episodes": cfg.episodes,
        "first_seed": cfg.first_seed,
    }
    if path.is_file() and read_json(path)["asked"] == asked:
        return read_json(path)
    remove(path)
    pilot = run.pilot(kind)
    controller = cloned(run.codec, pilot, run.config.cloning.forget)
    with threads(run.config.threads), Ticker(kind, run.config.task.decisions, 0, "decisions", cfg.episodes) as tick:
        torch.manual_seed(run.config.seed)
        episodes = run_episodes(run.config.task, controller, cfg.episodes, cfg.first_seed, 0, tick)
    write_json(path, {"asked": asked, **episodes.summary()})
    return read_json(path)


def _first_order(link: str) -> Callable[[Config, float], Config]:
    def chosen(config: Config, steps: float) -> Config:
        learn = config.learn
        assert isinstance(learn, ImproveConfig)
        iterations = max(1, math.ceil(steps / (learn.envs * learn.horizon)))
        return _watched(replace(config, learn=replace(learn, link=link, iterations=iterations)))

    return chosen


def _ppo(config: Config, steps: float) -> Config:
    learn, default = config.learn, PPOConfig()
    envs, episode = learn.envs, learn.episode
    iterations = max(1, math.ceil(steps / (envs * default.horizon)))
    return _watched(
        replace(config, learn=replace(default, iterations=iterations, envs=envs, episode=episode, gamma=learn.gamma))
    )


def _watched(config: Config) -> Config:
    every = max(1, config.learn.iterations // LOOKS)
    return replace(config, watch=replace(config.watch, every=every))


def _warm(method: Callable[[Config, float], Config]) -> Callable[[Config, float], Config]:
    """The same, begun where cloning with as many updates as its own stage ends."""
    return lambda config, steps: replace(method(config, steps), warm_start=config.cloning_fit.updates)


CLONED = ("cloning", "chunks")
METHODS: Mapping[str, Callable[[Config, float], Config]] = {
    **{link: _first_order(link) for link in LINKS},
    "ppo": _ppo,
    "decouple-warm": _warm(_first_order("decouple")),
    "ppo-warm": _warm(_ppo),
    "cloning": lambda config, _: config,
    "chunks": lambda config, _: replace(config, cloning=replace(config.cloning, chunk=CHUNK)),
}
