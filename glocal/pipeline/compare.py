"""Comparisons: several methods between the same frozen models, over seeds, judged on the same initial states.

A study is a folder: `base` is a run up to its models; each METHOD/seedN is a cell, a run that shares them and trains a
policy of its own. What is done and unchanged is skipped, and what was interrupted goes on.
"""

import json
import os
import shutil
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch

from glocal.deploy.controllers import Controller, learned
from glocal.evaluate.gates import Reader
from glocal.evaluate.report.comparison import write_comparison
from glocal.evaluate.scores import PUSHT, ROBOT, Scored
from glocal.pipeline.check import check
from glocal.pipeline.claims import claims
from glocal.pipeline.config import Config, RobotConfig
from glocal.pipeline.methods import CLONED, METHODS, PLANNED, PRIOR, Planned, Study
from glocal.pipeline.opening import check_run, create_run, resolved
from glocal.pipeline.plan import STAGES
from glocal.pipeline.real import check_environment, real_of
from glocal.pipeline.run import open_run, perform
from glocal.pipeline.run_dir import Run
from glocal.pipeline.stages import planner
from glocal.pipeline.stamps import stage_seconds
from glocal.pipeline.status import digests_path, status
from glocal.pipeline.validate import reader
from glocal.runtime.files import UserError, answered, read_json, remove, sha256, write_json
from glocal.runtime.progress import Ticker, console, quoted
from glocal.runtime.trainer import read_log, threads

SHARED = ("collect", "codec", "global", "judge", "local")
BASE = (*SHARED, "gates")

Key = tuple[str, int]
"""A method, or what another run is called, and a policy's seed."""


def compare(
    folder: Path,
    study: Study,
    methods: Sequence[str],
    seeds: Sequence[int],
    others: Sequence[Path],
    renew: bool = False,
) -> None:
    """Train and judge every method with every seed; writes `comparison.json` and `.html`.

    The table also holds the cells that were trained in the folder before and fit the study, and `others`: finished
    runs, which are judged as the study's own are and stay as they are. Raises `UserError`, before any work, for
    methods that do not exist, and where data, models or policies that are asked for were made with other options,
    unless `renew` says that these are to be set aside; for runs on other data, and where `folder` is itself a run.
    """
    study = replace(study, config=resolved(study.config, SHARED))
    _check_asked(study, methods, seeds)
    _check_judge(study.config)
    if (folder / "config.json").exists():
        raise UserError(f"{folder} is a run, and a study is a folder of runs; name another with --run")
    finished = named([open_run(other) for other in others])
    asked = [(method, seed) for seed in seeds for method in methods]
    check_run(Run(folder / "base", study.config), BASE, renew)
    for key in asked:
        check_run(_cell(folder, study, key), _stages(key), renew)
    base = create_run(folder / "base", study.config, BASE, renew)
    for name in BASE:
        if status(base)[name].state != "done":
            perform(base, STAGES[name])
    for run in finished.values():
        _check_data(base, run)
    opened = {key: _opened(base, _cell(folder, study, key), key, renew) for key in asked}
    read, cells = None if isinstance(study.config.task, RobotConfig) else reader(base), {}
    for key, run in opened.items():
        console.print(f"{key[0]}, seed {key[1]}")
        if prior := _prior(key):
            donor = opened.get(prior) or _opened(base, _cell(folder, study, prior), prior, renew)
            _lend(donor, run)
        _train(run, _kind(key))
        cells[key] = _found(run, key, read, run.folder)
    earlier = _earlier(base, folder, study, cells)
    cells |= {key: _found(run, key, read, run.folder) for key, run in earlier.items()}
    own = {run.folder.resolve() for run in (opened | earlier).values()}
    for key, run in finished.items():
        if run.folder.resolve() not in own:
            cells[key] = _found(_as_judged(run, study.config), key, read, folder / "others")
    write_comparison(folder, cells, study.config.evaluate.episodes, scored(study.config))


def _check_judge(config: Config) -> None:
    """Raise `UserError` where no environment can judge policies."""
    if not isinstance(config.task, RobotConfig):
        return
    if not config.env.id:
        raise UserError("methods are compared by what an environment says of them; name the robot's with --env ID")
    check_environment(config.task, config.env)


def _as_judged(run: Run, config: Config) -> Run:
    """Another run, judged as a study's own cells are: in as many episodes of the same environment, just as long."""
    task = replace(run.config.task, control_steps=config.task.control_steps)
    return Run(run.folder, replace(run.config, evaluate=config.evaluate, env=config.env, task=task))


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


def _kind(key: Key) -> str:
    """The stage that trains what a cell is judged by: its policy, or the global model that it plans in."""
    alone = key[0] in PLANNED and not PLANNED[key[0]].guided
    return "cloning" if key[0] in CLONED else "global" if alone else "policy"


def _stages(key: Key) -> tuple[str, ...]:
    return (*SHARED, *({_kind(key)} - {*SHARED}))


def _prior(key: Key) -> Key | None:
    """The cell whose policy a cell plans about."""
    return (PRIOR, key[1]) if key[0] in PLANNED and PLANNED[key[0]].guided else None


def _lend(donor: Run, run: Run) -> None:
    """Let a cell plan about another one's policy, which is trained if it is not yet."""
    _train(donor, "policy")
    _share(donor, run, ("policy",))


def _train(run: Run, stage: str) -> None:
    if status(run)[stage].state != "done":
        perform(run, STAGES[stage])


def _cell(folder: Path, study: Study, key: Key) -> Run:
    """A cell as the study wants it; nothing is written."""
    method, seed = key
    config = METHODS[method](replace(study, config=replace(study.config, policy_seed=seed)))
    return Run(folder / method / f"seed{seed}", config)


def _opened(base: Run, cell: Run, key: Key, renew: bool) -> Run:
    """A cell between the base's models, that may be trained; raises `UserError` where these are others than before."""
    _share(base, create_run(cell.folder, cell.config, _stages(key), renew))
    check_run(cell, _stages(key), renew)
    return cell


def _earlier(base: Run, folder: Path, study: Study, asked: Collection[Key]) -> dict[Key, Run]:
    """Cells that are not asked for, but were trained before just as the study would train them."""
    found = {}
    for key in _trained(folder):
        if key in asked:
            continue
        run = _cell(folder, study, key)
        _share(base, run)
        if prior := _prior(key):
            _share(_cell(folder, study, prior), run, ("policy",))
        now = status(run)[_kind(key)]
        if now.state == "done":
            found[key] = run
        else:
            console.print(f"{key[0]}, seed {key[1]}, is not in the table: {now.state}, {'; '.join(now.reasons)}")
    return found


def _trained(folder: Path) -> Iterator[Key]:
    """All cells that there are in a study's folder."""
    for method in METHODS:
        for path in sorted((folder / method).glob("seed*/config.json")):
            number = path.parent.name.removeprefix("seed")
            if number.isdecimal():
                yield method, int(number)


def _found(run: Run, key: Key, read: Reader | None, kept: Path) -> dict[str, Any]:
    """What one policy came to: its verdict, its looks along training, and its seconds."""
    stage, planned = _kind(key), PLANNED.get(key[0])
    looks = [row for row in read_log(run.folder / stage) if f"eval/{scored(run.config).first}" in row]
    seconds = 0.0 if stage == "global" else stage_seconds(run.folder)[stage]
    verdict = _verdict(run, stage, planned, read, kept)
    return {"verdict": verdict, "seconds": seconds, "looks": [] if planned else looks}


def scored(config: Config) -> Scored:
    """How success is counted on a configuration's task."""
    return ROBOT if isinstance(config.task, RobotConfig) else PUSHT


def _check_data(base: Run, run: Run) -> None:
    if run.store.hash != base.store.hash:
        raise UserError(
            f"{run.folder} was trained on other data (hash {run.store.hash[:12]}) than {base.folder} "
            f"({base.store.hash[:12]}): their difference would not be the methods'; compare runs on the same data"
        )


def named(runs: Sequence[Run]) -> dict[Key, Run]:
    """Other runs by what they are called in the table: their folders, less the seeds', with so much of the path that
    no two are called the same, nor one as a method is.

    Raises `UserError` for runs without a policy, and for those that are given twice.
    """
    for run in runs:
        if status(run)["policy"].state == "missing":
            raise UserError(
                f"{run.folder} has no trained policy to compare; run `glocal run {quoted(run.folder)}` first"
            )
    folders = [run.folder.resolve() for run in runs]
    twice = [folder for folder in folders if folders.count(folder) > 1]
    if twice:
        raise UserError(f"--runs names {twice[0]} twice; name every run once")
    homes = [_home(folder) for folder in folders]
    keys = [(home, run.config.policy_seed) for home, run in zip(homes, runs, strict=True)]
    homes = [home if keys.count(key) == 1 else folder for home, key, folder in zip(homes, keys, folders, strict=True)]
    names = _names({home: 1 if home in folders and home == _home(home) else 2 for home in homes})
    return {(names[home], run.config.policy_seed): run for home, run in zip(homes, runs, strict=True)}


def _home(folder: Path) -> Path:
    """Where the seeds of what a run is one of are kept: its own folder where it is alone."""
    return folder.parent if folder.name.startswith("seed") else folder


def _names(depth: Mapping[Path, int]) -> dict[Path, str]:
    """Folders by so many of the last parts of their paths, and more of those that would be mistaken for others."""
    names = {path: "/".join(path.parts[-count:]) for path, count in depth.items()}
    taken = [*METHODS, *names.values()]
    mistaken = [path for path, name in names.items() if taken.count(name) > 1]
    return _names({path: depth[path] + (path in mistaken) for path in depth}) if mistaken else names


def _share(base: Run, run: Run, stages: Sequence[str] = SHARED) -> None:
    """Let a cell see what stages of the base, or of another cell, made as its own, data and models by default, and what
    is known of the files that hold it."""
    if digests_path(base.folder).is_file():
        (run.folder / "stages").mkdir(exist_ok=True)
        shutil.copy(digests_path(base.folder), digests_path(run.folder))
    for name in stages:
        stage = STAGES[name]
        link = run.folder / stage.output
        if not link.exists() and (base.folder / stage.output).exists():
            link.symlink_to(os.path.relpath(base.folder / stage.output, run.folder))
        (run.folder / "stages").mkdir(exist_ok=True)
        if (stamp := base.folder / "stages" / f"{name}.json").exists():
            shutil.copy(stamp, run.folder / "stages" / f"{name}.json")


def _verdict(run: Run, stage: str, planned: Planned | None, read: Reader | None, kept: Path) -> dict[str, Any]:
    """What the real environment says of a policy, and what imagination claims; kept beside what was asked."""
    cfg, weights = run.config.evaluate, sha256(run.kept(stage) / "last" / "model.safetensors")
    path = kept / ("verdict.json" if kept == run.folder else f"{weights[:16]}.json")
    asked: dict[str, Any] = {"weights": weights, "episodes": cfg.episodes, "first_seed": cfg.first_seed}
    if planned is not None:
        asked[planned.kind] = asdict(getattr(run.config, planned.kind))
    if isinstance(run.config.task, RobotConfig):
        asked |= {"env": json.loads(json.dumps(asdict(run.config.env))), "control_steps": run.config.task.control_steps}
    known = answered(path, asked)
    if known is not None:
        return known
    remove(path)
    real = real_of(run)
    assert real is not None
    with (
        threads(run.config.threads),
        Ticker(stage, run.config.task.control_steps, 0, "steps", cfg.episodes) as tick,
    ):
        torch.manual_seed(run.config.seed)
        happened = real(_controllers(run, stage, planned), cfg.episodes, cfg.first_seed, tick=tick)
        claimed = {} if planned or read is None else claims(run, stage, read, happened.scores["pose"])
    write_json(path, {"asked": asked, **happened.summary(), "claims": claimed})
    return read_json(path)


def _controllers(run: Run, stage: str, planned: Planned | None) -> Callable[[int], Controller]:
    """What makes the controller of what a stage trained, or of what plans with it."""
    if planned is not None:
        return planner(run, *planned)
    policy = run.policy(stage)
    return lambda _: learned(run.codec, policy, run.config.cloning.forget, run.view)
