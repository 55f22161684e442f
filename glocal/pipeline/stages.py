"""What each stage of a run does: from its predecessors' folders to its own."""

import json
import resource
import time
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from glocal.core.features import Featurizer
from glocal.core.improve import SHARED, ImproveConfig, Metrics, Policy, PolicyIteration
from glocal.core.rollout import warm_up
from glocal.core.types import FittedCodec, LearnedCodec
from glocal.data.segments import Recorded
from glocal.data.store import EpisodeStore
from glocal.deploy.controllers import Controller, aimless, learned, playing
from glocal.deploy.planning import ICEM, MPPI, Guide, planning
from glocal.evaluate.episodes import write_video
from glocal.evaluate.report.run import write_report
from glocal.models.codecs.cameras import CamerasCodec
from glocal.models.codecs.egocentric import EgocentricCodec, EgocentricCodecConfig
from glocal.models.codecs.surroundings import Looks
from glocal.models.policies.cloning import chunk_loss, cloning_loss
from glocal.models.policies.ppo import PPOActor, PPOConfig, PPOIteration
from glocal.models.surrogates.mlp import MLPSurrogate
from glocal.models.worlds.diffusion import DiffusionWorld
from glocal.models.worlds.hindsight import HindsightWorld
from glocal.models.worlds.memory import MemoryWorld
from glocal.models.worlds.pictures import PictureWorld
from glocal.models.worlds.pixels import PixelWorld
from glocal.models.worlds.shortcut import ShortcutWorld
from glocal.pipeline import build
from glocal.pipeline.before import begin_with
from glocal.pipeline.monitor import Watch
from glocal.pipeline.real import NOT_ASKED, Happened, Real, real_of
from glocal.pipeline.run_dir import Modelled, Recordings, Run, RunFolder, split_recorded
from glocal.pipeline.stamps import stage_seconds
from glocal.runtime import checkpoints
from glocal.runtime.files import UserError, atomic_write, write_json
from glocal.runtime.progress import Ticker, console
from glocal.runtime.team import apart, team
from glocal.runtime.trainer import Fit, FitConfig, train
from glocal.tasks.pusht import PushTConfig

OWN_SEED = 1_000_003
"""Between the planners of one policy seed and the next."""
MEASURED = 400
"""Recorded frames that a codec takes its statistics from."""
LOOKED_AT = 256
"""Recorded frames that are looked at together."""
SEARCHED = 4000
"""Recorded frames in which landmarks are looked for."""


def train_codec(run: RunFolder) -> None:
    """Fit the codec to images, or standardise vectors; tracked keypoints need none."""
    codec, store = build.build_codec(run.config), run.store
    if not isinstance(codec, FittedCodec):
        console.print("codec: the keypoints are tracked, there is nothing to train")
        return
    kept = int(store.starts[split_recorded(run.config, len(store))[0].stop])
    draw = _frames(store, codec.reads, kept, run.device)
    if begin_with(run, "codec", codec):
        console.print("codec: it stays as it was in the run before, so that all models see what they saw")
        checkpoints.save(run.folder / "codec", "codec", 0, run.about(), codec.state_dict(), {})
        return
    if not isinstance(codec, LearnedCodec):
        codec.fit_statistics(draw(torch.arange(kept)))
        checkpoints.save(run.folder / "codec", "codec", 0, run.about(), codec.state_dict(), {})
        return
    codec.to(run.device).fit_statistics(draw(torch.randperm(kept)[:MEASURED]))
    if isinstance(codec, CamerasCodec | EgocentricCodec):
        codec.fit_vectors(_frames(store, codec.vectors.reads, kept, run.device)(torch.arange(kept)))
    if isinstance(codec, EgocentricCodec):
        _fit(run, "codec", codec, run.config.codec_fit, _around(run, codec, draw, kept))
        for found in codec.found():
            console.print(found)
        return
    if isinstance(codec, CamerasCodec):
        for doubt in codec.doubts():
            console.print(f"note: {doubt}")
        if codec.landmarks and not (run.folder / "codec" / "last").exists():  # else they are read with the rest
            for found in codec.find_landmarks(draw(torch.randperm(kept)[:SEARCHED])):
                console.print(found)
    fast = build.compiled(codec.loss, run.device)
    batch = run.config.codec_fit.drawn
    _fit(run, "codec", codec, run.config.codec_fit, lambda: fast(draw(torch.randint(kept, (batch,)))))


def _around(
    run: RunFolder, codec: EgocentricCodec, draw: Callable[[Tensor], dict[str, Tensor]], kept: int
) -> Callable[[], tuple[Tensor, Metrics]]:
    """The loss of the codec of moving cameras, on random windows. How things look is computed once for each picture."""
    looks, told = _looked(codec, draw, kept)
    starts, rows = torch.as_tensor(run.store.starts), codec.cfg.rows
    ends = starts[torch.searchsorted(starts, torch.arange(kept), right=True)]
    first = (torch.arange(kept) + rows <= ends).nonzero()[:, 0]
    if not len(first):
        raise UserError(f"no recorded episode is as long as --codec.rows, {rows}; lower that, or record longer ones")
    batch = run.config.codec_fit.drawn

    def loss() -> tuple[Tensor, Metrics]:
        window = (first[torch.randint(len(first), (batch,))][:, None] + torch.arange(rows)).to(told.device)
        return codec.loss_of(looks.at(window), told[window])

    return loss


def _looked(
    codec: EgocentricCodec, draw: Callable[[Tensor], dict[str, Tensor]], kept: int
) -> tuple[Looks, Float[Tensor, "n d"]]:
    """How all recorded pictures look, and what was felt. Written where it stays: many small results that are kept among
    large ones that are not would leave memory in pieces, gigabytes of it."""
    whole: list[Tensor] = []
    with Ticker("look", kept, unit="pictures") as tick:
        for some in torch.arange(kept).split(LOOKED_AT):
            fields = draw(some)
            found = (*codec.looks(fields), codec.vectors.encode(fields))
            whole = whole or [x.new_empty(kept, *x.shape[1:]) for x in found]
            for all_of, part in zip(whole, found, strict=True):
                all_of[some] = part
            tick(int(some[-1]) + 1)
    return Looks(*whole[:-1]), whole[-1]


def _frames(
    store: EpisodeStore, names: Sequence[str], rows: int, device: torch.device
) -> Callable[[Tensor], dict[str, Tensor]]:
    """Recorded fields by row: read from the memory map as they are wanted, or moved to a GPU once, as bytes."""
    if device.type == "cpu":
        return lambda chosen: {
            name: torch.from_numpy(store.fields[name][chosen.sort().values.numpy()]) for name in names
        }
    kept = {name: torch.tensor(store.fields[name][:rows]).pin_memory().to(device) for name in names}
    return lambda chosen: {name: field[chosen.to(device, non_blocking=True)] for name, field in kept.items()}


def train_global(run: Recordings) -> None:
    """Fit the global model to recorded windows."""
    _fit_world(run, "global", run.for_world(run.experience[0]))


def train_judge(run: Recordings) -> None:
    """Fit a second global model to the episodes that are set aside for it."""
    if not run.config.judge:
        console.print("judge: no episodes are set aside for one (--judge), there is nothing to train")
        return
    _fit_world(run, "judge", run.for_world(run.set_aside))


def _fit_world(run: Recordings, kind: str, experience: Recorded) -> None:
    world, cfg = build.build_world(run.config, run.codec).to(run.device), run.config.world_fit
    if not begin_with(run, kind, world):
        world.fit_statistics(experience.pairs())
    if isinstance(features := getattr(world, "features", None), Featurizer) and (found := features.found()):
        console.print(f"found in the logs: {found}")
    fast = build.compiled(world.loss, run.device)
    _fit(run, kind, world, cfg, lambda: fast(experience.draw(cfg.drawn, world.length, world.acted)))


def train_local(run: Modelled) -> None:
    """Pretrain the local model on recorded windows."""
    experience, _ = run.experience
    surrogate, cfg = build.build_surrogate(run.config).to(run.device), run.config.surrogate_fit
    if isinstance(run.config.codec, EgocentricCodecConfig):
        build.carry_along(surrogate, run.codec)
    if not begin_with(run, "local", surrogate) and isinstance(surrogate, MLPSurrogate):
        surrogate.fit_statistics(experience.pairs())
    _fit(run, "local", surrogate, cfg, local_loss(run, surrogate))


def local_loss(run: Modelled, surrogate: Any) -> Callable[[], tuple[Tensor, Metrics]]:
    """What pretraining descends: the local model's own loss, and where it is asked for, that of its gradients."""
    experience, _ = run.experience
    batch, length, told = run.config.surrogate_fit.drawn, run.config.surrogate_length, run.config.matching
    matching = run.matching()

    def loss() -> tuple[Tensor, Metrics]:
        found, metrics = surrogate.loss(experience.draw(batch, length))
        if matching is None:
            return found, metrics
        gradients = matching.loss(surrogate, experience.draw(told.batch, matching.length))
        return found + told.weight * gradients, metrics | {"gradients": gradients}

    return loss


def train_cloning(run: Modelled) -> None:
    """Behaviour cloning on the same logs, or the best of their episodes, with the same network and beliefs."""
    surrogate, cfg, told = run.surrogate(), run.config.cloning_fit, run.config.cloning
    experience = run.experience[0].best(told.best)
    policy = build.build_policy(run.config, surrogate, "cloning").to(run.device)
    begin_with(run, "cloning", policy.actor)
    loss = partial(chunk_loss, chunk=told.chunk) if told.chunk > 1 else cloning_loss
    length = told.window - 1 + told.chunk
    _fit(run, "cloning", policy, cfg, lambda: loss(policy, experience.draw(cfg.drawn, length)))


def _fit(run: RunFolder, kind: str, module: nn.Module, cfg: FitConfig, loss: Any, folder: Path | None = None) -> None:
    train(Fit(cfg, module, loss), folder or run.folder / kind, kind, run.about(), run.config.clock)


def train_policy(run: Run) -> None:
    """Improve the policy in imagination; now and then the real environment is looked at, for the report."""
    config = run.config
    experience, _ = run.experience
    surrogate = run.surrogate().requires_grad_(True)
    policy = build.build_policy(config, surrogate).to(run.device)
    if not begin_with(run, "policy", policy.actor) and config.warm_start:
        _warm_start(run, policy)
    world = run.world()
    compile_answers(world, run.device)
    if isinstance(config.learn, PPOConfig):
        policy.surrogate.requires_grad_(False)
        job = PPOIteration(config.learn, world, policy, run.for_world(experience).starts)
        if not team().leads:  # the library's iteration is the leading process's alone
            return
    else:
        critics = build.build_critics(config, surrogate).to(run.device)
        begin_with(run, "critics", critics)
        draw, starts = experience.draw, run.for_world(experience).starts
        shown = experience.best(config.cloning.best).draw if config.learn.imitation else None
        _check_shares(config.learn)
        job = PolicyIteration(config.learn, world, policy, critics, starts, draw, run.matching(), shown, team())
        if job.imitation is not None:
            begin_with(run, "imitation", job.imitation.actor)
    clock = replace(config.clock, look_every=config.watch.every)
    look = Watch(run, job) if team().leads else None
    with apart() if isinstance(job, PPOIteration) else nullcontext():
        train(job, run.folder / "policy", "policy", run.about(), clock, "steps", look)


def _check_shares(learn: ImproveConfig) -> None:
    size = team().size
    for name in SHARED:
        if getattr(learn, name) % size:
            typed = f"--learn.{name.replace('_', '-')}"
            raise UserError(f"{typed} is {getattr(learn, name)}, which {size} processes cannot share evenly")


def compile_answers(world: Any, device: torch.device) -> None:
    """Let what a world does at each step be one compiled program, on a GPU."""
    world = world.within if isinstance(world, HindsightWorld) else world
    if isinstance(world, DiffusionWorld | PixelWorld | ShortcutWorld):
        world.sample = build.compiled(world.sample, device)
    elif isinstance(world, MemoryWorld):
        world.drawn = build.compiled(world.drawn, device)
    elif isinstance(world, PictureWorld):
        world.answer = build.compiled(world.answer, device)


def _warm_start(run: Run, policy: Policy) -> None:
    """Let the policy begin where behaviour cloning of its own network ends, on what the baseline clones, too."""
    experience = run.experience[0].best(run.config.cloning.best)
    cfg, window = FitConfig(updates=run.config.warm_start, batch=512, average=0.99), run.config.learn.warm_up + 1
    if isinstance(policy.actor, PPOActor):
        with torch.no_grad():
            policy.actor.fit_statistics(warm_up(policy.surrogate, experience.draw(4096, window)).feat)
    fit = Fit(cfg, policy.actor, lambda: cloning_loss(policy, experience.draw(cfg.drawn, window)))
    folder = run.folder / "policy" / "warm_start"
    train(fit, folder, "actor", run.about(), run.config.clock)
    checkpoint = checkpoints.load(folder, "actor")
    assert checkpoint is not None
    checkpoints.restore(policy.actor, checkpoint)


def evaluate(run: Run) -> None:
    """Policy, cloning, play and random actions from the same initial states; writes `results.json` and videos."""
    config, began = run.config, time.monotonic()
    results: dict[str, Any] = {"episodes": 0, "verdict": NOT_ASKED}
    if real := real_of(run):
        results = {"episodes": config.evaluate.episodes}
        for name, controllers in _controllers(run).items():
            results[name] = _judged(run, name, controllers, real, config.evaluate.episodes).summary()
        if planned := min(config.evaluate.planned, config.evaluate.episodes):
            results["icem"] = _judged(run, "icem", planner(run), real, planned).summary()
    else:
        console.print(f"evaluate: {NOT_ASKED}")
    results["imagined_steps"] = imagined_steps(run)
    results["seconds"] = stage_seconds(run.folder) | {"evaluate": round(time.monotonic() - began, 1)}
    results["peak_memory_mib"] = round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
    results |= {"seed": config.seed, "first_seed": config.evaluate.first_seed, "preset": config.preset}
    write_json(run.folder / "results.json", results)


def imagined_steps(run: Run) -> int:
    """For how many imagined steps the judged policy was trained, as its checkpoint says."""
    checkpoint = checkpoints.load(run.kept("policy"), "policy")
    assert checkpoint is not None
    learn = json.loads(checkpoint.about["config"])["learn"]
    return checkpoint.iteration * learn["envs"] * learn["horizon"]


def _controllers(run: Run) -> dict[str, Callable[[int], Controller]]:
    """By name what makes the controller of the episodes from a seed on."""
    config, policy, cloning = run.config, run.policy("policy"), run.policy("cloning")
    controllers: dict[str, Callable[[int], Controller]] = {
        "policy": lambda _: learned(run.codec, policy, view=run.view),
        "cloning": lambda _: learned(run.codec, cloning, config.cloning.forget, run.view),
    }
    if isinstance(config.task, PushTConfig) and run.mapping is None:  # else somebody else recorded the logs
        reach = config.task.reach
        controllers["play"] = lambda seed: playing(config.play, seed, reach)
    return {**controllers, "random": lambda seed: aimless(seed, build.build_spec(config).action_dim)}


def planner(run: Run, kind: Literal["icem", "mppi"] = "icem", guided: bool = False) -> Callable[[int], Controller]:
    """What makes, for the episodes from a seed on, the controller that plans in the run's global model; `guided` by its
    policy, about what that would do."""
    config, world = run.config, run.world()
    size = build.build_spec(config).action_dim
    own = OWN_SEED * config.policy_seed
    policy = run.policy("policy") if guided else None

    def controller(seed: int) -> Controller:
        told = (world, size, seed + own)
        found = ICEM(config.icem, *told) if kind == "icem" else MPPI(config.mppi, *told)
        guide = None if policy is None else Guide(policy, world, found.cfg.horizon)
        return planning(run.codec, found, config.world.context, run.view, guide)

    return controller


def _judged(run: Run, name: str, controllers: Callable[[int], Controller], real: Real, episodes: int) -> Happened:
    """What came of the evaluation's episodes, which are kept and, of what was trained, filmed."""
    cfg, control_steps = run.config.evaluate, run.config.task.control_steps
    torch.manual_seed(run.config.seed)
    filmed = cfg.filmed if name in ("policy", "cloning") else 0
    with Ticker(name, control_steps, unit="steps", per_iteration=episodes) as tick:
        happened = real(controllers, episodes, cfg.first_seed, filmed, tick)
    folder = run.folder / "evaluation"
    with atomic_write(folder / f"{name}.npz") as draft, draft.open("wb") as file:
        np.savez(file, allow_pickle=False, **happened.arrays)
    if happened.frames:
        write_video(folder / f"{name}.mp4", happened.frames)
    return happened


def report(run: RunFolder) -> None:
    """Write `report.html`."""
    write_report(run.folder, run.store)
