"""What a global model costs by size, batch, horizon and context, beside what arithmetic alone would.

    python benchmarks/cost.py [--presets ...] [--repeats N] [--threads N] [--device cuda]

One thing is varied at a time. Operations are counted by PyTorch's counter (a multiplication and an addition are two;
what is neither a convolution nor a product of matrices, nor attention, is not counted), seconds are medians over calls
that take turns within each axis, and the peak is the fastest product of square matrices in bfloat16 on the same
threads, measured before and after. "Again" is what a step along the axis costs, over what it should where cost is
proportional to operations: 1 is linear, less is better than that.
"""

import argparse
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from statistics import median
from typing import Any

import torch
from speed import now
from throughput import recorded, untrained
from torch.utils.flop_counter import FlopCounterMode, sdpa_backward_flop_count, sdpa_flop_count

from glocal.pipeline import build, stages
from glocal.pipeline.config import Config
from glocal.pipeline.presets import PRESETS

SIDES = (512, 1024, 2048)
"""Of the matrices by whose products the peak is found."""
BATCH, HORIZON = 16, 4
_CPU = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu
_CPU_BACKWARD = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu_backward
ATTENTION: dict[Any, Any] = {
    _CPU: lambda *shapes, **_: sdpa_flop_count(*shapes[:3]),
    _CPU_BACKWARD: lambda *shapes, **_: sdpa_backward_flop_count(*shapes[:4]),
}
"""What the counter does not know of attention on CPUs."""


@dataclass
class Work:
    """Something to be timed: what is varied, its value, the call, and what was found."""

    axis: str
    value: int
    call: Callable[[], object]
    operations: float
    seconds: list[float]

    @property
    def typical(self) -> float:
        return median(self.seconds)


def peak(device: torch.device) -> float:
    """Operations per second of the fastest product of matrices."""
    best = 0.0
    for side in SIDES:
        matrix = torch.randn(side, side, device=device, dtype=torch.bfloat16)
        for _ in range(5):
            began = now(device)
            matrix @ matrix
            best = max(best, 2 * side**3 / (now(device) - began))
    return best


def counted(call: Callable[[], object]) -> float:
    with FlopCounterMode(display=False, custom_mapping=ATTENTION) as counter:
        call()
    return float(counter.get_total_flops())


def training(config: Config, batch: int, device: torch.device) -> Callable[[], object]:
    """A loss of a minibatch and its gradients."""
    world = untrained(config, device)
    seen = recorded(config, batch, world.length, device)
    loss = build.compiled(world.loss, device)

    def call() -> None:
        world.zero_grad()
        loss(seen)[0].backward()

    return call


def imagining(config: Config, batch: int, horizon: int, device: torch.device) -> Callable[[], object]:
    """As many steps, one after the other, of as many environments, from a context that was begun before."""
    world = untrained(config, device).requires_grad_(False)
    seen = recorded(config, batch, world.cfg.context + 1, device)
    stages.compile_answers(world, device)
    begun = world.begin(seen, 0)

    def call() -> None:
        context = begun
        with torch.no_grad():
            for _ in range(horizon):
                context, _ = world.step(context, seen.action[:, 0])

    return call


def axes(config: Config, device: torch.device) -> Iterator[list[tuple[str, int, Callable[[], object]]]]:
    """What is varied, one thing at a time."""

    def sized(size: Any) -> Config:
        return replace(config, world=replace(config.world, size=size))

    def seeing(context: int) -> Config:
        world = replace(config.world, context=context)
        back = {name: context for name in ("back", "window") if hasattr(world, name)}
        return replace(config, world=replace(world, **back))

    yield [("training, size", size, training(sized(size), BATCH, device)) for size in (0, 1, 2)]
    yield [("training, batch", batch, training(config, batch, device)) for batch in (8, 16, 32, 64)]
    yield [("imagining, batch", batch, imagining(config, batch, 1, device)) for batch in (16, 64, 256)]
    yield [("imagining, horizon", steps, imagining(config, BATCH, steps, device)) for steps in (1, 4, 16)]
    yield [("imagining, context", seen, imagining(seeing(seen), BATCH, HORIZON, device)) for seen in (2, 4, 8, 16)]


def measured(group: list[tuple[str, int, Callable[[], object]]], repeats: int, device: torch.device) -> list[Work]:
    works = [Work(axis, value, call, counted(call), []) for axis, value, call in group]
    for turn in range(repeats + 1):
        for work in works:
            began = now(device)
            work.call()
            if turn:
                work.seconds.append(now(device) - began)
    return works


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    usual = ["pusht-points", "pusht-grid", "pusht-motion", "pusht-pixels", "pusht-dreamer"]
    parser.add_argument("--presets", nargs="+", default=usual, choices=sorted(PRESETS))
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--device", default="cpu", choices=("cpu", "cuda"))
    chosen = parser.parse_args()
    torch.set_num_threads(chosen.threads)
    device = torch.device(chosen.device)
    first = peak(device)
    print(f"{'':34} {'value':>6} {'GFLOP':>9} {'ms':>9} {'GFLOP/s':>9} {'again':>6}")
    for preset in chosen.presets:
        for group in axes(PRESETS[preset], device):
            before = None
            for work in measured(group, chosen.repeats, device):
                line = f"{preset + ' ' + work.axis:34} {work.value:6} {work.operations / 1e9:9.3f} "
                line += f"{1e3 * work.typical:9.1f} {work.operations / 1e9 / work.typical:9.1f}"
                if before is not None:
                    again = work.typical / before.typical / (work.operations / before.operations)
                    line += f" {again:6.2f}"
                print(line, flush=True)
                before = work
    print(f"peak: {first / 1e9:.0f} GFLOP/s before, {peak(device) / 1e9:.0f} after")


if __name__ == "__main__":
    main()
