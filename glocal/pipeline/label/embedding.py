"""Embeddings of frames that are learned from the logs to be labelled, and kept beside them for the next time."""

import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Literal, Protocol

import numpy as np
import torch
from torch import Tensor

from glocal.core.improve import Metrics
from glocal.data.dataset import Array, Dataset
from glocal.data.formats import open_dataset
from glocal.data.ingest import chosen, ingest, source_digest
from glocal.data.mapping import Mapping as PlanarMapping
from glocal.data.mapping import reach_in_pixels, shown
from glocal.data.remembered import remembered
from glocal.data.rewards.contrast import Contrast, ContrastConfig
from glocal.data.rewards.geodesic import geodesic
from glocal.data.store import seal
from glocal.data.streams import RobotMapping
from glocal.models.codecs.keypoints import KeypointCodec
from glocal.pipeline.build import load_trained
from glocal.pipeline.config import RobotConfig
from glocal.pipeline.label.camera import Camera, PictureReading
from glocal.pipeline.label.job import Job, Logs, ticking
from glocal.pipeline.opening import create_run
from glocal.pipeline.plan import STAGES
from glocal.pipeline.presets import PRESETS
from glocal.pipeline.previous import alone
from glocal.pipeline.run import perform
from glocal.pipeline.run_dir import Run, RunFolder
from glocal.pipeline.status import digests_of, status
from glocal.runtime.files import UserError, sha256
from glocal.runtime.progress import Ticker
from glocal.runtime.trainer import Fit, FitConfig, threads, train

Kind = Literal["codec", "contrast"]
AT_ONCE = 512


class Embed(Protocol):
    """Frames (n, size, size, 3) as numbers (n, d), and how far those of episodes are from goals (g, d)."""

    @property
    def camera(self) -> Camera: ...

    @property
    def kept(self) -> Path:
        """Where what it says of all frames is kept."""
        ...

    def of(self, frames: Array) -> Tensor: ...

    def distances(self, episodes: Sequence[Tensor], goals: Tensor) -> list[Array]: ...


@dataclass(frozen=True)
class Located:
    """The points that a codec learned on the body: distances are their mean distance, wherever the agent is."""

    codec: KeypointCodec
    camera: Camera
    kept: Path

    @torch.no_grad()
    def of(self, frames: Array) -> Tensor:
        """Points (n, 2 k), in the table's units from -1 to 1."""
        parts = torch.from_numpy(frames).split(AT_ONCE)
        return torch.cat([self.codec.points(part) for part in parts])

    def distances(self, episodes: Sequence[Tensor], goals: Tensor) -> list[Array]:
        """The mean distance of points, (n,) for each episode."""
        apart = [(z[:, None] - goals).unflatten(-1, (-1, 2)).norm(dim=-1).mean(-1) for z in episodes]
        return [one.amin(1).numpy() for one in apart]


@dataclass(frozen=True)
class Contrasted:
    """Numbers that are alike for what is shown within seconds."""

    model: Contrast
    camera: Camera
    kept: Path

    @torch.no_grad()
    def of(self, frames: Array) -> Tensor:
        """Numbers (n, d)."""
        return torch.cat([self.model(part) for part in torch.from_numpy(frames).split(AT_ONCE)])

    def distances(self, episodes: Sequence[Tensor], goals: Tensor) -> list[Array]:
        """The shortest way along what was recorded, (n,) for each episode."""
        return geodesic(episodes, goals)


def embedded(embed: Embed, dataset: Dataset) -> list[Tensor]:
    """What an embedding says of all frames, by episode; kept for the next time."""

    def embed_all() -> Array:
        return np.concatenate([embed.of(frames).numpy() for frames in _pictures(dataset, embed.camera)])

    whole = torch.from_numpy(remembered(embed.kept, sum(dataset.lengths), embed_all))
    return list(whole.split(list(dataset.lengths)))


def _pictures(dataset: Dataset, camera: Camera) -> Iterator[Array]:
    """The frames of each episode as models see them, (n, size, size, 3), with progress."""
    for number in ticking(dataset, "embed"):
        yield np.stack([shown(camera, frame) for frame in camera.film(dataset, number)])


def check_embedding(logs: Logs, kind: Kind | None) -> Kind:
    """The embedding that is asked for, by default one that the logs can have; raises `UserError` where they cannot."""
    if not isinstance(logs.known, RobotMapping):
        return kind or "codec"
    if kind == "codec":
        raise UserError(
            "a preset's codec finds the points of a body that a planar robot pushes, and these logs are of another "
            "robot; leave out --embedding codec"
        )
    return "contrast"


def learn_embedding(logs: Logs, camera: Camera, kind: Kind, updates: int) -> Embed:
    """The codec of the preset, or a time-contrastive network, learned from all but the held-out episodes.

    The work is done as in a run, in the folder beside the logs: what is there already and still holds is not done
    again, and what was interrupted goes on.
    """
    if isinstance(logs.known, RobotMapping):
        return _of_robot(logs.job, logs.known, camera, updates)
    return _of_planar(logs.job, logs.known, camera, kind, updates)


def _of_planar(job: Job, known: PlanarMapping, camera: Camera, kind: Kind, updates: int) -> Embed:
    """Learned in a run of the preset, up to its codec."""
    if job.preset not in PRESETS or not PRESETS[job.preset].task.images:
        raise UserError(f"{job.preset!r} is no preset of images; expected one as pusht")
    preset = PRESETS[job.preset]
    logs = job.path.resolve()  # `.` has no name, and no neighbours
    reach = float(reach_in_pixels(known)[0])
    config = replace(
        preset, logs=str(logs), held_out=job.held_out, seed=job.seed, threads=job.threads,
        task=replace(preset.task, reach=reach),
    )  # fmt: skip
    folder = job.work or logs.with_name(logs.name + ".work")
    stages = ("collect", "codec") if kind == "codec" else ("collect",)
    run = create_run(folder, config, stages, replace=job.work is None, advice="name another folder with --work")
    for name in stages:
        if status(run)[name].state != "done":
            perform(run, STAGES[name])
    run = Run(folder, config)
    trained = _contrast(run, updates) if kind == "contrast" else folder / "codec"
    with digests_of(folder) as digests:
        source = source_digest(logs, digests)
    kept = folder / f"frames-{source}-{_weights(trained)}.npy"
    if kind == "contrast":
        return Contrasted(load_trained(Contrast(ContrastConfig()), trained, "contrast"), camera, kept)
    if not isinstance(run.codec, KeypointCodec):
        raise UserError(f"the codec of {job.preset} finds no points; use a preset that does, or --embedding contrast")
    return Located(run.codec.cpu(), camera, kept)


def _of_robot(job: Job, known: RobotMapping, camera: Camera, updates: int) -> Embed:
    """Learned from one camera's pictures, each camera, and each crop of one, in a folder of its own."""
    logs = job.path.resolve()
    config = replace(
        PRESETS["robot"], logs=str(logs), held_out=job.held_out, seed=job.seed, threads=job.threads,
        task=RobotConfig(known),
    )  # fmt: skip
    place = job.work or logs.with_name(logs.name + ".pictures")
    run = RunFolder(place / f"{source_digest(logs)}-{seen_by(camera)}", config)
    with alone(run.folder):
        if not run.data.is_dir():
            _take_pictures(run, known, camera)
        run.store.verify()
        trained = _contrast(run, updates)
    kept = run.folder / f"frames-{_weights(trained)}.npy"
    return Contrasted(load_trained(Contrast(ContrastConfig()), trained, "contrast"), camera, kept)


def seen_by(camera: Camera) -> str:
    """What tells folders of different cameras, crops and sizes apart."""
    return hashlib.sha256(json.dumps(asdict(camera), sort_keys=True).encode()).hexdigest()[:8]


def _take_pictures(run: RunFolder, known: RobotMapping, camera: Camera) -> None:
    """Decode what the camera shows at each control step."""
    path, reading = Path(run.config.logs), PictureReading(known, camera)
    dataset = open_dataset(path)
    numbers, _ = chosen(reading, dataset.observed)
    if len(numbers) < 2:
        raise UserError(f"{path} leaves {len(numbers)} episodes to learn from and to hold out; expected 2 or more")
    with Ticker("pictures", len(numbers), unit="episodes") as tick:
        ingest(path, reading, run.data, numbers, run.config.threads, tick)
    seal(run.data, {"logs": str(path), "camera": camera.feature}, numbers)


def _weights(trained: Path) -> str:
    return sha256(trained / "last" / "model.safetensors")[:16]


def _contrast(run: RunFolder, updates: int) -> Path:
    """The folder of the time-contrastive network."""
    cfg, store = ContrastConfig(), run.store
    kept = max(1, round(len(store) * (1 - run.config.held_out)))
    lengths = np.diff(store.starts)[:kept]
    model = Contrast(cfg).to(run.device)
    folder = run.folder / f"contrast-{store.hash[:12]}-{kept}-{run.config.seed}-{updates}"
    with threads(run.config.threads):
        torch.manual_seed(run.config.seed)
        loss = partial(_batch_loss, model, store.fields["image"], torch.from_numpy(store.starts), lengths)
        fit = Fit(FitConfig(updates=updates, batch=cfg.episodes * cfg.frames, average=0.99), model, loss)
        train(fit, folder, "contrast", run.about(), run.config.clock)
    return folder


def _batch_loss(model: Contrast, images: Array, starts: Tensor, lengths: Array) -> tuple[Tensor, Metrics]:
    """The loss on random frames of random episodes, and a near neighbour of each."""
    cfg, device = model.cfg, model.sharpness.device
    episode = torch.randint(len(lengths), (cfg.episodes,)).repeat_interleave(cfg.frames)
    length = torch.from_numpy(lengths)[episode]
    time = (torch.rand(len(episode)) * length).long()
    other = (time + torch.randint(-cfg.near, cfg.near + 1, time.shape)).clamp(torch.zeros(()), length - 1).long()
    first, second = (torch.from_numpy(images[(starts[episode] + t).numpy()]).to(device) for t in (time, other))
    return model.loss(first, second, episode.to(device), time.to(device))
