"""A small training for `torchrun`: `team_job.py FOLDER STOP` breaks off at update STOP, or ends where that is 0."""

import sys
from pathlib import Path

import torch
from torch import nn

from glocal.runtime.team import together
from glocal.runtime.trainer import Clock, Fit, FitConfig, train

SHARDS, BATCH, UPDATES = 4, 8, 6


def main(folder: Path, stop: int) -> None:
    torch.manual_seed(0)
    model = nn.Linear(3, 2)
    cfg = FitConfig(updates=UPDATES, batch=BATCH, shards=SHARDS, lr=0.1, warm_up=2, average=0.5)

    def loss():
        if stop and fit.iteration == stop:
            raise RuntimeError("broken off")
        x = torch.randn(cfg.drawn, 3)
        error = (model(x) - x[:, :2] - torch.randn(cfg.drawn, 2)).square().mean()
        return error, {"squared": error}

    fit = Fit(cfg, model, loss)
    train(fit, folder, "toy", {}, Clock(checkpoint_seconds=0.0, log_every=1))


if __name__ == "__main__":
    with together():
        main(Path(sys.argv[1]), int(sys.argv[2]))
