"""An embedding of frames that nobody labelled: what is shown within seconds lies together, what is shown later apart.

Time-contrastive (Sermanet et al., arXiv 1704.06888, for one camera). What moves all the time, as the robot's own arm,
says nothing about which frames are neighbours, so that slow things make the embedding: where the objects are.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int, UInt8
from torch import Tensor, nn

from glocal.core.nets import half_precision


@dataclass(frozen=True)
class ContrastConfig:
    """Choices for the time-contrastive embedding."""

    dim: int = 16
    width: int = 32
    near: int = 8
    """Control steps within which two frames of an episode belong together."""
    far: int = 24
    """Control steps from which on two frames of an episode have to be told apart; between the two nothing is asked."""
    episodes: int = 32
    """In a batch."""
    frames: int = 6
    """Of each of them, and as many neighbours."""


class Contrast(nn.Module):
    """Images (B, size, size, 3) uint8 to embeddings (B, d) in which distances are Euclidean."""

    def __init__(self, cfg: ContrastConfig):
        super().__init__()
        self.cfg, width = cfg, cfg.width
        layers: list[nn.Module] = [nn.Conv2d(12, width, 3, padding=1), nn.SiLU()]
        for _ in range(2):
            layers += [nn.Conv2d(width, 2 * width, 3, 2, 1), nn.GroupNorm(4, 2 * width), nn.SiLU()]
            width *= 2
        self.body = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(8), nn.Conv2d(width, 16, 1), nn.Flatten())
        self.out = nn.Sequential(nn.Linear(16 * 64, 128), nn.LayerNorm(128), nn.SiLU(), nn.Linear(128, cfg.dim))
        self.sharpness = nn.Parameter(torch.zeros(()))

    def forward(self, images: UInt8[Tensor, "b h w c"]) -> Float[Tensor, "b d"]:
        x = nn.functional.pixel_unshuffle(images.movedim(-1, 1).float() / 255, 2)
        with half_precision(x.device):
            features = self.body(x.contiguous(memory_format=torch.channels_last))
        return self.out(features.float())

    def loss(
        self, images: UInt8[Tensor, "b h w c"], others: UInt8[Tensor, "b h w c"], episode: Int[Tensor, " b"],
        time: Int[Tensor, " b"],
    ) -> tuple[Tensor, dict[str, Tensor]]:  # fmt: skip
        """Cross entropy of finding each image's neighbour among all others (InfoNCE, arXiv 1807.03748); `time` counts
        control steps. Frames of the same episode that are neither near nor far are left out."""
        z, near = self(torch.cat([images, others])).chunk(2)
        logits = -self.sharpness.exp() * torch.cdist(z, near).pow(2)
        close = (episode[:, None] == episode) & ((time[:, None] - time).abs() < self.cfg.far)
        own = torch.eye(len(z), dtype=torch.bool, device=z.device)
        logits = logits.masked_fill(close & ~own, -torch.inf)
        loss = nn.functional.cross_entropy(logits, torch.arange(len(z), device=z.device))
        right = (logits.argmax(1) == torch.arange(len(z), device=z.device)).float().mean()
        return loss, {"found": right}
