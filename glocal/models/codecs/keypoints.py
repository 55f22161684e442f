"""Keypoints of a rigid body, learned from images without labels: an autoencoder that passes through a few places.

The encoder is a spatial softmax (after arXiv 1509.06113): images become the expected coordinates of a few heat maps. It
is taught by frames in which the body was pasted (`codecs.cutouts`). The decoder pastes: the points, put to the body's
shape, say where a picture of the body belongs, which is learned too, so that recorded frames correct both.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated

import torch
from jaxtyping import Float, UInt8
from torch import Tensor, nn

from glocal.core.nets import half_precision
from glocal.core.ranges import Amount, Inner, Range, Width
from glocal.core.spec import Part
from glocal.core.types import LearnedCodec
from glocal.models.codecs.cutouts import Cutouts
from glocal.models.codecs.images import coordinates, drawing_loss, to_bytes, to_channels
from glocal.models.rigid2d.scene import fit_frame, rotate, scene_spec


@dataclass(frozen=True)
class KeypointCodecConfig:
    """Choices for the learned keypoints."""

    points: Annotated[int, Range(3, 256)] = 8
    width: Width = 32
    taught: Amount = 50.0
    """Weight of the squared error of points on pasted frames, against the error of what is drawn of recorded ones."""
    worst_pixels: Annotated[int, Range(1, 4096)] = 128
    """Pixels of each image whose mean error is added to the loss: small things are otherwise left out."""
    threshold: Inner = 0.12
    """Difference from the background, of 1, at which something counts as foreground when it is cut out."""

    @property
    def parts(self) -> tuple[Part, ...]:
        """What the observations that the codec makes are made of."""
        return scene_spec(self.points).parts


class KeypointCodec(LearnedCodec):
    """`image` (size, size, 3) uint8 to points and the agent; its position comes from the logs, or from the image too.

    Positions in the logs are in pixels of a table of side `table`, which the image shows whole.
    """

    plan: Tensor

    def __init__(self, cfg: KeypointCodecConfig, table: float, size: int = 64, agent_known: bool = True):
        super().__init__()
        self.cfg, self.table, self.agent_known = cfg, table, agent_known
        self.reads = ("image", "agent") if agent_known else ("image",)
        self.register_buffer("plan", coordinates(size // 2))
        self.cutouts = Cutouts(cfg.points, size)
        self.encoder = _encoder(cfg)

    def fit_statistics(self, fields: Mapping[str, Tensor]) -> None:
        """Take the background and the cut-outs from recorded images (n, size, size, 3)."""
        self.cutouts.fit_statistics(to_channels(fields["image"]), self.cfg.threshold)

    def encode(self, fields: Mapping[str, Tensor]) -> Tensor:
        image = fields["image"]
        points, agent = self.locate(to_channels(image.flatten(0, -4)))
        if self.agent_known:
            agent = self._own(fields).flatten(0, -2)
        return torch.cat([self.placed(points).flatten(-2), agent], dim=-1).unflatten(0, image.shape[:-3])

    def decode(self, obs: Tensor) -> dict[str, Tensor]:
        scene = obs.flatten(0, -2).unflatten(-1, (-1, 2))
        image = to_bytes(self.draw(scene[:, :-1], scene[:, -1]), obs.shape[:-1])
        return {"image": image, "agent": (obs[..., -2:] + 1) * (self.table / 2)}

    def points(self, image: UInt8[Tensor, "b h w c"]) -> Float[Tensor, "b n"]:
        """The body's points (B, 2 k) alone, from -1 to 1."""
        return self.placed(self.locate(to_channels(image))[0]).flatten(-2)

    def locate(self, image: Float[Tensor, "b 3 h w"]) -> tuple[Float[Tensor, "b k 2"], Float[Tensor, "b 2"]]:
        """Where points and agent are: the expected coordinates of their heat maps."""
        half = nn.functional.pixel_unshuffle(image - self.cutouts.background, 2)
        seen = torch.cat([half, self.plan.expand(len(image), -1, -1, -1)], dim=1)
        with half_precision(image.device):
            heat = self.encoder(seen.contiguous(memory_format=torch.channels_last))
        found = heat.flatten(2).float().softmax(-1) @ self.plan.flatten(1).T
        return found[:, :-1], found[:, -1]

    def placed(self, points: Float[Tensor, "b k 2"]) -> Float[Tensor, "b k 2"]:
        """Where points belong on the placement of their body that comes nearest to them."""
        place, turn = self._frame(points)
        return rotate(self.cutouts.shape.expand(len(points), -1, -1), turn) + place[:, None]

    def draw(self, points: Float[Tensor, "b k 2"], agent: Float[Tensor, "b 2"]) -> Float[Tensor, "b 3 h w"]:
        """The image, in [0, 1], that points and an agent stand for."""
        place, turn = self._frame(points)
        return self.cutouts.compose(turn, place, agent)

    def loss(self, fields: Mapping[str, Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
        """Squared error of what is drawn of recorded images (B, size, size, 3), and of points on pasted ones."""
        image, pasted = to_channels(fields["image"]), self.cutouts.paste(len(fields["image"]))
        points, agent = self.locate(torch.cat([image, pasted.image]))
        here = self._own(fields) if self.agent_known else agent[: len(image)]
        loss, metrics = drawing_loss(self.draw(points[: len(image)], here), image, self.cfg.worst_pixels)
        taught = (points[len(image) :] - pasted.points).pow(2).sum(-1).mean()
        if not self.agent_known:
            taught = taught + (agent[len(image) :] - pasted.agent).pow(2).sum(-1).mean()
        return loss + self.cfg.taught * taught, metrics | {"taught": taught}

    def _frame(self, points: Tensor) -> tuple[Tensor, Tensor]:
        """Where the body's centre is (B, 2), and its turn (B, 2)."""
        middle = self.cutouts.shape.mean(0)
        centre, turn = fit_frame(points, self.cutouts.shape - middle)
        return centre - rotate(middle.expand(len(points), -1), turn), turn

    def _own(self, fields: Mapping[str, Tensor]) -> Tensor:
        """The agent's own position as the logs have it, in observation units."""
        return fields["agent"] * (2 / self.table) - 1


def _encoder(cfg: KeypointCodecConfig) -> nn.Sequential:
    width = cfg.width
    layers: list[nn.Module] = [nn.Conv2d(12 + 2, width, 3, padding=1), nn.SiLU()]
    for dilation in (1, 2, 4, 2):
        layers += [nn.Conv2d(width, width, 3, padding=dilation, dilation=dilation), nn.GroupNorm(4, width), nn.SiLU()]
    return nn.Sequential(*layers, nn.Conv2d(width, cfg.points + 1, 1))
