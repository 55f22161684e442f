"""A small training for `torchrun`: `team_job.py FOLDER STOP WEIGHTS` breaks off at update STOP, or ends where that
is 0; WEIGHTS are `whole` or `sharded`."""

import sys
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.distributed.tensor import DTensor

from glocal.models.transformer import BlockCausal
from glocal.runtime.team import leave, together
from glocal.runtime.trainer import Clock, Fit, FitConfig, train

SHARDS, BATCH, UPDATES = 4, 8, 6


class Toy(nn.Module):
    """Says what comes next of three numbers, by a transformer."""

    def __init__(self):
        super().__init__()
        self.enter, self.leave = nn.Linear(3, 8), nn.Linear(8, 3)
        self.tokens = BlockCausal(8, 2, 2, 2, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        times = torch.arange(x.shape[1]).expand(len(x), -1)
        return self.leave(self.tokens(self.enter(x)[:, :, None], times)[0][:, :, 0])


def main(folder: Path, stop: int, weights: Any = "whole") -> None:
    torch.manual_seed(0)
    model = Toy()
    cfg = FitConfig(updates=UPDATES, batch=BATCH, shards=SHARDS, lr=0.01, warm_up=2, average=0.5, weights=weights)

    def loss():
        if stop and fit.iteration == stop:
            raise RuntimeError("broken off")
        x = torch.randn(cfg.drawn, 4, 3)
        error = (model(x)[:, :-1] - x[:, 1:].cumsum(1)).square().mean()
        return error, {"squared": error}

    fit = Fit(cfg, model, loss)
    for module in (model, fit.average.module):
        held = [x.to_local() if isinstance(x, DTensor) else x for x in module.parameters()]
        split = sum(x.numel() for x in held) < 0.6 * sum(x.numel() for x in module.parameters())
        assert split == (weights == "sharded")
    train(fit, folder, "toy", {}, Clock(checkpoint_seconds=0.0, log_every=1))


if __name__ == "__main__":
    with together():
        main(Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3])
    leave()
