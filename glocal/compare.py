"""Comparisons: several methods between the same frozen models, over seeds, judged on the same initial states.

A study is a folder: `base` is a run up to its models; each METHOD/seedN is a run that shares them and trains a policy
of its own. What is done and unchanged is skipped, and what was interrupted goes on.
"""

import math
import os
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch

from glocal.agents.ppo import PPOConfig
from glocal.checking import check
from glocal.claims import claims
from glocal.config import Config
from glocal.core.gradients import LINKS
from glocal.core.improve import ImproveConfig
from glocal.deploy.policy import learned
from glocal.evaluate.comparison import write_comparison
from glocal.evaluate.gates import Reader
from glocal.evaluate.real import run_episodes
from glocal.files import UserError, answered, read_json, remove, sha256, write_json
from glocal.gating import reader
from glocal.opening import create_run
from glocal.plan import STAGES
from glocal.progress import Ticker, console, quoted
from glocal.run import open_run, perform
from glocal.stamps import stage_seconds
from glocal.status import digests_path, status
from glocal.training import read_log, threads
from glocal.workspace import Run

SHARED = ("collect", "codec", "global", "judge", "local")
CHUNK = 10
"""Actions that chunked cloning tells at once: two seconds."""
BEST = 0.25
"""Share of the training episodes that filtered cloning clones."""
LOOKS = 10
"""At the real environment while a policy is trained."""


@dataclass(frozen=True)
class Study:
    """What is compared: between which models, for how many imagined steps, and with which PPO."""

    config: Config
    steps: float
    ppo: PPOConfig = field(default_factory=PPOConfig)


Cell = dict[str, Any]
"""What one method with one seed came to: its verdict, its looks along training, and its seconds."""


def compare(
    folder: Path,
    study: Study,
    methods: Sequence[str],
    seeds: Sequence[int],
    others: Sequence[Path],
    renew: bool = False,
) -> None:
    """Train and judge every method with every seed; writes `comparison.json` and `.html`.

    `others` are finished runs that stand in the same table. Raises `UserError` for methods that do not exist, for runs
    on other data, and where `folder` is itself a run. With `renew` data and models with other options are set aside;
    cells with others always are.
    """
    _check_asked(study, methods, seeds)
    if (folder / "config.json").exists():
        raise UserError(f"{folder} is a run, and a study is a folder of runs; name another with --run")
    finished = [open_run(other) for other in others]
    base = create_run(folder / "base", study.config, (*SHARED, "gates"), renew)
    for name in (*SHARED, "gates"):
        if status(base)[name].state != "done":
            perform(base, STAGES[name])
    for run in finished:
        _check_data(base, run)
    read, cells = reader(base), {}
    for seed in seeds:
        for method in methods:
            console.print(f"{method}, seed {seed}")
            cells[method, seed] = _cell(base, folder / method / f"seed{seed}", method, seed, study, read)
    for run in finished:
        cells[_name(run), run.config.policy_seed] = _found(run, "policy", read)
    write_comparison(folder, cells, study.config.evaluate.episodes)


def _check_asked(study: Study, methods: Sequence[str], seeds: Sequence[int]) -> None:
    """Raise `UserError` for methods or seeds that make no sense, before any work."""
    unknown = [method for method in methods if method not in METHODS]
    if unknown:
        raise UserError(f"there is no method {unknown[0]!r}; expected some of {', '.join(METHODS)}")
    for name, asked in (("methods", methods), ("seeds", seeds)):
        if not asked or len(set(asked)) < len(asked):
            raise UserError(f"--{name} are {' '.join(map(str, asked)) or 'none'}, expected at least one, each once")
    for method in methods:
        check(METHODS[method](study))


def _cell(base: Run, folder: Path, method: str, seed: int, study: Study, read: Reader) -> Cell:
    """One method with one seed: its training, if it is not done yet, and what the real environment said."""
    kind = "cloning" if method in CLONED else "policy"
    config = replace(base.config, policy_seed=seed)
    run = create_run(folder, METHODS[method](replace(study, config=config)), (kind,), replace=True)
    _share(base, run)
    if status(run)[kind].state != "done":
        perform(run, STAGES[kind])
    return _found(run, kind, read)


def _found(run: Run, kind: str, read: Reader) -> Cell:
    looks = [row for row in read_log(run.folder / kind) if "eval/pose" in row]
    return {"verdict": _verdict(run, kind, read), "seconds": stage_seconds(run.folder)[kind], "looks": looks}


def _check_data(base: Run, run: Run) -> None:
    if status(run)["policy"].state == "missing":
        raise UserError(f"{run.folder} has no trained policy to compare; run `glocal run {quoted(run.folder)}` first")
    if run.store.hash != base.store.hash:
        raise UserError(
            f"{run.folder} was trained on other data (hash {run.store.hash[:12]}) than {base.folder} "
            f"({base.store.hash[:12]}): their difference would not be the methods'; compare runs on the same data"
        )


def _name(run: Run) -> str:
    """What a run is called in the table: its folder, less the seed's."""
    folder = run.folder.resolve()
    return "/".join(folder.parts[-3:-1]) if folder.name.startswith("seed") else folder.name


def _share(base: Run, run: Run) -> None:
    """Let a cell see the base's data and models as its own, and what is known of the files that hold them."""
    if digests_path(base.folder).is_file():
        (run.folder / "stages").mkdir(exist_ok=True)
        shutil.copy(digests_path(base.folder), digests_path(run.folder))
    for name in SHARED:
        stage = STAGES[name]
        link = run.folder / stage.output
        if not link.exists() and (base.folder / stage.output).exists():
            link.symlink_to(os.path.relpath(base.folder / stage.output, run.folder))
        (run.folder / "stages").mkdir(exist_ok=True)
        shutil.copy(base.folder / "stages" / f"{name}.json", run.folder / "stages" / f"{name}.json")


def _verdict(run: Run, kind: str, read: Reader) -> dict[str, Any]:
    """What the real environment says of a cell's policy, and what imagination claims; kept beside what was asked."""
    path, cfg = run.folder / "verdict.json", run.config.evaluate
    asked = {
        "weights": sha256(run.kept(kind) / "last" / "model.safetensors"),
        "episodes": cfg.episodes,
        "first_seed": cfg.first_seed,
    }
    known = answered(path, asked)
    if known is not None:
        return known
    remove(path)
    controller = learned(run.codec, run.pilot(kind), run.config.cloning.forget, run.view)
    with threads(run.config.threads), Ticker(kind, run.config.task.decisions, 0, "decisions", cfg.episodes) as tick:
        torch.manual_seed(run.config.seed)
        episodes = run_episodes(run.config.task, controller, cfg.episodes, cfg.first_seed, 0, tick, run.picture)
        claimed = claims(run, kind, read, episodes.pose)
    write_json(path, {"asked": asked, **episodes.summary(), "claims": claimed})
    return read_json(path)


def _first_order(link: str) -> Callable[[Study], Config]:
    def chosen(study: Study) -> Config:
        learn = study.config.learn
        assert isinstance(learn, ImproveConfig)
        iterations = max(1, math.ceil(study.steps / (learn.envs * learn.horizon)))
        return _watched(replace(study.config, learn=replace(learn, link=link, iterations=iterations)))

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
    return replace(study.config, cloning=replace(study.config.cloning, best=BEST))


CLONED = ("cloning", "cloning-best", "chunks")
METHODS: Mapping[str, Callable[[Study], Config]] = {
    **{link: _first_order(link) for link in LINKS},
    "imagine-restarted": _restarted,
    "ppo": _ppo,
    "ppo-same": _ppo_same,
    "decouple-warm": _warm(_first_order("decouple")),
    "ppo-warm": _warm(_ppo),
    "cloning": lambda study: study.config,
    "cloning-best": _best,
    "chunks": _chunks,
}
