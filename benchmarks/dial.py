"""What one notch of `world.size` buys: held-out loss of the global model against seconds of training.

    python benchmarks/dial.py RUN [--sizes 1 2 3] [--seconds 60 180] [--threads N]

RUN is a run's folder whose data (and codec) are done; nothing in it is changed. Every point is a training of its own,
with its learning rate brought down to the end; the number of updates that fits its seconds is measured first. The loss
is the one that is trained on, of held-out windows, with the same noise for all.
"""

import argparse
import json
import time
from dataclasses import replace
from pathlib import Path

import torch

from glocal.core.types import Segment
from glocal.data.segments import Recorded
from glocal.pipeline import build
from glocal.pipeline.run import open_run
from glocal.pipeline.run_dir import Run
from glocal.runtime.trainer import Fit, FitConfig

MEASURED = 10
"""Updates by which the speed is measured, after as many that are not counted."""
HELD_OUT = 4096


def held_out_loss(world: torch.nn.Module, windows: Segment) -> float:
    with torch.no_grad(), torch.random.fork_rng():
        torch.manual_seed(0)
        return float(world.loss(windows)[0])


def fitted(run: Run, size: int, cfg: FitConfig, experience: Recorded) -> Fit:
    torch.manual_seed(0)
    config = replace(run.config, world=replace(run.config.world, size=size))
    world = build.build_world(config, run.codec).to(run.device)
    world.fit_statistics(experience.pairs())
    return Fit(cfg, world, lambda: world.loss(experience.draw(cfg.batch, world.length)))


def point(run: Run, size: int, seconds: float, experience: Recorded, windows: Segment) -> dict[str, float]:
    trial = fitted(run, size, run.config.world_fit, experience)
    for _ in range(MEASURED):
        trial.iterate()
    began = time.monotonic()
    for _ in range(MEASURED):
        trial.iterate()
    updates = max(50, round(seconds * MEASURED / (time.monotonic() - began)))
    fit = fitted(run, size, replace(run.config.world_fit, updates=updates), experience)
    began = time.monotonic()
    while fit.iteration < updates:
        fit.iterate()
    spent = time.monotonic() - began
    loss = held_out_loss(fit.model, windows)
    weights = sum(parameter.numel() for parameter in fit.model.parameters())
    return {"size": size, "weights": weights, "updates": updates, "seconds": round(spent, 1), "held_out": loss}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path)
    parser.add_argument("--sizes", nargs="+", type=int, default=[1, 2, 3])
    parser.add_argument("--seconds", nargs="+", type=float, default=[60, 180])
    parser.add_argument("--threads", type=int, default=1)
    chosen = parser.parse_args()
    torch.set_num_threads(chosen.threads)
    run = open_run(chosen.run)
    experience, held_out = (run.for_world(recorded) for recorded in run.experience)
    torch.manual_seed(1)
    windows = held_out.draw(HELD_OUT, build.build_world(run.config, run.codec).length)
    for seconds in chosen.seconds:
        for size in chosen.sizes:
            print(json.dumps(point(run, size, seconds, experience, windows)), flush=True)


if __name__ == "__main__":
    main()
