"""Where decoupling pays: cosines of gradients with finite differences, by local model, sampling steps and horizon.

    python benchmarks/gradient_map.py RUN [--widths 8 256] [--updates 250 2500] [--sampling 1 5] [--horizons 8 16 32 64]

RUN is a run's folder whose data and global model are done; nothing in it is changed. Every row trains a local model of
its own (but for the sampling steps) and compares the gradients of `decouple` and `imagine`, by recorded actions in
held-out windows in which the block moves, with finite differences of the global model's return under common random
numbers, over the first 8 actions; in brackets 95 % intervals over windows. `gap` is the first step's correction.
"""

import argparse
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from glocal.core.gradients import LINKS
from glocal.evaluate.gradients import Question, agreement
from glocal.models.worlds.diffusion import DiffusionWorld
from glocal.pipeline import build
from glocal.pipeline.run import open_run
from glocal.pipeline.run_dir import Run
from glocal.pipeline.stages import local_loss
from glocal.pipeline.validate import gate_windows, reader
from glocal.runtime.trainer import Fit

WINDOWS = 64
FIRST = 8
NAMES = ("decouple", "imagine")


def trained(run: Run, width: int, updates: int, weight: float) -> Any:
    """A local model; its width, its updates, and the weight of derivative matching."""
    config = run.config
    blocks = 0 if width < 32 else config.surrogate.blocks
    config = replace(
        config,
        surrogate=replace(config.surrogate, width=width, blocks=blocks),
        surrogate_fit=replace(config.surrogate_fit, updates=updates),
        matching=replace(config.matching, weight=weight),
    )
    experience, _ = run.experience
    torch.manual_seed(config.seed)
    surrogate, cfg = build.build_surrogate(config).to(run.device), config.surrogate_fit
    surrogate.fit_statistics(experience.pairs())
    fit = Fit(cfg, surrogate, local_loss(Run(run.folder, config), surrogate))
    for _ in range(updates):
        fit.iterate()
    return fit.model.requires_grad_(False).eval()


def show(run: Run, world: Any, surrogate: Any, horizons: Sequence[int], label: str) -> None:
    window = world.cfg.context
    whole, _, _ = gate_windows(run, reader(run), window, max(horizons))
    rows = torch.arange(0, len(whole.reward), max(1, len(whole.reward) // WINDOWS))[:WINDOWS]
    begin, action = whole[rows][:, :window], whole.action[rows][:, window:]
    cells, gap = [], 0.0
    for horizon in horizons:
        question = Question(world, surrogate, begin, action[:, :horizon], run.config.learn.gamma, min(horizon, FIRST))
        found = agreement(question, {name: LINKS[name] for name in NAMES}, draws=1)
        gap = found["decouple"].gap[0]
        cells.append("  ".join(f"{one.cosine:5.2f} [{one.low:5.2f}, {one.high:4.2f}]" for one in found.values()))
    print(f"{label:44} gap {gap:.4f}  " + "   ".join(cells), flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path)
    parser.add_argument("--widths", type=int, nargs="+", default=(8, 256))
    parser.add_argument("--updates", type=int, nargs="+", default=(250, 2500))
    parser.add_argument("--sampling", type=int, nargs="*", default=(1, 5))
    parser.add_argument("--horizons", type=int, nargs="+", default=(8, 16, 32, 64))
    chosen = parser.parse_args()
    torch.set_num_threads(1)
    run = open_run(chosen.run)
    world = run.world()
    if chosen.sampling and not isinstance(world, DiffusionWorld):
        parser.error(
            f"the world of {chosen.run} is no diffusion model: it takes no sampling steps; leave --sampling empty"
        )
    print("decouple, imagine at horizons " + ", ".join(map(str, chosen.horizons)))
    local = None
    for weight in (0.0, 1.0):
        for width in chosen.widths:
            for updates in chosen.updates:
                local = trained(run, width, updates, weight)
                label = f"width {width}, {updates} updates, matching {weight:.0f}"
                show(run, world, local, chosen.horizons, label)
    for steps in chosen.sampling:
        world.cfg = replace(world.cfg, sampling_steps=steps)
        show(run, world, local, chosen.horizons, f"the last, {steps} sampling steps")


if __name__ == "__main__":
    main()
