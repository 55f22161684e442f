"""Ten iterations of each `debug` model, their losses kept as text: what changes them was meant to.

python -m tests.test_golden        writes the files anew
"""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch

from glocal.core.improve import PolicyIteration
from glocal.core.types import Pairs, Segment
from glocal.pipeline import build
from glocal.pipeline.config import Config
from glocal.pipeline.presets import PRESETS
from glocal.runtime.trainer import Fit

FOLDER = Path(__file__).parent / "golden"
TOLERANCE = 1e-4
"""Relative: processors differ in the last bits, and ten iterations make more of them."""


def experience(config: Config) -> Callable[[int, int], Segment]:
    """Windows of a scene that drifts."""
    dim = build.build_spec(config).obs_dim
    start = torch.rand(dim) - 0.5

    def draw(count: int, length: int) -> Segment:
        obs = start + 0.02 * torch.randn(count, length, dim).cumsum(1)
        reward = (-obs.abs().mean(-1)).exp()
        return Segment(obs, torch.rand(count, length, 2) * 2 - 1, reward, torch.ones(count, length))

    return draw


def measured(model: torch.nn.Module, seen: Segment) -> torch.nn.Module:
    if hasattr(model, "fit_statistics"):
        model.fit_statistics(Pairs(seen.obs[:, 0], seen.action[:, 1], seen.obs[:, 1], seen.reward[:, 1]))
    return model


def losses(name: str) -> Iterator[float]:
    """The losses, or for the policy the imagined returns, of ten iterations."""
    preset, kind = name.split(".")
    config = PRESETS[preset]
    torch.manual_seed(0)
    draw = experience(config)
    with torch.random.fork_rng():
        codec = build.build_codec(config)
    world = measured(build.build_world(config, codec), draw(32, 2))
    surrogate = measured(build.build_surrogate(config), draw(32, 2))
    if kind == "policy":
        policy, critics = build.build_policy(config, surrogate), build.build_critics(config, surrogate)
        work = PolicyIteration(config.learn, world.requires_grad_(False), policy, critics, draw, draw)
        yield from (float(work.iterate()["imag/return"]) for _ in range(10))
    else:
        model, length = (world, config.world.context + 1) if kind == "global" else (surrogate, 6)
        fit = Fit(config.world_fit, model, lambda: model.loss(draw(16, length)))
        yield from (float(fit.iterate()["train/loss"]) for _ in range(10))


NAMES = [
    f"{preset}.{kind}"
    for preset in ("pusht-keypoints-debug", "pusht-keypoints-rssm-debug", "pusht-debug")
    for kind in ("global", "local", "policy")
]


@pytest.mark.parametrize("name", NAMES)
def test_losses_are_what_they_were(name):
    kept = [float(line) for line in (FOLDER / f"{name}.txt").read_text().split()]
    assert list(losses(name)) == pytest.approx(kept, rel=TOLERANCE)


if __name__ == "__main__":
    torch.set_num_threads(1)
    for each in NAMES:
        (FOLDER / f"{each}.txt").write_text("".join(f"{loss:.8f}\n" for loss in losses(each)))
