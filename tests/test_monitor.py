"""Looks at a policy while it is trained: the best one is kept, whatever comes after it.

Episodes of one control step, in which the agent is too far from the block to move it: what a look finds is where its
seed puts the block.
"""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from glocal.data.store import seal, write_episode
from glocal.pipeline import build
from glocal.pipeline.monitor import Watch
from glocal.pipeline.presets import PRESETS
from glocal.pipeline.run_dir import Run
from glocal.runtime import checkpoints
from glocal.runtime.files import UserError

DEBUG = PRESETS["pusht-keypoints-debug"]
FAR, HALF, MORE = 146, 244, 1361
"""Seeds that put the block within no pose, at coverages of 0.46, 0.47 and 0.71."""
POSE, POSE_MORE = 5583, 2423
"""Within the pose, at coverages of 0.36 and 0.82."""


def a_run(folder, count: int = 4, **options) -> Run:
    """A run that has recorded some episodes; in episode i the agent stands at (i, i), and the reward is i / 100."""
    for number in range(count):
        fields = {
            "keypoints": np.full((5, 16), 256.0, np.float32),
            "agent": np.full((5, 2), number, np.float32),
            "action": np.zeros((5, 2), np.float32),
            "reward": np.full(5, number / 100, np.float32),
            "cont": np.ones(5, np.float32),
        }
        write_episode(folder / "data", number, fields)
    seal(folder / "data", {})
    return Run(folder, replace(DEBUG, **options))


def looks(run: Run, seeds: list[int], keep: str = "best") -> list[int | None]:
    """The iteration of the policy that is kept as best after each look, each of an episode of another seed."""
    torch.manual_seed(0)
    job = SimpleNamespace(model=build.build_policy(run.config, build.build_surrogate(run.config)), per_iteration=10)
    kept = []
    for job.iteration, seed in enumerate(seeds):
        watch = replace(run.config.watch, keep=keep, imagined=0, episodes=1, first_seed=seed)
        config = replace(run.config, watch=watch, task=replace(run.config.task, control_steps=1))
        row = Watch(Run(run.folder, config), job)()  # pyright: ignore[reportArgumentType]
        assert row["imag/steps"] == 10 * job.iteration and row["eval/pose"] == float(seed in (POSE, POSE_MORE))
        best = checkpoints.load(run.folder / "policy" / "best", "policy")
        kept.append(None if best is None else best.iteration)
    return kept


@pytest.mark.parametrize(
    "seeds, kept",
    [
        ([HALF, POSE, HALF], [0, 1, 1]),
        ([HALF, MORE, FAR], [0, 1, 1]),
        ([MORE, POSE, POSE_MORE], [0, 1, 2]),
        ([POSE, POSE], [0, 0]),
    ],
    ids=["by pose", "then by coverage", "pose before coverage", "the first of equals"],
)
def test_the_best_policy_seen_is_kept(tmp_path, seeds, kept):
    assert looks(a_run(tmp_path), seeds) == kept


def test_nothing_is_kept_apart_where_the_last_policy_is_deployed(tmp_path):
    assert looks(a_run(tmp_path), [HALF, MORE], keep="last") == [None, None]


def test_a_look_tells_what_its_episodes_came_to_and_leaves_torchs_random_numbers_alone(tmp_path):
    run = a_run(tmp_path)
    watch = replace(run.config.watch, imagined=0, episodes=2, first_seed=POSE_MORE)  # the next seed's is far away
    config = replace(run.config, watch=watch, task=replace(run.config.task, control_steps=1))
    model = build.build_policy(config, build.build_surrogate(config))
    before = torch.get_rng_state()
    row = Watch(Run(tmp_path, config), SimpleNamespace(model=model, iteration=3, per_iteration=7))()  # pyright: ignore[reportArgumentType]
    assert torch.equal(torch.get_rng_state(), before)
    assert row["eval/pose"] == 0.5 and row["eval/coverage95"] == 0.0 and row["imag/steps"] == 21
    assert 0.4 < row["eval/max_coverage"] < 0.6


@pytest.mark.parametrize("scores", [None, 3, "high", ["high"], {}])
def test_a_best_policy_that_tells_no_scores_is_named(tmp_path, scores):
    run = a_run(tmp_path)
    model = build.build_policy(run.config, build.build_surrogate(run.config))
    checkpoints.save(tmp_path / "policy" / "best", "policy", 0, {"scores": scores}, model.state_dict(), {})
    with pytest.raises(UserError, match="it tells no scores"):
        looks(run, [HALF])
