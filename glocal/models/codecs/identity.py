"""Observations that were tracked already: keypoints and the agent, from pixels to [-1, 1]."""

from collections.abc import Mapping

import torch
from torch import Tensor

from glocal.core.types import Codec


class IdentityCodec(Codec):
    """`keypoints` (2k) and `agent` (2) in pixels of a table of side `table`, put side by side."""

    reads = ("keypoints", "agent")

    def __init__(self, table: float):
        super().__init__()
        self.table = table

    def encode(self, fields: Mapping[str, Tensor]) -> Tensor:
        return torch.cat([fields["keypoints"], fields["agent"]], dim=-1) * (2 / self.table) - 1

    def decode(self, obs: Tensor) -> dict[str, Tensor]:
        pixels = (obs + 1) * (self.table / 2)
        return {"keypoints": pixels[..., :-2], "agent": pixels[..., -2:]}
