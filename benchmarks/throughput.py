"""How fast models train and imagine, by size, batch and device.

    python benchmarks/throughput.py [--presets ...] [--sizes ...] [--batches ...] [--device cpu] [--threads N]

Runs on untrained models: speed does not depend on weights. Each figure is the median of `--repeats` calls after one
that is not counted; on a GPU models are compiled as they are in training, and calls are waited for.
"""

import argparse
import time
from collections.abc import Callable
from dataclasses import replace
from statistics import median
from typing import Any

import torch
from speed import resting

from glocal.core.types import Pairs, Segment
from glocal.pipeline import build, stages
from glocal.pipeline.config import Config
from glocal.pipeline.presets import PRESETS
from glocal.runtime.trainer import Fit


def recorded(config: Config, count: int, length: int, device: torch.device) -> Segment:
    """Scenes in which nothing much happens."""
    spec = build.build_spec(config)
    obs = (torch.rand(count, 1, spec.obs_dim) - 0.5) + 0.01 * torch.randn(count, length, spec.obs_dim)
    return replace(resting(config, count, length), obs=obs).tensors(lambda x: x.to(device))


def untrained(config: Config, device: torch.device) -> Any:
    """A global model with statistics of scenes in which nothing much happens."""
    world = build.build_world(config, build.build_codec(config).to(device)).to(device)
    seen = recorded(config, 16, 2, device)
    world.fit_statistics(Pairs(seen.obs[:, 0], seen.action[:, 1], seen.obs[:, 1], seen.reward[:, 1]))
    return world


def per_second(work: Callable[[], object], count: int, repeats: int, device: torch.device) -> float:
    """Items of `count` per call, per second."""
    spent = []
    for _ in range(repeats + 1):
        began = time.perf_counter()
        work()
        if device.type == "cuda":
            torch.cuda.synchronize()
        spent.append(time.perf_counter() - began)
    return count / median(spent[1:])


def world_speeds(config: Config, batch: int, repeats: int, device: torch.device) -> tuple[float, float]:
    """Training samples and imagined steps per second."""
    world = untrained(config, device)
    seen = recorded(config, batch, world.length, device)
    loss = build.compiled(world.loss, device)
    fit = Fit(config.world_fit, world, lambda: loss(seen))
    trained = per_second(fit.iterate, batch, repeats, device)
    stages.compile_answers(world, device)
    context = world.begin(seen, 0)

    def imagine() -> None:
        with torch.no_grad():
            world.step(context, seen.action[:, 0])

    return trained, per_second(imagine, batch, repeats, device)


def codec_speeds(config: Config, batch: int, repeats: int, device: torch.device) -> tuple[float, float]:
    """Training images and encoded images per second."""
    codec = build.build_codec(config).to(device)
    fields = {"image": torch.randint(256, (batch, 64, 64, 3)).byte().to(device), "agent": torch.rand(batch, 2) * 512}
    fields["agent"] = fields["agent"].to(device)
    loss = build.compiled(codec.loss, device)
    fit = Fit(config.codec_fit, codec, lambda: loss(fields))
    trained = per_second(fit.iterate, batch, repeats, device)

    def encode() -> None:
        with torch.no_grad():
            codec.encode(fields)

    return trained, per_second(encode, batch, repeats, device)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--presets", nargs="+", default=["pusht", "pusht-grid"], choices=sorted(PRESETS))
    parser.add_argument("--sizes", nargs="+", type=int, default=[1, 2, 3])
    parser.add_argument("--batches", nargs="+", type=int, default=[64, 512])
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--device", default="cpu", choices=("cpu", "cuda"))
    chosen = parser.parse_args()
    torch.set_num_threads(chosen.threads)
    device = torch.device(chosen.device)
    where = torch.cuda.get_device_name() if device.type == "cuda" else f"cpu, {chosen.threads} thread(s)"
    print(f"{where}; items per second\n{'model':32} {'batch':>6} {'trained':>10} {'used':>10}")
    for preset in chosen.presets:
        config = PRESETS[preset]
        if config.task.images:
            trained, used = codec_speeds(config, 32, chosen.repeats, device)
            print(f"{preset + ' codec':32} {32:6} {trained:10,.0f} {used:10,.0f}", flush=True)
        for size in chosen.sizes:
            sized = replace(config, world=replace(config.world, size=size))
            for batch in chosen.batches:
                trained, used = world_speeds(sized, batch, chosen.repeats, device)
                print(f"{f'{preset} global, size {size}':32} {batch:6} {trained:10,.0f} {used:10,.0f}", flush=True)


if __name__ == "__main__":
    main()
