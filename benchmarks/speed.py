"""How fast imagination is: the global model alone, a whole policy iteration, and where an iteration's time goes.

    python benchmarks/speed.py [PRESET] [--iterations N] [--threads N] [--device cuda] [option ...]

Runs on untrained models of a preset's sizes: speed does not depend on weights. The parts of an iteration are timed in
turn within each iteration, so that a machine that slows down slows all of them; on a GPU each part is waited for.
Further options are the preset's: --learn.envs 1024.
"""

import argparse
import time
from collections import defaultdict
from statistics import median

import torch
import tyro

from glocal.core.improve import PolicyIteration
from glocal.core.types import Pairs, Segment
from glocal.pipeline import build, stages
from glocal.pipeline.config import Config, PictureWorldConfig
from glocal.pipeline.presets import PRESETS
from glocal.tasks.pusht import IMAGE_SIZE


def resting(config: Config, count: int, length: int) -> Segment:
    """Scenes in which nothing happens."""
    spec = build.build_spec(config)
    obs = (torch.rand(count, 1, spec.obs_dim) - 0.5).expand(-1, length, -1).clone()
    action, reward = torch.zeros(count, length, spec.action_dim), torch.rand(count, length)
    drawn = isinstance(config.world, PictureWorldConfig)
    pictures = torch.zeros(count, length, 3 * IMAGE_SIZE**2, dtype=torch.uint8) if drawn else None
    return Segment(obs, action, reward, torch.ones(count, length), pictures)


def assembled(config: Config, device: torch.device) -> PolicyIteration:
    codec = build.build_codec(config).to(device)
    world = build.build_world(config, codec).to(device).requires_grad_(False)
    surrogate = build.build_surrogate(config).to(device)
    seen = resting(config, 64, 2).tensors(lambda x: x.to(device))
    for model in (world, surrogate):
        if hasattr(model, "fit_statistics"):
            model.fit_statistics(Pairs(seen.obs[:, 0], seen.action[:, 1], seen.obs[:, 1] + 0.01, seen.reward[:, 1]))
    stages.compile_answers(world, device)
    policy = build.build_policy(config, surrogate).to(device)
    critics = build.build_critics(config, surrogate).to(device)
    kept = resting(config, config.learn.envs, config.learn.warm_up + config.learn.horizon)
    kept = kept.tensors(lambda x: x.to(device))

    def source(count: int, length: int) -> Segment:
        return kept[:count, :length]

    return PolicyIteration(config.learn, world, policy, critics, source, source)


def now(device: torch.device) -> float:
    """The time at which the device has done what it was given."""
    if device.type == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter()


def timed(work: PolicyIteration, device: torch.device) -> dict[str, list[float]]:
    """Seconds of each part per iteration, filled in as the parts run."""
    spent: dict[str, list[float]] = defaultdict(list)

    def watch(owner: object, name: str, label: str) -> None:
        inner = getattr(owner, name)

        def outer(*args: object) -> object:
            began = now(device)
            result = inner(*args)
            spent[label][-1] += now(device) - began
            return result

        setattr(owner, name, outer)

    watch(work.world, "step", "global rollout")
    watch(work, "_imagine", "rollout, both models")
    watch(work.environments, "restart", "restarts")
    watch(work, "_improve_actor", "actor")
    watch(work, "_fit_critics", "critics")
    watch(work, "_refresh", "refresh")
    return spent


LABELS = ("global rollout", "rollout, both models", "restarts", "actor", "critics", "refresh", "iteration")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("preset", nargs="?", default="pusht-keypoints", choices=sorted(PRESETS))
    parser.add_argument("--iterations", type=int, default=20)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--device", default="cpu", choices=("cpu", "cuda"))
    chosen, options = parser.parse_known_args()
    device = torch.device(chosen.device)
    torch.set_num_threads(chosen.threads)
    config = tyro.cli(tyro.conf.AvoidSubcommands[Config], default=PRESETS[chosen.preset], args=options)
    work = assembled(config, device)
    work.iterate()
    spent = timed(work, device)
    for _ in range(chosen.iterations):
        for label in LABELS:
            spent[label].append(0.0)
        began = now(device)
        work.iterate()
        spent["iteration"][-1] = now(device) - began
    total, alone = median(spent["iteration"]), median(spent["global rollout"])
    print(
        f"{chosen.preset}: {config.learn.envs} environments, horizon {config.learn.horizon}, {chosen.threads} thread(s)"
    )
    print(f"global model alone: {work.per_iteration / alone:,.0f} imagined steps/s")
    print(f"policy iteration:   {work.per_iteration / total:,.0f} imagined steps/s")
    print(f"iteration / global rollout (medians of {chosen.iterations}): {total / alone:.2f}")
    for label in LABELS[:-1]:
        print(f"  {label:22} {1000 * median(spent[label]):7.1f} ms  {median(spent[label]) / total:5.0%}")


if __name__ == "__main__":
    main()
