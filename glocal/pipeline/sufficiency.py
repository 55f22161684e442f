"""Are the logs enough? A small global model's held-out loss against the number of episodes, and a forecast."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch

from glocal.core.improve import Metrics
from glocal.data.doctor import Finding
from glocal.data.segments import Recorded
from glocal.pipeline import build
from glocal.pipeline.config import Config, to_dict
from glocal.pipeline.run_dir import Run
from glocal.runtime import checkpoints
from glocal.runtime.files import UserError, sha256
from glocal.runtime.trainer import Fit, FitConfig, threads, train

SHARES = (1 / 8, 1 / 4, 1 / 2, 1.0)
"""Of the training episodes."""
BATCHES = 24
"""Of held-out windows in a measurement."""
EXPONENTS = np.linspace(0.1, 2.0, 39)
WORTH = 0.05
"""Share of the loss that twice as many episodes have to be forecast to save before more are advised."""


@dataclass(frozen=True)
class Law:
    """loss(n) = floor + scale n^-exponent, as losses mostly fall with data (Hestness et al., arXiv 1712.00409)."""

    floor: float
    scale: float
    exponent: float

    def at(self, episodes: float) -> float:
        """The loss with so many episodes."""
        return self.floor + self.scale * episodes**-self.exponent


def fitted(episodes: Sequence[float], losses: Sequence[float]) -> Law:
    """The law nearest to what was measured, in squares; neither floor nor scale is below 0."""
    n, found = np.asarray(episodes, float), np.asarray(losses, float)
    best, law = np.inf, Law(float(found.mean()), 0.0, 1.0)
    for exponent in EXPONENTS:
        falls = n**-exponent
        slope = max(0.0, float(np.cov(falls, found, bias=True)[0, 1] / falls.var()))
        floor = float(found.mean() - slope * falls.mean())
        if floor < 0:
            floor, slope = 0.0, float((falls * found).sum() / (falls**2).sum())
        error = float(((floor + slope * falls - found) ** 2).sum())
        if error < best:
            best, law = error, Law(floor, slope, float(exponent))
    return law


def enough(run: Run, updates: int) -> Finding:
    """Train global models of size 1 on growing shares of a run's training episodes, and say what more would bring.

    Each goes on from its last checkpoint. Raises `UserError` where there are too few episodes to halve three times.
    """
    episodes = run.experience[0].episodes
    counts = [round(share * episodes) for share in SHARES]
    if counts[0] < 1:
        raise UserError(f"{episodes} training episodes are too few to halve three times; record 8 or more")
    losses = [_loss(run, count, updates) for count in counts]
    law, total = fitted(counts, losses), counts[-1]
    now, then = law.at(total), law.at(2 * total)
    saved = 1 - then / now
    numbers = {f"{count} episodes": loss for count, loss in zip(counts, losses, strict=True)}
    found = ", ".join(f"{loss:.3f} with {count}" for count, loss in zip(counts, losses, strict=True))
    found = f"held-out loss {found} episodes; {then:.3f} is forecast with {2 * total}, {saved:.0%} less"
    advice = f"record more: twice as many episodes would save {saved:.0%} of the loss" if saved > WORTH else ""
    more = {"forecast": then, "saved": saved, "floor": law.floor, "exponent": law.exponent}
    return Finding("enough", "warn" if saved > WORTH else "ok", found, advice, numbers | more)


def _loss(run: Run, count: int, updates: int) -> float:
    """The held-out loss of a small global model that was trained on so many episodes, spread over all."""
    config = replace(run.config, world=replace(run.config.world, size=min(1, run.config.world.size)))
    world = build.build_world(config, run.codec).to(run.device)
    length = world.length
    experience, held_out = (run.for_world(recorded) for recorded in run.experience)
    kept = experience.only(torch.arange(count) * experience.episodes // count)
    folder = run.folder / "enough" / f"{_asked(run, config)}-{count}-{updates}"
    with threads(config.threads):
        torch.manual_seed(config.seed)
        world.fit_statistics(kept.pairs())
        cfg = FitConfig(updates=updates, batch=256)

        def loss() -> tuple[torch.Tensor, Metrics]:
            return world.loss(kept.draw(cfg.drawn, length, world.acted))

        train(Fit(cfg, world, loss), folder, f"{count}ep", run.about(), config.clock)
        checkpoint = checkpoints.load(folder, f"{count}ep")
        assert checkpoint is not None
        checkpoints.restore(world, checkpoint)
        return _measured(world, held_out, length, config.seed)


def _asked(run: Run, config: Config) -> str:
    """A hash of the data, of how they are seen, and of the model that is asked."""
    codec = run.folder / "codec" / "last" / "model.safetensors"
    seen = sha256(codec) if codec.is_file() else ""
    told = json.dumps([run.store.hash, seen, to_dict(config)["world"], config.seed], sort_keys=True)
    return hashlib.sha256(told.encode()).hexdigest()[:12]


@torch.no_grad()
def _measured(world: build.GlobalModel, held_out: Recorded, length: int, seed: int) -> float:
    """The loss on held-out windows; equal windows and equal noise for every model."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        losses = [float(world.loss(held_out.draw(256, length, world.acted))[0]) for _ in range(BATCHES)]
        return float(np.mean(losses))
