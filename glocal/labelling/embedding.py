"""Embeddings of frames that are learned from the logs to be labelled, and kept beside them for the next time."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from glocal.codecs.keypoints import KeypointCodec
from glocal.config import PRESETS
from glocal.core.improve import Metrics
from glocal.data.dataset import Array, Dataset
from glocal.data.ingest import mapping_of, source_digest
from glocal.data.mapping import Mapping, reach_in_pixels, shown
from glocal.data.remembered import remembered
from glocal.files import UserError, sha256
from glocal.labelling.job import Job, ticking
from glocal.labels.contrast import Contrast, ContrastConfig
from glocal.labels.geodesic import geodesic
from glocal.models import load_trained
from glocal.opening import create_run
from glocal.plan import STAGES
from glocal.run import perform
from glocal.status import digests_of, status
from glocal.training import Fit, FitConfig, threads, train
from glocal.workspace import Run

AT_ONCE = 512


class Embed(Protocol):
    """Frames (n, size, size, 3) as numbers (n, d), and how far those of episodes are from goals (g, d)."""

    @property
    def mapping(self) -> Mapping: ...

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
    mapping: Mapping
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
    mapping: Mapping
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
        return np.concatenate([embed.of(frames).numpy() for frames in _pictures(dataset, embed.mapping)])

    whole = torch.from_numpy(remembered(embed.kept, sum(dataset.lengths), embed_all))
    return list(whole.split(list(dataset.lengths)))


def _pictures(dataset: Dataset, known: Mapping) -> Iterator[Array]:
    """The frames of each episode as models see them, (n, size, size, 3), with progress."""
    for number in ticking(dataset, "embed"):
        frames = dataset.episode(number, [known.camera])[known.camera]
        yield np.stack([shown(known, frame) for frame in frames])


def learn_embedding(job: Job, dataset: Dataset, kind: str, updates: int) -> Embed:
    """The codec of the preset, or a time-contrastive network, learned from all but the held-out episodes.

    The work is done as in a run, in the folder beside the logs: what is there already and still holds is not done
    again, and what was interrupted goes on.
    """
    if job.preset not in PRESETS or not PRESETS[job.preset].task.images:
        raise UserError(f"{job.preset!r} is no preset of images; expected one as pusht")
    preset = PRESETS[job.preset]
    logs = job.path.resolve()  # `.` has no name, and no neighbours
    reach = float(reach_in_pixels(mapping_of(logs, dataset))[0])
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
    assert run.mapping is not None
    trained = _contrast(run, updates) if kind == "contrast" else folder / "codec"
    with digests_of(folder) as digests:
        source = source_digest(logs, digests)
    kept = folder / f"frames-{source}-{sha256(trained / 'last' / 'model.safetensors')[:16]}.npy"
    if kind == "contrast":
        return Contrasted(load_trained(Contrast(ContrastConfig()), trained, "contrast"), run.mapping, kept)
    if not isinstance(run.codec, KeypointCodec):
        raise UserError(f"the codec of {job.preset} finds no points; use a preset that does, or --embedding contrast")
    return Located(run.codec.cpu(), run.mapping, kept)


def _contrast(run: Run, updates: int) -> Path:
    """The folder of the time-contrastive network."""
    cfg, store = ContrastConfig(), run.store
    kept = round(len(store) * (1 - run.config.held_out))
    lengths = np.diff(store.starts)[:kept]
    model = Contrast(cfg).to(run.device)
    folder = run.folder / f"contrast-{store.hash[:12]}-{updates}"
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
