"""What several processes cost that train a global model together: time and memory, measured beside what is predicted.

    torchrun --standalone --nproc-per-node 2 benchmarks/team.py [PRESET] [--size N] [--batch N] [--repeats N]

Each process uses one thread, or a GPU of its own. Predicted are, for N processes (docs/scale.md): an update's seconds,
those of one process's share of the minibatch and those of adding up gradients at the bandwidth that is measured first;
and the bytes of weights, gradients, averages and the optimizer's two moments that each process holds. The share's
seconds are measured by all processes at the same time, so that they hinder one another as much as in an update.
"""

import argparse
import time
from collections.abc import Callable
from dataclasses import replace
from statistics import median
from typing import Any

import torch
import torch.distributed as dist
from throughput import recorded, untrained
from torch import Tensor
from torch.distributed.tensor import DTensor

from glocal.pipeline.config import Config
from glocal.pipeline.presets import PRESETS
from glocal.runtime.team import leave, team, together
from glocal.runtime.trainer import Fit, FitConfig

KEPT = 5
"""Numbers for each weight: itself, its gradient, its average, and the optimizer's two."""


def spent(call: Callable[[], object], repeats: int, device: torch.device) -> float:
    """Median seconds of a call that all processes begin together."""
    found = []
    for turn in range(repeats + 1):
        team().wait()
        began = time.perf_counter()
        call()
        if device.type == "cuda":
            torch.cuda.synchronize()
        if turn:
            found.append(time.perf_counter() - began)
    return median(found)


def fitted(config: Config, cfg: FitConfig, device: torch.device) -> Fit:
    torch.manual_seed(0)
    world = untrained(config, device)
    seen = recorded(config, cfg.drawn, world.length, device)
    return Fit(cfg, world, lambda: world.loss(seen))


def held(fit: Fit) -> int:
    """Bytes of what this process keeps between updates, gradients among it."""
    weights = list(fit.module.parameters())
    every: list[Any] = [*weights, *(x.grad for x in weights if x.grad is not None), *fit.average.module.parameters()]
    every += [x for state in fit.optimizer.state.values() for x in state.values() if isinstance(x, Tensor) and x.ndim]
    local = [x.to_local() if isinstance(x, DTensor) else x for x in every]
    return sum(x.numel() * x.element_size() for x in local)


def bandwidth(numbers: int, repeats: int, device: torch.device) -> float:
    """Bytes of gradients that are added up over all processes in a second."""
    flat = torch.zeros(numbers, device=device)
    return 4 * numbers / spent(lambda: dist.all_reduce(flat), repeats, device)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("preset", nargs="?", default="pusht-dreamer", choices=sorted(PRESETS))
    parser.add_argument("--size", type=int, default=None)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--repeats", type=int, default=3)
    chosen = parser.parse_args()
    torch.set_num_threads(1)
    config = PRESETS[chosen.preset]
    if chosen.size is not None:
        config = replace(config, world=replace(config.world, size=chosen.size))
    with together() as all_of_us:
        size = all_of_us.size
        if size == 1:
            parser.error("this is about several processes: start it with torchrun")
        device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        cfg = FitConfig(batch=chosen.batch)
        share = fitted(config, cfg, device)

        def differentiated() -> None:
            share.loss()[0].backward()

        alone = spent(differentiated, chosen.repeats, device)
        numbers = sum(x.numel() for x in share.module.parameters())
        speed = bandwidth(numbers, chosen.repeats, device)
        for weights, sent in (("whole", 1), ("sharded", 3)):
            fit = fitted(config, replace(cfg, weights=weights), device)
            seconds = spent(fit.iterate, chosen.repeats, device)
            kept, expected = held(fit), 4 * KEPT * numbers / (1 if weights == "whole" else size)
            if all_of_us.leads:
                guess = alone + sent * 4 * numbers / speed / (1 if sent == 1 else 2)
                print(
                    f"{chosen.preset}, {numbers / 1e6:.2f} M weights {weights}, {size} processes: "
                    f"{1e3 * seconds:.0f} ms an update (predicted {1e3 * guess:.0f}: {1e3 * alone:.0f} for a share), "
                    f"{kept / 2**20:.1f} MiB held by one (predicted {expected / 2**20:.1f})",
                    flush=True,
                )
    leave()


if __name__ == "__main__":
    main()
