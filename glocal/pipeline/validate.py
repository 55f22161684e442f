"""The gates as a stage: rollouts of the models on held-out episodes, compared with what was recorded."""

import math
from collections.abc import Callable, Mapping
from dataclasses import asdict
from typing import Any

import numpy as np
import torch
from jaxtyping import Int
from numpy.typing import NDArray
from torch import Tensor

from glocal.core.features import Featurizer
from glocal.core.gradients import LINKS
from glocal.core.improve import Metrics
from glocal.core.pictures import unpacked
from glocal.core.rollout import replay, replay_surrogate
from glocal.core.spec import Spec
from glocal.core.types import Segment, Step
from glocal.data.segments import Recorded
from glocal.evaluate.gates import (
    HORIZONS,
    Pose,
    Reader,
    checks,
    drift,
    errors,
    moving,
    reward_checks,
    shuffled,
    stream_checks,
    stream_drift,
    stream_table,
    summary,
    table,
)
from glocal.evaluate.gradients import Question, agreement
from glocal.evaluate.probe import Probe
from glocal.models.codecs.cameras import CamerasCodec
from glocal.models.codecs.egocentric import EgocentricCodec
from glocal.models.rigid2d.scene import Scene
from glocal.models.worlds.pictures import PictureWorld
from glocal.models.worlds.vectors import VectorWorld
from glocal.pipeline import build
from glocal.pipeline.build import GlobalModel
from glocal.pipeline.config import RobotConfig
from glocal.pipeline.run_dir import Modelled
from glocal.runtime.files import UserError, atomic_write, write_json
from glocal.runtime.progress import console
from glocal.runtime.trainer import Fit, train
from glocal.tasks.pusht import IMAGE_SIZE, TABLE, pose_of

SHOWN = 6
"""Rollouts kept for the report."""
NEAR = 0.7
"""Rewards above this count as near the goal."""
FAR = 30.0
"""Pixels that the block moves in the windows that global models of images are judged by."""
COMPARED = 64
"""Windows in which gradients are compared."""
FRAMES = 2000
"""Held-out frames that a codec is judged by."""
DRAWN_AT_ONCE = 32
JUDGED_AT_ONCE = 64
"""Of these, decoded together: pictures of several cameras are large."""


def keypoint_reader(run: Modelled) -> Reader:
    """Reads poses off tracked keypoints."""

    def read(obs: Tensor) -> Pose:
        fields = {name: field.cpu().numpy() for name, field in run.codec.decode(obs).items()}
        pose = pose_of(fields["keypoints"])
        return Pose(fields["agent"], pose[..., :2], pose[..., 2])

    return read


def train_probe(run: Modelled) -> Probe:
    """The network that reads poses off what the codec made of recorded images."""
    config, store = run.config, run.store
    experience, _ = run.experience
    recorded = (torch.tensor(store.fields[name][: len(experience)]) for name in ("agent", "pose"))
    agent, pose = (field.to(run.device) for field in recorded)

    def loss() -> tuple[Tensor, Metrics]:
        rows = torch.randint(len(experience), (config.probe_fit.drawn,), device=run.device)
        return probe.loss(experience.steps.obs[rows], agent[rows], pose[rows], TABLE)

    probe = Probe(config.probe, build.build_spec(config)).to(run.device)
    folder = run.folder / "gates" / "probe"
    train(Fit(config.probe_fit, probe, loss), folder, "probe", run.about(), config.clock)
    return build.load_trained(probe, folder, "probe")


def check_gates(run: Modelled) -> None:
    """Measure codec and models on held-out episodes; prints what was found, writes `gates.json`."""
    check_robot_gates(run) if isinstance(run.config.task, RobotConfig) else check_planar_gates(run)


def check_planar_gates(run: Modelled) -> None:
    """Gates of a planar robot: where agent and block are, in pixels and radians."""
    images = run.config.task.images
    read = reader(run)
    window, horizon = run.config.world.context, max(HORIZONS)
    whole, truth, everything = gate_windows(run, read, window, horizon)
    begin, action = whole[:, :window], whole.action[:, window:]
    world, surrogate = run.world(), run.surrogate()
    filmed = Filmed(world, _spread(len(action)))
    answer = replay(filmed, begin, action, key=run.config.seed)
    rollouts = {
        "global model": answer.obs,
        "global, shuffled actions": replay(world, begin, shuffled(action), run.config.seed).obs,
        "local model": replay_surrogate(surrogate, begin, action),
        "nothing moves": begin.obs[:, -1:].expand(-1, horizon, -1),
        "recorded, as it is read": whole.obs[:, window:],
    }
    found = {name: read(obs) for name, obs in rollouts.items()}
    far = moving(truth, pixels=FAR)
    gates: dict[str, Any] = {
        "windows": len(action),
        "windows_looked_at": everything,
        "windows_far": int(far.sum()),
        "drift": {name: drift(poses, truth) for name, poses in found.items()},
        "drift_far": {
            name: drift(_chosen(poses, far), _chosen(truth, far)) for name, poses in found.items() if far.any()
        },
        "reward_head": reward_errors(world, whole, answer),
        "gradient": gradients(run, world, surrogate, begin, action),
    }
    if images:
        gates["codec"] = check_codec(run, read)
    gates["checks"] = checks(gates, run.config.gates) + reward_checks(gates["reward_head"])
    _keep_rollouts(run, filmed, whole, answer.obs)
    write_json(run.folder / "gates.json", gates)
    console.print("gates: agent px, block px, angle rad (medians over held-out windows in which the block moves)")
    for line in (*table(gates["drift"]), *summary(gates)):
        console.print(line)


def gradients(run: Modelled, world: GlobalModel, surrogate: Any, begin: Segment, action: Tensor) -> dict[str, Any]:
    """How far each link's gradient by recorded actions is from a finite difference of the global model's return."""
    rows = torch.arange(0, len(action), max(1, len(action) // COMPARED))[:COMPARED]
    learn = run.config.learn
    question = Question(world, surrogate, begin[rows], action[rows, : learn.horizon], learn.gamma, learn.horizon)
    found = agreement(question, {name: LINKS[name] for name in ("decouple", "imagine", "bptt")})
    return {name: asdict(one) for name, one in found.items()}


@torch.no_grad()
def check_codec(run: Modelled, read: Reader) -> dict[str, float]:
    """How well held-out frames can be read (medians; where poses are recorded), and drawn again (peak signal-to-noise
    ratio, in dB)."""
    _, held_out = run.experience
    rows = torch.arange(0, len(held_out), max(1, len(held_out) // FRAMES))
    stored = held_out.stored[rows].numpy()
    fields, obs = run.store.fields, held_out.steps.obs[rows]
    error = {}
    if _tracked(run):
        pose = fields["pose"][stored]
        error = errors(read(obs), Pose(fields["agent"][stored], pose[:, :2], pose[:, 2]))
    drawn = torch.cat([run.codec.decode(part)["image"].cpu() for part in obs.split(DRAWN_AT_ONCE)])
    found = in_db(mean_squared(drawn, torch.from_numpy(fields["image"][stored])))
    return {name: float(np.median(each)) for name, each in error.items()} | {"psnr_db": found}


def shape_reader(run: Modelled) -> Reader:
    """Reads poses off a body's learned points, where no pose was ever recorded: its angle counts from that of the
    shape that the global model found."""
    world = run.world()
    if not isinstance(world, VectorWorld) or not isinstance(scene := world.features, Scene):
        raise UserError(
            "these logs hold no poses, and a latent grid cannot be read without; use a preset of keypoints, or "
            "`glocal data label tracker`, which writes them"
        )

    def read(obs: Tensor) -> Pose:
        flat = obs.flatten(0, -2)
        centre, turn = (part.unflatten(0, obs.shape[:-1]) for part in scene.frame(flat))
        angle = torch.atan2(turn[..., 1], turn[..., 0])
        agent, block = ((part + 1) * (TABLE / 2) for part in (obs[..., -2:], centre))
        return Pose(agent.cpu().numpy(), block.cpu().numpy(), angle.cpu().numpy())

    return read


def reader(run: Modelled) -> Reader:
    """Reads poses off a run's observations: exactly from tracked keypoints, by a probe from what codecs make."""
    if not run.config.task.images:
        return keypoint_reader(run)
    if not _tracked(run):
        return shape_reader(run)
    probe = train_probe(run)
    return lambda obs: probe.read(obs, TABLE)


def _tracked(run: Modelled) -> bool:
    """Whether agent and block were tracked in what is recorded."""
    return {"agent", "pose"} <= set(run.store.fields)


@torch.no_grad()
def reward_errors(world: GlobalModel, whole: Segment, answer: Step) -> dict[str, Any]:
    """Mean errors of the reward head on what was recorded (n, T, ...), beside how far that is from its median, near the
    goal, and along the model's own rollouts (n, horizon, ...), which end where the recorded windows do."""
    horizon = answer.reward.shape[1]
    parts = [whole[i : i + JUDGED_AT_ONCE] for i in range(0, len(whole.reward), JUDGED_AT_ONCE)]
    told = torch.cat([world.outcomes(part)[0] for part in parts])[:, -horizon:]
    recorded = whole.reward[:, -horizon:]
    error, along = (told - recorded).abs(), (answer.reward - recorded).abs().mean(0)
    near = recorded > NEAR
    return {
        "mean_error": float(error.mean()),
        "spread": float((recorded - recorded.median()).abs().mean()),
        "mean_error_near_goal": float(error[near].mean()) if near.any() else None,
        "rollout_error": {str(h): float(along[h - 1]) for h in HORIZONS},
    }


def _spread(count: int) -> Tensor:
    """A few of so many windows, from the first to the last."""
    return torch.linspace(0, count - 1, min(SHOWN, count)).long()


class Filmed:
    """A world of which some elements' pictures are kept, where it draws any."""

    def __init__(self, world: GlobalModel, shown: Tensor):
        self.world, self.shown = world, shown
        self.films: list[dict[str, Tensor]] = []

    def begin(self, segment: Segment, key: int) -> Any:
        """See `World.begin`."""
        return self.world.begin(segment, key)

    def step(self, context: Any, action: Tensor) -> tuple[Any, Step]:
        """See `World.step`."""
        context, seen = self.world.step(context, action)
        if isinstance(self.world, PictureWorld):
            self.films.append(self.world.pictures(context[self.shown]))
        return context, seen

    def pictures(self) -> dict[str, NDArray[Any]]:
        """Those of each camera, (n, H, s, s, 3)."""
        names = self.films[0] if self.films else ()
        films = {name: torch.stack([film[name] for film in self.films], 1) for name in names}
        return {f"imagined_{name}": film.cpu().numpy() for name, film in films.items()}


@torch.no_grad()
def _keep_rollouts(run: Modelled, filmed: Filmed, whole: Segment, imagined: Tensor) -> None:
    """Keep a few recorded and imagined rollouts for the report, decoded, and as points where they are made of those."""
    shown = filmed.shown
    spec, kept, window = build.build_spec(run.config), {}, run.config.world.context
    for side, obs in (("recorded", whole.obs[shown, window:]), ("imagined", imagined[shown])):
        kept |= {f"{side}_{name}": field.cpu().numpy() for name, field in run.codec.decode(obs).items()}
        if spec.parts[0].name == "points":
            kept[f"{side}_points"] = ((obs[..., spec.columns("points")] + 1) * (TABLE / 2)).cpu().numpy()
    if whole.pictures is not None:
        kept["recorded_image"] = unpacked(whole.pictures[shown, window:], [IMAGE_SIZE])[0].cpu().numpy()
    kept |= filmed.pictures()
    with atomic_write(run.folder / "gates" / "rollouts.npz") as draft, draft.open("wb") as file:
        np.savez(file, **kept)


def gate_windows(run: Modelled, read: Reader, window: int, horizon: int, every: int = 7) -> tuple[Segment, Pose, int]:
    """Held-out windows (n, window + horizon, ...) in which the block moves, their poses, and the number looked at.

    Poses are the recorded ones, or else what is read off the recorded observations.
    """
    _, held_out = run.experience
    last = _ends(held_out, horizon, every)
    rows = last[:, None] + torch.arange(-horizon, 1)
    if _tracked(run):
        stored = held_out.stored[rows].numpy()
        agent, pose = run.store.fields["agent"][stored], run.store.fields["pose"][stored]
        truth = Pose(agent, pose[..., :2], pose[..., 2])
    else:
        truth = read(held_out.steps.obs[rows.to(run.device)])
    keep = moving(truth, pixels=10.0, radians=0.15)
    if not keep.any():
        raise UserError(f"the block moves in none of {len(last)} held-out windows; collect more control steps")
    whole = run.for_world(held_out).windows(last[torch.from_numpy(keep)].to(run.device), window + horizon)
    return whole, Pose(*(part[keep, 1:] for part in truth)), len(last)


def _chosen(poses: Pose, rows: NDArray[np.bool_]) -> Pose:
    return Pose(*(part[rows] for part in poses))


def found_in_logs(codec: Any, world: Any) -> list[str]:
    """What was found of what the robot is and sees, which nobody told, in words."""
    said = codec.found() if isinstance(codec, EgocentricCodec) else []
    features = getattr(world, "features", None)
    return [*said, *filter(None, [features.found()])] if isinstance(features, Featurizer) else said


def check_robot_gates(run: Modelled) -> None:
    """Gates of any robot: each stream, in standard deviations of what was recorded, where much of it moves."""
    window, horizon = run.config.world.context, max(HORIZONS)
    whole, last, everything = moving_windows(run, window, horizon)
    begin, action, truth = whole[:, :window], whole.action[:, window:], whole.obs[:, window:]
    world, surrogate, key = run.world(), run.surrogate(), run.config.seed
    filmed = Filmed(world, torch.arange(min(SHOWN, len(action))))
    answer = replay(filmed, begin, action, key)
    rollouts = {
        "global model": answer.obs,
        "global, shuffled actions": replay(world, begin, shuffled(action), key).obs,
        "local model": replay_surrogate(surrogate, begin, action),
        "nothing moves": begin.obs[:, -1:].expand(-1, horizon, -1),
    }
    split = parts_of(run)
    gates: dict[str, Any] = {
        "windows": len(action),
        "windows_looked_at": everything,
        "drift": {name: stream_drift(split, obs, truth) for name, obs in rollouts.items()},
        "reward_head": reward_errors(world, whole, answer),
        "gradient": gradients(run, world, surrogate, begin, action),
    }
    if isinstance(run.codec, CamerasCodec):
        gates["cameras"] = draws_again(run, run.codec)
    gates["found"] = found_in_logs(run.codec, world)
    cameras = getattr(run.codec, "cameras", ())
    gates["checks"] = stream_checks(gates["drift"], cameras) + reward_checks(gates["reward_head"])
    _keep_streams(run, last[:SHOWN], truth[:SHOWN], answer.obs[:SHOWN], filmed.pictures())
    write_json(run.folder / "gates.json", gates)
    console.print("gates: root mean square error of each stream, in its standard deviations (medians over windows)")
    for line in (*stream_table(gates["drift"]), *summary(gates)):
        console.print(line)


def parts_of(run: Modelled) -> Callable[[Tensor], Mapping[str, Tensor]]:
    """Observations by stream and camera, as they are measured."""
    return run.codec.unmarked if isinstance(run.codec, CamerasCodec) else build.build_spec(run.config).split


@torch.no_grad()
def draws_again(run: Modelled, codec: CamerasCodec) -> dict[str, dict[str, float]]:
    """How well each camera's held-out pictures are drawn again: peak signal-to-noise ratio, in dB."""
    _, held_out = run.experience
    rows = torch.arange(0, len(held_out), max(1, len(held_out) // FRAMES))
    squared = dict.fromkeys(codec.cameras, 0.0)
    for some in rows.split(DRAWN_AT_ONCE):
        drawn = codec.decode(held_out.steps.obs[some.to(run.device)])
        for name in codec.cameras:
            truth = torch.from_numpy(run.store.fields[name][held_out.stored[some].numpy()])
            squared[name] += len(some) / len(rows) * mean_squared(drawn[name].cpu(), truth)
    return {name: {"psnr_db": in_db(error)} for name, error in squared.items()}


def mean_squared(found: Tensor, truth: Tensor) -> float:
    """Mean squared error of pictures of bytes, in shares of 255."""
    return float((found.float() - truth.float()).div(255).pow(2).mean())


def in_db(squared: float) -> float:
    """A mean squared error as peak signal-to-noise ratio, in dB."""
    return -10 * math.log10(max(squared, 1e-10))


@torch.no_grad()
def _keep_streams(
    run: Modelled, last: Tensor, recorded: Tensor, imagined: Tensor, pictures: dict[str, NDArray[Any]]
) -> None:
    """Keep a few rollouts (n, H, d) for the report, as numbers with their names and, of cameras, as pictures: those of
    the camera up to the held-out rows `last`, and what the codec draws of observations, or the world itself drew."""
    spec, sides = build.build_spec(run.config), {"recorded": recorded, "imagined": imagined}
    columns = _numbers(run, spec)
    kept = {name: obs[..., columns].cpu().numpy() for name, obs in sides.items()}
    kept["names"] = np.array(_names(run, spec))
    if isinstance(run.codec, CamerasCodec):
        rows = run.experience[1].stored[last[:, None] + torch.arange(1 - recorded.shape[1], 1)]
        drawn = {name: run.codec.decode(obs) for name, obs in sides.items()}
        for name in run.codec.cameras:
            kept |= {f"{side}_{name}": drawn[side][name].cpu().numpy() for side in sides}
            kept[f"seen_{name}"] = run.store.fields[name][rows.numpy()]
        for side, obs in sides.items():
            kept |= {f"marks_{side}_{name}": x.cpu().numpy() for name, x in run.codec.on_robot(obs).items()}
        kept |= pictures
    with atomic_write(run.folder / "gates" / "rollouts.npz") as draft, draft.open("wb") as file:
        np.savez(file, allow_pickle=False, **kept)


def _names(run: Modelled, spec: Spec) -> list[str]:
    """What the numbers of an observation are called: by stream, and column of its feature."""
    task = run.config.task
    streams = {one.name: one.columns for one in task.mapping.streams} if isinstance(task, RobotConfig) else {}
    parts = (part for part in spec.parts if part.name not in _filmed(run))
    return [f"{part.name} {column}" for part in parts for column in streams.get(part.name, range(part.size))]


def _filmed(run: Modelled) -> tuple[str, ...]:
    """The parts of an observation that stand for pictures."""
    return run.codec.cameras if isinstance(run.codec, CamerasCodec) else ()


def _numbers(run: Modelled, spec: Spec) -> list[int]:
    """Which numbers of an observation are no part of a picture."""
    columns = (spec.columns(part.name) for part in spec.parts if part.name not in _filmed(run))
    return [i for one in columns for i in range(one.start, one.stop)]


def _ends(held_out: Recorded, horizon: int, every: int) -> Int[Tensor, " n"]:
    """Rows of held-out episodes that come `horizon` control steps after another one of the same; raises `UserError`
    where there are none."""
    last = torch.arange(horizon, max(horizon, len(held_out)), every)
    last = last[held_out.first.cpu()[last] <= last - horizon]
    if not len(last):
        raise UserError(f"no held-out episode is longer than {horizon} control steps, which the gates look ahead")
    return last


def moving_windows(run: Modelled, window: int, horizon: int, every: int = 7) -> tuple[Segment, Tensor, int]:
    """The half of held-out windows (n, window + horizon, ...) in which most moves, the held-out rows (n) that they end
    with, and the number looked at."""
    _, held_out = run.experience
    last = _ends(held_out, horizon, every)
    obs, rows = held_out.steps.obs, last.to(run.device)
    way = (obs[rows] - obs[rows - horizon]).norm(dim=-1)
    most = way >= way.median()
    return run.for_world(held_out).windows(rows[most], window + horizon), last[most.cpu()], len(last)
