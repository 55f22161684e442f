"""The pictures that labels are made of: which camera's, and which of them show a goal."""

from dataclasses import dataclass

import numpy as np
from PIL import Image, UnidentifiedImageError

from glocal.data.dataset import Array, Dataset
from glocal.data.mapping import Mapping, cameras_of, moments, shown
from glocal.data.reading import Fields
from glocal.data.streams import RobotMapping
from glocal.pipeline.label.job import Logs
from glocal.runtime.files import UserError

SIZE = 64
"""Side of the pictures that embeddings see, where no mapping says it."""


@dataclass(frozen=True)
class Camera:
    """One camera of some logs."""

    feature: str
    picture: tuple[int, int]
    """Height and width of its pictures."""
    crop: tuple[int, int, int, int] | None = None
    """Top, left, height and width of the part of a picture that is used."""
    size: int = SIZE
    """Side of the pictures that embeddings see."""

    def film(self, dataset: Dataset, episode: int) -> Array:
        """The pictures of an episode, (steps, h, w, 3)."""
        return dataset.episode(episode, [self.feature])[self.feature]


def camera_of(logs: Logs) -> Camera:
    """The camera whose pictures labels are made of; raises `UserError` where there is none, or where it is not said
    which of several."""
    known, path, wanted = logs.known, logs.job.path, logs.job.camera
    if isinstance(known, Mapping):
        if wanted not in ("", known.camera):
            raise UserError(f"--camera is {wanted}, but the mapping of {path} uses {known.camera}; name that one there")
        return Camera(known.camera, known.picture, known.crop, known.size)
    cameras = cameras_of(logs.dataset.features)
    if not cameras:
        raise UserError(
            f"{path} holds no pictures, which this way of labelling looks at; `near`, `column`, `table` and `function` "
            "need none"
        )
    if len(cameras) > 1 and not wanted:
        raise UserError(f"{path} has the cameras {', '.join(cameras)}; say which one is looked at with --camera")
    return _plain(logs, wanted or cameras[0])


def shown_by(logs: Logs) -> Camera | None:
    """The camera that shows labels to people: the one that is named, or else the first; None where there is none."""
    if isinstance(logs.known, Mapping):
        return camera_of(logs)
    cameras = [logs.job.camera] if logs.job.camera else cameras_of(logs.dataset.features)
    return _plain(logs, cameras[0]) if cameras else None


def _plain(logs: Logs, name: str) -> Camera:
    """A robot's camera by its feature, cropped as the mapping says where it names it."""
    height, width, _ = logs.dataset.features[name].shape
    named = logs.known.cameras if isinstance(logs.known, RobotMapping) else ()
    crop = next((one.crop for one in named if one.feature == name), None)
    return Camera(name, (height, width), crop)


def frame_of(told: str, dataset: Dataset) -> tuple[int, int] | None:
    """The frame that EPISODE:FRAME names, or None where it is not that; raises `UserError` where it is not there."""
    episode, _, frame = told.partition(":")
    if not (episode.isdecimal() and frame.isdecimal()):
        return None
    if int(episode) >= len(dataset) or int(frame) >= dataset.lengths[int(episode)]:
        raise UserError(f"there is no frame {told} in {dataset.folder}")
    return int(episode), int(frame)


def read_picture(told: str, dataset: Dataset, camera: Camera) -> Array:
    """A picture of the camera's size: a file, or EPISODE:FRAME of the logs."""
    if (place := frame_of(told, dataset)) is not None:
        return camera.film(dataset, place[0])[place[1]]
    try:
        with Image.open(told) as file:
            picture = np.asarray(file.convert("RGB"))
    except (OSError, SyntaxError, UnidentifiedImageError, Image.DecompressionBombError) as error:
        raise UserError(f"{told!r} is neither a picture ({error}) nor EPISODE:FRAME") from error
    if picture.shape[:2] != camera.picture:
        raise UserError(f"{told} is {picture.shape[:2]}, the camera's pictures are {camera.picture}")
    return picture


@dataclass(frozen=True)
class PictureReading:
    """What is read of an episode of a robot's logs for an embedding: one camera's picture at each control step."""

    mapping: RobotMapping
    camera: Camera

    @property
    def features(self) -> list[str]:
        return [self.camera.feature]

    @property
    def row_bytes(self) -> int:
        return 3 * self.camera.size**2

    def episodes(self, count: int) -> list[int]:
        return self.mapping.episodes(count)

    def rows(self, observations: int) -> int:
        return len(moments(self.mapping, observations))

    def apply(self, found: Fields, final: Fields) -> dict[str, Array]:
        film = found[self.camera.feature]
        return {"image": np.stack([shown(self.camera, film[row]) for row in moments(self.mapping, len(film))])}

    def look(self, found: Fields, number: int, episode: Fields) -> dict[str, Array]:
        return {}
