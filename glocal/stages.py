"""What each stage of a run does: from its predecessors' folders to its own."""

import json
import time
from collections.abc import Mapping
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass, replace
from functools import cached_property
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from glocal import models
from glocal.agents.cloning import cloning_loss
from glocal.codecs.keypoints import KeypointCodec
from glocal.config import Config, to_dict
from glocal.core.improve import Metrics, Pilot, PolicyIteration
from glocal.core.rollout import replay, replay_surrogate
from glocal.core.types import Segment
from glocal.data.segments import Recorded
from glocal.data.store import EpisodeStore, recorded, seal, write_episode
from glocal.deploy.policy import aimless, learned, playing
from glocal.evaluate.gates import HORIZONS, Pose, Reader, drift, moving, shuffled, table
from glocal.evaluate.probe import Probe, image_reader
from glocal.evaluate.real import Episodes, run_episodes, write_video
from glocal.files import UserError, appearing, read_json, write_json
from glocal.progress import Ticker, console
from glocal.surrogates.mlp import MLPSurrogate
from glocal.tasks.collect import record_episode
from glocal.tasks.pusht import TABLE, pose_of
from glocal.training import Fit, FitConfig, train

SHOWN = 6
"""Rollouts kept for the report."""


@dataclass(frozen=True)
class Run:
    """A run's folder and configuration, and what its stages have left there."""

    folder: Path
    config: Config

    @property
    def data(self) -> Path:
        return self.folder / "data"

    @cached_property
    def store(self) -> EpisodeStore:
        return EpisodeStore.open(self.data)

    @cached_property
    def codec(self) -> Any:
        codec = models.build_codec(self.config)
        return models.load_trained(codec, self.folder / "codec", "codec") if self.config.task.images else codec

    @cached_property
    def experience(self) -> tuple[Recorded, Recorded]:
        """Recorded experience to train on, and held out."""
        return models.split_recorded(self.config, self.store, models.encode_store(self.codec, self.store))

    def world(self) -> Any:
        return models.load_trained(models.build_world(self.config), self.folder / "global", "global")

    def surrogate(self) -> Any:
        return models.load_trained(models.build_surrogate(self.config), self.folder / "local", "local")

    def pilot(self, kind: str) -> Pilot:
        """What the stage `kind` (policy or cloning) trained."""
        pilot = models.build_pilot(self.config, models.build_surrogate(self.config))
        return models.load_trained(pilot, self.folder / kind, kind)

    def about(self) -> dict[str, Any]:
        """What every checkpoint says of its origin."""
        return {"config": json.dumps(to_dict(self.config)), "data": self.store.hash}


def collect(run: Run) -> None:
    """Record play, several episodes at once; episodes that stand already are kept."""
    config = run.config
    count = max(1, round(config.play.decisions / config.task.decisions))
    missing = sorted(set(range(count)) - recorded(run.data))
    seen_size = 64 * 64 * 3 if config.task.images else 0
    size = count * (config.task.decisions + 1) * (seen_size + 112) / 1e6
    console.print(f"collect: {count} episodes, about {size:.0f} MB in {run.data}")
    pool = ProcessPoolExecutor(config.processes, mp_context=get_context("spawn"))
    try:
        with Ticker("collect", count, count - len(missing), "decisions", config.task.decisions) as tick:
            for task in as_completed([pool.submit(_record, run.data, config, number) for number in missing]):
                task.result()
                tick(tick.done + 1)
    finally:
        pool.shutdown(cancel_futures=True)
    seal(run.data, {"preset": config.preset, "seed": config.seed, "play": to_dict(config)["play"]})


def _record(folder: Path, config: Config, number: int) -> None:
    torch.set_num_threads(1)
    write_episode(folder, number, record_episode(config.task, config.play, config.seed, number))


def describe_data(store: EpisodeStore) -> dict[str, Any]:
    """What was recorded: how much of it moves the block, and the histogram of coverage."""
    pose, starts = store.fields["pose"], store.starts[:-1]
    moved = np.abs(np.diff(pose, axis=0)).max(1) > 0.1
    moved[starts[1:] - 1] = False
    coverage = np.asarray(store.fields["coverage"])
    edges = [0, 0.01, 0.2, 0.4, 0.6, 0.8, 0.9, 0.95, 1.001]
    histogram = np.histogram(coverage, edges)[0] / len(coverage)
    return {
        "episodes": len(store),
        "decisions": int(store.starts[-1]) - len(store),
        "moving_share": float(moved.sum() / (store.starts[-1] - len(store))),
        "coverage_edges": edges,
        "coverage_share": [float(share) for share in histogram],
    }


def train_codec(run: Run) -> None:
    """Fit the learned keypoints to images; tracked keypoints need no codec."""
    if not run.config.task.images:
        return
    codec = KeypointCodec(run.config.codec, TABLE)
    images = run.store.fields["image"]
    kept = int(run.store.starts[max(1, round(len(run.store) * (1 - run.config.evaluate.held_out)))])
    rng = np.random.default_rng(run.config.seed)
    codec.measure(torch.from_numpy(images[np.sort(rng.choice(kept, min(400, kept), replace=False))]))

    def loss() -> tuple[Tensor, Metrics]:
        rows = torch.randint(kept, (run.config.codec_fit.batch,)).sort().values
        return codec.loss(torch.from_numpy(images[rows.numpy()]))

    _fit(run, "codec", codec, run.config.codec_fit, loss)


def train_global(run: Run) -> None:
    """Fit the global model to recorded windows."""
    experience, _ = run.experience
    world, cfg = models.build_world(run.config), run.config.world_fit
    world.measure(*experience.pairs())
    length = run.config.world.context + 1
    _fit(run, "global", world, cfg, lambda: world.loss(experience.draw(cfg.batch, length)))


def train_local(run: Run) -> None:
    """Pretrain the local model on recorded windows."""
    experience, _ = run.experience
    surrogate, cfg = models.build_surrogate(run.config), run.config.surrogate_fit
    if isinstance(surrogate, MLPSurrogate):
        surrogate.measure(*experience.pairs())
    length = run.config.surrogate_length
    _fit(run, "local", surrogate, cfg, lambda: surrogate.loss(experience.draw(cfg.batch, length)))


def train_cloning(run: Run) -> None:
    """Behaviour cloning on the same logs, with the same network and beliefs."""
    experience, _ = run.experience
    surrogate, cfg = run.surrogate(), run.config.cloning_fit
    pilot, window = models.build_pilot(run.config, surrogate), run.config.cloning.window
    _fit(run, "cloning", pilot, cfg, lambda: cloning_loss(pilot, experience.draw(cfg.batch, window)))


def _fit(run: Run, kind: str, module: nn.Module, cfg: FitConfig, loss: Any, folder: Path | None = None) -> None:
    train(Fit(cfg, module, loss), folder or run.folder / kind, kind, run.about(), run.config.clock)


def train_policy(run: Run) -> None:
    """Improve the policy in imagination; now and then the real environment is looked at, for the report."""
    config = run.config
    experience, _ = run.experience
    surrogate = run.surrogate().requires_grad_(True)
    pilot, critics = models.build_pilot(config, surrogate), models.build_critics(config, surrogate)
    job = PolicyIteration(config.learn, run.world(), pilot, critics, experience.starts, experience.draw)

    def look() -> Mapping[str, float]:
        controller = learned(run.codec, pilot)
        with torch.random.fork_rng():
            episodes = run_episodes(config.task, controller, config.evaluate.watch_episodes, config.evaluate.watch_seed)
        summary = episodes.summary()
        return {
            "eval/pose": float(episodes.pose.mean()),
            "eval/coverage95": float(episodes.success.mean()),
            "eval/max_coverage": summary["max_coverage"],
            "imag/steps": float(job.iteration * job.per_iteration),
        }

    clock = replace(config.clock, look_every=config.evaluate.watch_every)
    train(job, run.folder / "policy", "policy", run.about(), clock, "steps", look)


def keypoint_reader(run: Run) -> Reader:
    """Reads poses off tracked keypoints."""

    def read(obs: Tensor) -> Pose:
        fields = run.codec.decode(obs)
        pose = pose_of(fields["keypoints"].numpy())
        return Pose(fields["agent"].numpy(), pose[..., :2], pose[..., 2])

    return read


def train_probe(run: Run) -> Probe:
    """The network that reads poses off images, fitted to recorded frames and to what the codec makes of them."""
    config, store = run.config, run.store
    experience, _ = run.experience
    probe, rows = Probe(config.probe), len(experience)
    images, agent, pose = (store.fields[name] for name in ("image", "agent", "pose"))

    def loss() -> tuple[Tensor, Metrics]:
        picked = torch.randint(rows, (config.probe_fit.batch,)).sort().values
        shown = torch.from_numpy(images[picked.numpy()])
        with torch.no_grad():
            redrawn = run.codec.decode(experience.steps.obs[picked])["image"]
        shown = torch.where((torch.rand(len(picked)) < 0.5)[:, None, None, None], shown, redrawn)
        where = [torch.from_numpy(field[picked.numpy()]) for field in (agent, pose)]
        return probe.loss(shown, where[0], where[1], TABLE)

    _fit(run, "probe", probe, config.probe_fit, loss)
    return models.load_trained(Probe(config.probe), run.folder / "probe", "probe")


def check_gates(run: Run) -> None:
    """Measure the models on held-out episodes; prints a table, writes `gates.json`."""
    images = run.config.task.images
    read = image_reader(train_probe(run), run.codec, TABLE) if images else keypoint_reader(run)
    window, horizon = run.config.world.context, max(HORIZONS)
    whole, truth, everything = _gate_windows(run, window, horizon)
    begin, action = whole[:, :window], whole.action[:, window:]
    world, surrogate = run.world(), run.surrogate()
    answer = replay(world, begin, action, key=run.config.seed)
    rows = {
        "global model": drift(read, answer.obs, truth),
        "global, shuffled actions": drift(read, replay(world, begin, shuffled(action), run.config.seed).obs, truth),
        "local model": drift(read, replay_surrogate(surrogate, begin, action), truth),
        "nothing moves": drift(read, begin.obs[:, -1:].expand(-1, horizon, -1), truth),
        "recorded, as it is read": drift(read, whole.obs[:, window:], truth),
    }
    reward, _ = world.outcome(whole.obs[:, window:])
    error = (reward.detach() - whole.reward[:, window:]).abs()
    rollout_error = (answer.reward - whole.reward[:, window:]).abs().mean(0)
    near = whole.reward[:, window:] > 0.7
    gates = {
        "windows": len(action),
        "windows_looked_at": everything,
        "drift": rows,
        "reward_head": {
            "mean_error": float(error.mean()),
            "mean_error_near_goal": float(error[near].mean()) if near.any() else None,
            "rollout_error": {str(h): float(rollout_error[h - 1]) for h in HORIZONS},
        },
    }
    shown = torch.linspace(0, len(action) - 1, min(SHOWN, len(action))).long()
    _keep_rollouts(run, whole.obs[shown, window:], answer.obs[shown])
    write_json(run.folder / "gates.json", gates)
    console.print("gates: agent px, block px, angle rad (medians over held-out windows in which the block moves)")
    console.print("\n".join(table(rows)))
    console.print(f"reward head: mean error {gates['reward_head']['mean_error']:.4f}")


def _keep_rollouts(run: Run, recorded_obs: Tensor, imagined_obs: Tensor) -> None:
    """Keep a few recorded and imagined rollouts, decoded, for the report."""
    with torch.no_grad():
        both = {"recorded": run.codec.decode(recorded_obs), "imagined": run.codec.decode(imagined_obs)}
    flat = {f"{side}_{name}": field.numpy() for side, fields in both.items() for name, field in fields.items()}
    with appearing(run.folder / "gates" / "rollouts.npz") as draft, draft.open("wb") as file:
        np.savez(file, **flat)


def _gate_windows(run: Run, window: int, horizon: int, every: int = 7) -> tuple[Segment, Pose, int]:
    """Held-out windows (n, window + horizon, ...) in which the block moves, their poses, and the number looked at."""
    _, held_out = run.experience
    last = torch.arange(horizon, len(held_out), every)
    last = last[held_out.first[last] <= last - horizon]
    offset = int(run.store.starts[-1]) - len(held_out)
    rows = (offset + last[:, None] + torch.arange(-horizon, 1)).numpy()
    agent, pose = run.store.fields["agent"][rows], run.store.fields["pose"][rows]
    truth = Pose(agent, pose[..., :2], pose[..., 2])
    keep = moving(truth)
    if not keep.any():
        raise UserError(f"the block moves in none of {len(last)} held-out windows; collect more decisions")
    whole = held_out.windows(last[torch.from_numpy(keep)], window + horizon)
    return whole, Pose(*(part[keep, 1:] for part in truth)), len(last)


def evaluate(run: Run) -> None:
    """Policy, cloning, play and random actions from the same initial states; writes `results.json` and videos."""
    config, began = run.config, time.monotonic()
    policy, cloning = run.pilot("policy"), run.pilot("cloning")
    controllers = {
        "policy": learned(run.codec, policy),
        "cloning": learned(run.codec, cloning),
        "play": playing(config.play, config.evaluate.first_seed),
        "random": aimless(config.evaluate.first_seed),
    }
    results: dict[str, Any] = {"episodes": config.evaluate.episodes}
    for name, controller in controllers.items():
        torch.manual_seed(config.seed)
        filmed = config.evaluate.filmed if name in ("policy", "cloning") else 0
        ways = config.evaluate
        episodes = run_episodes(config.task, controller, ways.episodes, ways.first_seed, filmed, name)
        results[name] = episodes.summary()
        _keep_episodes(run.folder / "evaluation", name, episodes)
    results["imagined_steps"] = config.learn.iterations * config.learn.envs * config.learn.horizon
    results["seconds"] = stage_seconds(run.folder) | {"evaluate": round(time.monotonic() - began, 1)}
    results |= {"seed": config.seed, "first_seed": config.evaluate.first_seed, "preset": config.preset}
    write_json(run.folder / "results.json", results)


def stage_seconds(folder: Path) -> dict[str, float]:
    """How long each finished stage took, all attempts together."""
    stamps = sorted((folder / "stages").glob("*.json"))
    return {path.stem: round(read_json(path)["seconds"], 1) for path in stamps if "." not in path.stem}


def _keep_episodes(folder: Path, name: str, episodes: Episodes) -> None:
    with appearing(folder / f"{name}.npz") as draft, draft.open("wb") as file:
        np.savez(
            file,
            agent=episodes.agent.astype(np.float32),
            keypoints=episodes.keypoints.astype(np.float32),
            pose=episodes.pose,
            coverage=episodes.coverage,
            distance=episodes.distance,
        )
    if episodes.frames:
        write_video(folder / f"{name}.mp4", episodes.frames)
