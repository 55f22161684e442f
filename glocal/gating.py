"""The gates as a stage: rollouts of the models on held-out episodes, read in pixels and radians."""

from typing import Any

import numpy as np
import torch
from torch import Tensor

from glocal import models
from glocal.core.improve import Metrics
from glocal.core.rollout import replay, replay_surrogate
from glocal.core.types import Segment, Step
from glocal.evaluate.gates import HORIZONS, Pose, Reader, drift, moving, shuffled, table
from glocal.evaluate.probe import Probe, image_reader
from glocal.files import UserError, appearing, write_json
from glocal.models import Run
from glocal.progress import console
from glocal.tasks.pusht import TABLE, pose_of
from glocal.training import Fit, train
from glocal.worlds.keypoints import KeypointWorld

SHOWN = 6
"""Rollouts kept for the report."""
NEAR = 0.7
"""Rewards above this count as near the goal."""


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

    folder = run.folder / "gates" / "probe"
    train(Fit(config.probe_fit, probe, loss), folder, "probe", run.about(), config.clock)
    return models.load_trained(Probe(config.probe), folder, "probe")


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
    head = reward_errors(world, whole[:, window:], answer)
    shown = torch.linspace(0, len(action) - 1, min(SHOWN, len(action))).long()
    _keep_rollouts(run, whole.obs[shown, window:], answer.obs[shown])
    gates = {"windows": len(action), "windows_looked_at": everything, "drift": rows, "reward_head": head}
    write_json(run.folder / "gates.json", gates)
    console.print("gates: agent px, block px, angle rad (medians over held-out windows in which the block moves)")
    console.print("\n".join(table(rows)))
    console.print(f"reward head: mean error {head['mean_error']:.4f}")


@torch.no_grad()
def reward_errors(world: KeypointWorld, seen: Segment, answer: Step) -> dict[str, Any]:
    """Mean errors of the reward head on recorded observations, near the goal, and along the model's own rollouts."""
    error = (world.outcome(seen.obs)[0] - seen.reward).abs()
    along = (answer.reward - seen.reward).abs().mean(0)
    near = seen.reward > NEAR
    return {
        "mean_error": float(error.mean()),
        "mean_error_near_goal": float(error[near].mean()) if near.any() else None,
        "rollout_error": {str(h): float(along[h - 1]) for h in HORIZONS},
    }


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
