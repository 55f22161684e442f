"""Looks at a policy while it is trained, and what is kept by them."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch

from glocal.core.improve import PolicyIteration
from glocal.deploy.controllers import learned
from glocal.evaluate.trust import Grounds, alarm, trust
from glocal.models.policies.ppo import PPOIteration
from glocal.pipeline.real import real_of
from glocal.pipeline.run_dir import Run
from glocal.runtime import checkpoints
from glocal.runtime.files import UserError
from glocal.runtime.progress import console
from glocal.runtime.trainer import read_log

MOMENTS = 1024
"""Recorded windows that stand for what is familiar."""


class Watch:
    """Called now and then, it asks the real environment and the judge about a policy, and keeps it if it should be."""

    def __init__(self, run: Run, job: PolicyIteration | PPOIteration):
        self.run, self.job = run, job
        self.folder = run.folder / "policy"
        self.grounds = grounds(run) if run.config.watch.imagined else None
        self.looks: list[dict[str, float]] = []

    def __call__(self) -> Mapping[str, float]:
        """What was seen, for the log; torch's random numbers stay as they were."""
        with torch.random.fork_rng():
            torch.manual_seed(self.run.config.seed)
            row = self._real() | self._imagined()
        steps = {"imag/steps": float(self.job.iteration * self.job.per_iteration)}
        return steps | row

    def _real(self) -> dict[str, float]:
        watch = self.run.config.watch
        run = self.run
        real = real_of(run)
        if real is None:
            return {}
        happened = real(lambda _: learned(run.codec, self.job.model, view=run.view), watch.episodes, watch.first_seed)
        seen = {name: float(score.mean()) for name, score in happened.scores.items()}
        if watch.keep == "best":
            self._keep_if_best(list(seen.values()))
        return {f"eval/{name}": score for name, score in seen.items()}

    def _imagined(self) -> dict[str, float]:
        if self.grounds is None:
            return {}
        look = trust(self.job.model, self.grounds)
        if self.grounds.judge is not None:
            look["alarm"] = float(alarm([*self._earlier(), look]))
            self._heed(look)
        self.looks.append(look)
        return {f"trust/{name}": value for name, value in look.items()}

    def _earlier(self) -> list[dict[str, float]]:
        """Looks before this one; after an interruption, from the log."""
        if not self.looks:
            rows = [row for row in read_log(self.folder) if row["iteration"] < self.job.iteration]
            self.looks = [_named(row, "trust/") for row in rows if "trust/judge" in row]
        return self.looks

    def _heed(self, look: Mapping[str, float]) -> None:
        if look["alarm"]:
            console.print(
                f"policy: alarm at iteration {self.job.iteration}: imagined reward {look['own']:.3f} a control step, "
                f"but {look['judge']:.3f} by the judge, no more than before"
            )
        elif self.run.config.watch.keep == "trusted":
            self._save("trusted", {})

    def _keep_if_best(self, scores: Sequence[float]) -> None:
        best = checkpoints.load(self.folder / "best", "policy")
        if best is None or list(scores) > _scores(best):
            self._save("best", {"scores": list(scores)})

    def _save(self, name: str, about: Mapping[str, Any]) -> None:
        about = {**self.run.about(), **about}
        checkpoints.save(self.folder / name, "policy", self.job.iteration, about, self.job.model.state_dict(), {})


def _scores(best: checkpoints.Checkpoint) -> list[float]:
    match best.about.get("scores"):
        case [*scores] if all(isinstance(score, int | float) for score in scores):
            return scores
    raise UserError(f"{best.path / 'config.json'} is damaged: it tells no scores; delete {best.path.parent}")


def _named(row: Mapping[str, float], prefix: str) -> dict[str, float]:
    """The part of a row whose names begin with a prefix, without it."""
    return {name.removeprefix(prefix): value for name, value in row.items() if name.startswith(prefix)}


def grounds(run: Run) -> Grounds:
    """What a run's imagined episodes are judged by."""
    experience, _ = run.experience
    window, config = run.config.world.context, run.config
    return Grounds(
        world=run.world(),
        judge=run.judge(),
        beginnings=run.for_world(run.everything).beginnings(config.watch.imagined, window),
        moments=run.for_world(experience).spread(MOMENTS, window),
        control_steps=config.task.control_steps,
        horizon=config.learn.horizon,
        gamma=config.learn.gamma,
        key=config.seed,
    )
