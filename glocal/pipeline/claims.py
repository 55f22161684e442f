"""What imagination claims of a policy: its success in imagined episodes that begin where real ones do."""

from typing import Any

import numpy as np

from glocal.core.types import Segment, World
from glocal.deploy.controllers import Act, acting
from glocal.deploy.planning import resting
from glocal.evaluate.gates import Reader
from glocal.evaluate.gradients import acted
from glocal.evaluate.intervals import wilson
from glocal.pipeline import build
from glocal.pipeline.run_dir import Run
from glocal.tasks.pusht import Array, PushT, PushTConfig, pose_reached


def claims(run: Run, kind: str, read: Reader, real: Array) -> dict[str, Any]:
    """Successes by pose in the policy's own world, and in the judge's where there is one.

    `true` counts the episodes that ended in reality as they were imagined.

    `real` (n,) says which of the real episodes from the evaluation's initial states succeeded.
    """
    policy, cfg = run.policy(kind), run.config.evaluate
    found = {}
    for name, world in {"own": run.world(), "judge": run.judge()}.items():
        if world is not None:
            begin = _beginnings(run, world, len(real), cfg.first_seed)
            claimed = _succeeded(run, acting(policy, run.config.cloning.forget), policy.surrogate, world, begin, read)
            found[name] = wilson(int(claimed.sum()), len(claimed)) | {"true": int((claimed == real).sum())}
    return found


def _succeeded(run: Run, act: Act, surrogate: Any, world: World, begin: Segment, read: Reader) -> Array:
    """Which of the imagined episodes (n,) reach the goal's pose."""
    obs = acted(act, world, surrogate, begin, run.config.task.control_steps, run.config.seed).seen.obs
    pose = read(obs)
    return np.any(pose_reached(np.concatenate([pose.block, pose.angle[..., None]], -1)), axis=1)


def _beginnings(run: Run, world: World, count: int, first_seed: int) -> Segment:
    """The agent at rest before the evaluation's initial states, as it is seen, (n, W, ...)."""
    task, actions = run.config.task, build.build_spec(run.config).action_dim
    assert isinstance(task, PushTConfig)
    env = PushT(task, run.picture)
    seen = [run.view(env.reset(first_seed + i)) for i in range(count)]
    return resting(run.codec, world, seen, run.config.world.context, actions)
