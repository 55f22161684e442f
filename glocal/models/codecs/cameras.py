"""What any robot senses: numbers, standardised, and what its cameras show, as latent grids, as tokens or as points."""

import math
from collections.abc import Iterable, Mapping
from typing import cast

import torch
from jaxtyping import Bool, Float, UInt8
from torch import Tensor, nn

from glocal.core.pictures import packed
from glocal.core.spec import Part, Spec
from glocal.core.types import LearnedCodec
from glocal.models.codecs.autoencoder import PictureAutoencoder
from glocal.models.codecs.compact import CompactCodecConfig
from glocal.models.codecs.grid import GridCodecConfig
from glocal.models.codecs.landmarks import Landmarks, Seen
from glocal.models.codecs.points import PointsAutoencoder, PointsCodecConfig
from glocal.models.codecs.standard import StandardCodec
from glocal.models.codecs.tokenizer import TokenizerConfig

PictureCodecConfig = GridCodecConfig | TokenizerConfig | PointsCodecConfig | CompactCodecConfig
"""Of autoencoders of pictures."""


def observed_spec(cfg: PictureCodecConfig, vectors: tuple[Part, ...], cameras: Iterable[str], actions: int) -> Spec:
    """What models see of vectors and of cameras' pictures."""
    count, *cells = cfg.shape
    shape = (count + _landmarks(cfg, vectors), *cells)
    return Spec((*vectors, *(Part(name, shape) for name in cameras)), actions)


def _landmarks(cfg: PictureCodecConfig, vectors: tuple[Part, ...]) -> int:
    """How many each camera has beside its points."""
    return cfg.landmarks if isinstance(cfg, PointsCodecConfig) and vectors else 0


class CamerasCodec(LearnedCodec):
    """Vectors by name, and pictures (size, size, 3) uint8 by the name of their camera.

    Each camera has an autoencoder of its own, or all share one. Where pictures become points and there are vectors,
    each camera has landmarks beside its points: places on the robot that the vectors tell.
    """

    def __init__(self, cfg: PictureCodecConfig, vectors: tuple[Part, ...], cameras: Mapping[str, int]):
        """`cameras` are the sides of the pictures that each camera shows; there is at least one."""
        super().__init__()
        self.cfg = cfg
        self.cameras, self.vectors = tuple(cameras), StandardCodec(vectors)
        self.sides = dict(cameras)
        self.drawn_by = {
            name: f"pictures_of_{size}" if cfg.shared else f"camera_{name}" for name, size in cameras.items()
        }
        """By camera the name of its autoencoder."""
        sizes = {self.drawn_by[name]: size for name, size in cameras.items()}
        self.grids = nn.ModuleDict({name: cfg.build(size) for name, size in sizes.items()})
        wanted = _landmarks(cfg, vectors)
        marks = {f"camera_{name}": Landmarks(wanted, len(self.vectors.mean)) for name in cameras if wanted}
        self.landmarks = nn.ModuleDict(marks)
        self.spec = observed_spec(cfg, vectors, self.cameras, 0)
        self.reads = tuple(part.name for part in self.spec.parts)

    @torch.no_grad()
    def fit_statistics(self, fields: Mapping[str, Tensor]) -> None:
        """Take the background of each camera, and mean and deviation of the vectors, from recorded fields (n, ...)."""
        self.fit_vectors(fields)
        for known in self.grids:
            seen = [fields[name] for name in self.cameras if self.drawn_by[name] == known]
            self._grid(known).fit_statistics(torch.cat(seen))

    def fit_vectors(self, fields: Mapping[str, Tensor]) -> None:
        """Take mean and deviation of the vectors alone, of which more can be looked at than of pictures."""
        if self.vectors.parts:
            self.vectors.fit_statistics(fields)

    def find_landmarks(self, fields: Mapping[str, Tensor]) -> list[str]:
        """Find each camera's landmarks in recorded fields (n, ...), after backgrounds and vectors are known; says in
        words what was found."""
        told = []
        for name, marks in self._marks().items():
            grid = self._grid(self.drawn_by[name])
            assert isinstance(grid, PointsAutoencoder) and isinstance(self.cfg, PointsCodecConfig)
            numbers = self.vectors.encode(fields)
            seen = Seen(numbers, fields[name], grid.background, float(grid.haze))
            count = marks.find(seen, self.cfg.landmark_updates)
            told.append(f"{name}: the numbers tell {count} place{'s' * (count != 1)} on the robot")
        return told

    def doubts(self) -> list[str]:
        """What speaks against this way to see the cameras, a sentence each."""
        found = {name: self._grid(self.drawn_by[name]).doubt() for name in self.cameras}
        return [f"{name}: {doubt}" for name, doubt in found.items() if doubt]

    def encode(self, fields: Mapping[str, Tensor]) -> Tensor:
        vectors = [self.vectors.encode(fields)] if self.vectors.parts else []
        grids = {name: self._grid(self.drawn_by[name]).encode(fields[name]) for name in self.cameras}
        return self._beside(vectors, grids)

    def unseen(self, fields: Mapping[str, Tensor]) -> Bool[Tensor, "*batch d"] | None:
        hidden = {name: self._grid(self.drawn_by[name]).unseen(fields[name]) for name in self.cameras}
        found = [one for one in hidden.values() if one is not None]
        if not found:
            return None
        whole = found[0].new_zeros(*found[0].shape[:-1], self.spec.obs_dim)
        for name, one in hidden.items():
            if one is not None:
                first = self.spec.columns(name).start
                whole[..., first : first + one.shape[-1]] = one
        return whole

    def encode_drawn(
        self, numbers: Float[Tensor, "b d"], pictures: Mapping[str, Float[Tensor, "b 3 h w"]]
    ) -> Float[Tensor, "b n"]:
        """What `encode` makes of standardised vectors and of cameras' pictures, here in [0, 1], channels first."""
        drawn = {name: self._grid(self.drawn_by[name]).compress(pictures[name]).flatten(1) for name in self.cameras}
        return self._beside([numbers], drawn)

    def _beside(self, numbers: list[Tensor], grids: Mapping[str, Tensor]) -> Tensor:
        """Numbers, and what stands for each camera's picture, with its landmarks."""
        parts, marks = list(numbers), self._marks()
        for name, grid in grids.items():
            parts += [grid, marks[name](numbers[0]).flatten(-2)] if name in marks else [grid]
        return torch.cat(parts, dim=-1)

    def pictures(self, fields: Mapping[str, UInt8[Tensor, "*batch h w 3"]]) -> UInt8[Tensor, "*batch p"]:
        """The bytes of all cameras' pictures, one behind the other, as worlds that draw pictures take them."""
        return packed([fields[name] for name in self.cameras])

    def decode(self, obs: Tensor) -> dict[str, Tensor]:
        columns = {name: obs[..., self.spec.columns(name)] for name in self.cameras}
        size = math.prod(self.cfg.shape)  # behind it are landmarks, which no picture is drawn of
        drawn = {name: self._grid(self.drawn_by[name]).decode(grid[..., :size]) for name, grid in columns.items()}
        vectors = self.vectors.decode(obs[..., : len(self.vectors.mean)]) if self.vectors.parts else {}
        return vectors | drawn

    def on_robot(self, obs: Float[Tensor, "*batch n"]) -> dict[str, Float[Tensor, "*batch k 2"]]:
        """By camera the landmarks of observations, x and y from -1 to 1; without those that were not found."""
        size = math.prod(self.cfg.shape)
        places = {name: obs[..., self.spec.columns(name)][..., size:].unflatten(-1, (-1, 2)) for name in self._marks()}
        return {name: places[name][..., marks.known, :] for name, marks in self._marks().items() if marks.known.any()}

    def unmarked(self, obs: Float[Tensor, "*batch n"]) -> dict[str, Float[Tensor, "*batch m"]]:
        """The parts of observations without landmarks, which follow from the vectors."""
        size = math.prod(self.cfg.shape)
        parts = {part.name: obs[..., self.spec.columns(part.name)] for part in self.spec.parts}
        return {name: x[..., :size] if name in self.cameras else x for name, x in parts.items()}

    def loss(self, fields: Mapping[str, Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
        """The mean over cameras of what each one's autoencoder minimises."""
        losses, metrics = [], {}
        for name in self.cameras:
            loss, found = self._grid(self.drawn_by[name]).loss(fields[name])
            losses.append(loss)
            metrics |= {f"{name}/{key}": value for key, value in found.items()}
        return torch.stack(losses).mean(), metrics

    def _grid(self, known: str) -> PictureAutoencoder:
        grid = self.grids[known]
        assert isinstance(grid, PictureAutoencoder)
        return grid

    def _marks(self) -> dict[str, Landmarks]:
        return {name.removeprefix("camera_"): cast(Landmarks, marks) for name, marks in self.landmarks.items()}
