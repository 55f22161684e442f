"""Keypoints learned from images without labels: a spatial-softmax autoencoder (after arXiv 1509.06113 and 1806.07823).

Images become the expected coordinates of a few heat maps, and are drawn again from bumps at those. Points of a rigid
body are taught to stay on it by frames in which it was pasted (`codecs.cutouts`), and put to its shape before they are
drawn.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor, nn

from glocal.codecs.cutouts import Cutouts
from glocal.codecs.images import axis, coordinates, drawing_loss, to_bytes, to_channels
from glocal.core.geometry import fit_frame, rotate
from glocal.core.nets import half_precision
from glocal.core.types import LearnedCodec, Points

TAUGHT_WEIGHT = 50.0
"""Of the squared error of points on pasted frames, against the error of what is drawn."""


@dataclass(frozen=True)
class KeypointCodecConfig:
    """Choices for the learned keypoints."""

    points: int = 8
    rigid: bool = True
    """Whether the points lie on one rigid body. Loose points need more of them, about 24."""
    width: int = 32
    decoder_width: int = 48
    bump_widths: tuple[float, float] = (0.06, 0.15)
    """Standard deviations of the bumps that the decoder sees, where the image reaches from -1 to 1."""
    worst_pixels: int = 128
    """Pixels of each image whose mean error is added to the loss: small things are otherwise left out."""
    threshold: float = 0.12
    """Difference from the background, of 1, at which something counts as foreground when it is cut out."""

    @property
    def layout(self) -> Points:
        """The form of the observations that the codec makes."""
        return Points(self.points, self.rigid)


class KeypointCodec(LearnedCodec):
    """`image` (size, size, 3) uint8 to points and the agent; its position comes from the logs, or from the image too.

    Positions in the logs are in pixels of a table of side `table`, which the image shows whole.
    """

    grid: Tensor

    def __init__(self, cfg: KeypointCodecConfig, table: float, size: int = 64, agent_known: bool = True):
        super().__init__()
        assert cfg.rigid or agent_known, "loose points do not tell which of them is the agent"
        self.cfg, self.table, self.size, self.agent_known = cfg, table, size, agent_known
        self.reads = ("image", "agent") if agent_known else ("image",)
        self.register_buffer("grid", coordinates(size // 2))
        self.cutouts = Cutouts(cfg.points, size)
        self.encoder = _encoder(cfg)
        self.decoder = _decoder(cfg)

    @torch.no_grad()
    def measure(self, fields: Mapping[str, Tensor]) -> None:
        """Take the background from recorded images (n, size, size, 3), and for a rigid body its cut-out."""
        images = to_channels(fields["image"])
        if self.cfg.rigid:
            self.cutouts.measure(images, self.cfg.threshold)
        else:
            self.cutouts.background.copy_(images.median(0).values)

    def encode(self, fields: Mapping[str, Tensor]) -> Tensor:
        image = fields["image"]
        points, agent = self.locate(to_channels(image.flatten(0, -4)))
        if self.agent_known:
            agent = self._own(fields).flatten(0, -2)
        return torch.cat([self.placed(points).flatten(-2), agent], dim=-1).unflatten(0, image.shape[:-3])

    def decode(self, obs: Tensor) -> dict[str, Tensor]:
        flat = obs.flatten(0, -2).unflatten(-1, (-1, 2))
        return {"image": to_bytes(self.draw(flat), obs.shape[:-1]), "agent": (obs[..., -2:] + 1) * (self.table / 2)}

    def locate(self, image: Float[Tensor, "b 3 h w"]) -> tuple[Float[Tensor, "b k 2"], Float[Tensor, "b 2"]]:
        """Where points and agent are: the expected coordinates of their heat maps."""
        foreground = image - self.cutouts.background
        grid = self.grid.expand(image.shape[0], -1, -1, -1)
        half = torch.cat([nn.functional.pixel_unshuffle(foreground, 2), grid], dim=1)
        heat = self.encoder(half.contiguous(memory_format=torch.channels_last)).flatten(2).float().softmax(-1)
        found = heat @ self.grid.flatten(1).T
        return found[:, :-1], found[:, -1]

    def placed(self, points: Float[Tensor, "b k 2"]) -> Float[Tensor, "b k 2"]:
        """The points, or where they belong on the rigid placement of their body that comes nearest to them."""
        if not self.cfg.rigid:
            return points
        shape = self.cutouts.shape - self.cutouts.shape.mean(0)
        centre, turn = fit_frame(points, shape)
        return rotate(shape.expand(len(points), -1, -1), turn) + centre[:, None]

    def draw(self, scene: Float[Tensor, "b n 2"]) -> Float[Tensor, "b 3 h w"]:
        """The image, in [0, 1], that points and (the last of n) an agent stand for."""
        bumps = self._bumps(scene).contiguous(memory_format=torch.channels_last)
        return self.cutouts.background + nn.functional.pixel_shuffle(self.decoder(bumps), 4)

    def loss(self, fields: Mapping[str, Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
        """Squared error of what is drawn of recorded images (B, size, size, 3), their worst pixels counted twice.

        For a rigid body the squared distance of points from where they were pasted is added.
        """
        image = to_channels(fields["image"])
        pasted = self.cutouts.paste(len(image)) if self.cfg.rigid else None
        shown = image if pasted is None else torch.cat([image, pasted.image])
        with half_precision(image.device):
            points, agent = self.locate(shown)
            here = self._own(fields) if self.agent_known else agent[: len(image)]
            drawn = self.draw(torch.cat([self.placed(points[: len(image)]), here[:, None]], dim=1))
        loss, metrics = drawing_loss(drawn, image, self.cfg.worst_pixels)
        if pasted is None:
            return loss, metrics
        taught = (points[len(image) :] - pasted.points).pow(2).sum(-1).mean()
        if not self.agent_known:
            taught = taught + (agent[len(image) :] - pasted.agent).pow(2).sum(-1).mean()
        return loss + TAUGHT_WEIGHT * taught, metrics | {"taught": taught}

    def _own(self, fields: Mapping[str, Tensor]) -> Tensor:
        """The agent's own position as the logs have it, in observation units."""
        return fields["agent"] * (2 / self.table) - 1

    def _bumps(self, scene: Tensor) -> Tensor:
        """Gaussian bumps of two widths at the points, (B, 2n, h / 4, w / 4)."""
        line = axis(self.size // 4).to(scene)
        squared = (scene[..., None] - line).pow(2)  # b n 2 cells
        maps = []
        for width in self.cfg.bump_widths:
            fall = (-squared / (2 * width**2)).exp()
            maps.append(fall[:, :, 1, :, None] * fall[:, :, 0, None, :])
        return torch.cat(maps, dim=1)


def _encoder(cfg: KeypointCodecConfig) -> nn.Sequential:
    width = cfg.width
    layers: list[nn.Module] = [nn.Conv2d(12 + 2, width, 3, padding=1), nn.SiLU()]
    for dilation in (1, 2, 4, 2):
        layers += [nn.Conv2d(width, width, 3, padding=dilation, dilation=dilation), nn.GroupNorm(4, width), nn.SiLU()]
    return nn.Sequential(*layers, nn.Conv2d(width, cfg.points + 1, 1))


def _decoder(cfg: KeypointCodecConfig) -> nn.Sequential:
    width = cfg.decoder_width
    layers: list[nn.Module] = [nn.Conv2d(2 * (cfg.points + 1), width, 3, padding=1), nn.SiLU()]
    for _ in range(2):
        layers += [nn.Conv2d(width, width, 3, padding=1), nn.GroupNorm(4, width), nn.SiLU()]
    return nn.Sequential(*layers, nn.Conv2d(width, 3 * 16, 3, padding=1))
