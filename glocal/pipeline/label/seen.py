"""Rewards that are seen in the pictures: nearness to goals, likeness to marked frames, or where a body is."""

from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Annotated

import numpy as np
import torch
from torch import Tensor

from glocal.core.ranges import Count, Positive, Range, Share
from glocal.data.dataset import Array, Dataset
from glocal.data.mapping import cropped, from_pixels
from glocal.data.mapping import shown as shown_to_models
from glocal.data.mappings import AnyMapping
from glocal.data.rewards.marking import Marks, Server, read_marks
from glocal.data.rewards.success import fit
from glocal.data.rewards.tracker import Tracked, Tracker, TrackerConfig
from glocal.data.streams import RobotMapping
from glocal.evaluate.labels import classified
from glocal.pipeline.label.camera import Camera, camera_of, read_picture
from glocal.pipeline.label.embedding import Kind, check_embedding, embedded, learn_embedding
from glocal.pipeline.label.job import WITHIN, Common, Shown, open_logs, shaped, ticking, typical_of
from glocal.pipeline.label.labelled import POSE, finish
from glocal.runtime.files import UserError
from glocal.runtime.progress import console

Shade = Annotated[int, Range(0, 255)]
FOLDS = 5
"""Of the cross-validation of marks."""


def goal(
    job: Common, goals: tuple[str, ...], embedding: Kind | None = None, success_within: Positive = WITHIN,
    updates: Count = 1500,
) -> None:  # fmt: skip
    """Reward nearness to goal images, in an embedding that is learned from the logs.

    Args:
        job: What all ways of labelling need to know.
        goals: Pictures of success (files), or frames of the logs that show it (EPISODE:FRAME).
        embedding: The preset's codec (by default, for a planar robot), or one that is learned by time contrast.
        success_within: Share of the typical distance within which a frame counts as success.
        updates: Of the time-contrastive embedding.
    """
    if not goals:
        raise UserError("say at least one goal image: --goals FILE ..., or --goals EPISODE:FRAME ...")
    logs = open_logs(job)
    camera, kind = camera_of(logs), check_embedding(logs, embedding)
    wanted = np.stack([shown_to_models(camera, read_picture(one, logs.dataset, camera)) for one in goals])
    embed = learn_embedding(logs, camera, kind, updates)
    near = embed.of(wanted)
    distance = embed.distances(embedded(embed, logs.dataset), near)
    typical = typical_of(distance)
    shown = [Shown(shaped(d, typical), (d < success_within * typical).astype(np.float32)) for d in distance]
    how = {"way": "goal", "goals": list(goals), "embedding": kind, "typical_distance": typical}
    finish(logs, shown, how | {"camera": camera.feature, "success_within": success_within})


def classifier(
    job: Common, marks: Path, mark: bool = False, embedding: Kind | None = None, updates: Count = 1500,
    port: Annotated[int, Range(0, 65_535)] = 0,
) -> None:  # fmt: skip
    """Reward how near a frame is to the middle of the marked successes, and how likely success itself.

    The way is told by distances of the embedding, and the end by a classifier of the marked frames.

    Args:
        job: What all ways of labelling need to know.
        marks: A csv with the columns episode, frame and success (0 or 1).
        mark: Open a page on this machine first, to mark frames by hand.
        embedding: The preset's codec (by default, for a planar robot), or one that is learned by time contrast.
        updates: Of the time-contrastive embedding.
        port: Of the page; by default any that is free.
    """
    logs = open_logs(job)
    dataset, camera, kind = logs.dataset, camera_of(logs), check_embedding(logs, embedding)
    if mark:
        mark_by_hand(marks, dataset, camera, port)
    elif not marks.is_file():
        raise UserError(f"there are no marks in {marks}; say --mark to make some")
    found = read_marks(marks)
    _check_marks(marks, found, dataset)
    embed = learn_embedding(logs, camera, kind, updates)
    seen = embedded(embed, dataset)
    z = torch.stack([seen[episode][frame] for episode, frame in found])
    success = torch.tensor([float(good) for good in found.values()])
    claimed = cross_validated(z, success, _folds([episode for episode, _ in found], job.seed))
    model, middle = fit(z, success), z[success > 0.5].mean(0, keepdim=True)
    likely, distance = [model(one).sigmoid().numpy() for one in seen], embed.distances(seen, middle)
    typical = typical_of(distance)
    shown = [
        Shown(shaped(d, typical, likely=p), (p > 0.5).astype(np.float32)) for d, p in zip(distance, likely, strict=True)
    ]
    how = {"way": "classifier", "marks": str(marks), "marked": len(found), "embedding": kind, "camera": camera.feature}
    finish(logs, shown, how, {"marks, each by a classifier without its fold": classified(*claimed)})


def _folds(episodes: Sequence[int], seed: int) -> Array:
    """The fold of each of some marks, by their episodes: neighbours in time would tell of each other."""
    order = np.random.default_rng(seed).permutation(np.unique(episodes)).tolist()
    return np.array([order.index(episode) % FOLDS for episode in episodes])


def cross_validated(z: Tensor, success: Tensor, fold: Array) -> tuple[Array, Array]:
    """Probabilities of marked frames (n, d) by classifiers that were fitted without their fold, and their marks.

    Folds whose rest is all of one kind are left out. Raises `UserError` where that leaves nothing.
    """
    claimed, real = [], []
    for one in np.unique(fold):
        out = Tensor(fold == one).bool()
        if len(success[~out].unique()) == 2:
            claimed.append(fit(z[~out], success[~out])(z[out]).sigmoid().numpy())
            real.append(success[out].numpy())
    if not claimed:
        raise UserError("successes and failures are marked in too few episodes to hold any out; mark more of them")
    return np.concatenate(claimed), np.concatenate(real)


def mark_by_hand(path: Path, dataset: Dataset, camera: Camera, port: int) -> None:
    """Serve the page until it says that it is done; every mark is in the file at once."""
    marks = Marks.open(path)

    @lru_cache(maxsize=4)
    def film(episode: int) -> Array:
        return camera.film(dataset, episode)

    with Server(marks, dataset.lengths, lambda episode, frame: film(episode)[frame], port) as server:
        console.print(f"mark frames on {server.address} and press q there; they are in {path}")
        server.serve_forever(poll_interval=0.1)
    console.print(f"{len(marks.found)} frames are marked in {path}")


def _check_marks(path: Path, found: Mapping[tuple[int, int], bool], dataset: Dataset) -> None:
    for episode, frame in found:
        if not 0 <= episode < len(dataset) or not 0 <= frame < dataset.lengths[episode]:
            raise UserError(f"{path} marks frame {frame} of episode {episode}, which {dataset.folder} has not")
    if len(set(found.values())) < 2:
        raise UserError(f"{path} marks {len(found)} frames, all alike; mark successes and failures")


def tracker(
    job: Common, goal: str, colour: tuple[Shade, Shade, Shade], tolerance: Positive = TrackerConfig.tolerance,
    covered: Share = 0.95,
) -> None:  # fmt: skip
    """Track a body of one colour by classic means; reward its nearness to where a goal image shows it.

    Also writes where it is (`observation.pose`: x, y and angle; of any robot's logs x and y are in pixels) and how much
    of its goal it covers (`observation.coverage`).

    Args:
        job: What all ways of labelling need to know.
        goal: A picture (file) of the body at its goal, or a frame of the logs (EPISODE:FRAME).
        colour: The body's: red, green and blue, 0 to 255.
        tolerance: Distance in colour at which a pixel no longer belongs to the body.
        covered: Coverage from which on a frame counts as success.
    """
    logs = open_logs(job)
    camera, known = camera_of(logs), logs.known
    body = Tracker(TrackerConfig(colour, tolerance), cropped(camera, read_picture(goal, logs.dataset, camera)))
    ways = []
    for number in ticking(logs.dataset, "tracker"):
        way: list[Tracked] = []
        for frame in camera.film(logs.dataset, number):
            way.append(body.track(cropped(camera, frame), way[-1] if way else None))
        ways.append(way)
    distance = [np.array([body.distance(one.pose) for one in way]) for way in ways]
    typical = typical_of(distance)
    shown = [
        Shown(shaped(d, typical), np.array([one.coverage > covered for one in way], np.float32), _told(known, way))
        for d, way in zip(distance, ways, strict=True)
    ]
    fits = np.array([one.fit for way in ways for one in way])
    how = {"way": "tracker", "goal": goal, "colour": list(colour), "tolerance": tolerance, "typical_px": typical}
    quality = {"median": float(np.median(fits)), "worst percent": float(np.quantile(fits, 0.01))}
    finish(logs, shown, how, {"how well the goal's mask fits (intersection over union)": quality})
    if isinstance(known, RobotMapping):
        console.print(f"models see streams alone: name {POSE} in the mapping's streams where they are to see the body")


def _told(known: AnyMapping, way: Sequence[Tracked]) -> dict[str, Array]:
    """Poses, in the state's units where a mapping tells them or else in pixels, and coverage."""
    pose = np.stack([one.pose for one in way])
    place = pose[:, :2] + 0.5
    place = place if isinstance(known, RobotMapping) else from_pixels(known, place)
    coverage = np.array([[one.coverage] for one in way], np.float32)
    return {POSE: np.c_[place, pose[:, 2]].astype(np.float32), "observation.coverage": coverage}
