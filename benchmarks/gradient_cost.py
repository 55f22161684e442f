"""What a gradient costs: seconds and peak memory of each link, and of BPTT through the global model, by horizon.

    python benchmarks/gradient_cost.py PRESET [--envs N] [--repeats N] [option ...]

Untrained models of a preset's sizes: cost does not depend on weights. The links are timed in turn, so that a machine
that slows down slows all of them. Memory (on Linux) is what a process of its own needed at most, less what it held
before.
Further options are the preset's: --world.size 3.
"""

import argparse
import subprocess
import sys
import time
from pathlib import Path
from statistics import median

import torch
import tyro
from speed import assembled

from glocal.core.gradients import LINKS
from glocal.core.improve import PolicyIteration
from glocal.core.rollout import rollout
from glocal.pipeline.config import Config
from glocal.pipeline.presets import PRESETS

HORIZONS = (8, 16, 32, 64)
ALONE = "rollout alone"
NAMES = (ALONE, "freeze", "decouple", "infer_noise", "imagine", "bptt")


def once(work: PolicyIteration, name: str, horizon: int) -> None:
    """One rollout and, but for the rollout alone, the gradient of its return by the actions."""
    now, envs = work.imagined, work.cfg.envs
    perturbation = torch.zeros(envs, horizon, now.recent.action.shape[-1], requires_grad=name != ALONE)
    link = LINKS["freeze" if name == ALONE else name]
    with torch.set_grad_enabled(name != ALONE):
        _, _, happened = rollout(
            work.actor, work.world, work.surrogate, now.context, now.belief, horizon, link, perturbation
        )
        if name != ALONE:
            torch.autograd.grad(work.return_of(happened).sum(), perturbation, materialize_grads=True)


def seconds(work: PolicyIteration, horizon: int, repeats: int) -> dict[str, float]:
    spent: dict[str, list[float]] = {name: [] for name in NAMES}
    for _ in range(repeats + 1):
        for name in NAMES:
            began = time.perf_counter()
            once(work, name, horizon)
            spent[name].append(time.perf_counter() - began)
    return {name: median(times[1:]) for name, times in spent.items()}


def resident(what: str) -> float:
    """MiB of this process by Linux: `VmRSS`, what it holds now, or `VmHWM`, the most it held since `forget`."""
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    return next(float(line.split()[1]) / 1024 for line in lines if line.startswith(what))


def forget() -> None:
    """Count the most that is held from now on."""
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("preset", choices=sorted(PRESETS))
    parser.add_argument("--envs", type=int, default=256)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--horizons", type=int, nargs="+", default=HORIZONS)
    parser.add_argument("--only", nargs=2, metavar=("LINK", "HORIZON"), help="print the memory of one, in MiB")
    chosen, options = parser.parse_known_args()
    torch.set_num_threads(1)
    config = tyro.cli(tyro.conf.AvoidSubcommands[Config], default=PRESETS[chosen.preset], args=options)
    options += ["--learn.envs", str(chosen.envs)]
    config = tyro.cli(tyro.conf.AvoidSubcommands[Config], default=config, args=options)
    work = assembled(config, torch.device("cpu"))
    if chosen.only:
        once(work, chosen.only[0], 1)  # what is set up at the first call is no part of it
        forget()
        before = resident("VmRSS")
        once(work, chosen.only[0], int(chosen.only[1]))
        print(f"{resident('VmHWM') - before:.0f}")
        return
    print(f"{chosen.preset}: {chosen.envs} environments, one thread; ms and MiB, and times the rollout alone")
    for horizon in chosen.horizons:
        spent = seconds(work, horizon, chosen.repeats)
        for name in NAMES:
            command = [sys.executable, __file__, chosen.preset, *options, "--only", name, str(horizon)]
            memory = subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()
            ratio = spent[name] / spent[ALONE]
            print(f"H {horizon:2}  {name:14} {1000 * spent[name]:8.0f} ms {memory:>6} MiB {ratio:6.2f} x", flush=True)


if __name__ == "__main__":
    main()
