"""Several processes train as one does: the same minibatches, the same losses, the same weights."""

import json
import os
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from glocal.cli import main
from glocal.core.improve import PolicyIteration
from glocal.pipeline import build
from glocal.pipeline.run import open_run
from glocal.runtime.files import UserError
from glocal.runtime.team import Team, team
from glocal.runtime.trainer import Fit, FitConfig
from tests import team_job

TORCHRUN = (sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node")
GLOCAL = ("--no-python", "--", Path(sys.executable).parent / "glocal")
ROOT = Path(__file__).parent.parent


def launched(processes: int, *command: object, passes: bool = True) -> str:
    """What a command says that `torchrun` starts in so many processes."""
    env = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT), "CUDA_VISIBLE_DEVICES": ""}
    told = [*TORCHRUN, str(processes), *map(str, command)]
    ran = subprocess.run(told, capture_output=True, text=True, check=False, env=env, cwd=ROOT, timeout=300)
    assert (ran.returncode == 0) == passes, ran.stderr[-8000:]
    return ran.stderr


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return load_file(folder / "last" / "model.safetensors")


def losses(folder: Path) -> list[float]:
    return [json.loads(line)["train/loss"] for line in (folder / "log.jsonl").read_text().splitlines()]


def same(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    return set(one) == set(other) and all(torch.allclose(one[name], other[name], atol=1e-6) for name in one)


def test_one_process_alone_is_a_team():
    assert team() == Team(0, 1) and team().leads and list(team().share(3)) == [0, 1, 2]
    assert list(Team(1, 3).share(7)) == [1, 4] and not Team(1, 3).leads
    assert Team().tell("anything") == "anything"


def test_shards_are_the_same_whatever_else_is_drawn_and_make_a_mean():
    """Each has random numbers of its own, and those outside go on as if there were one draw a minibatch."""
    found = []
    for shards in (1, 2):
        torch.manual_seed(0)
        model = torch.nn.Linear(1, 1)
        seen: list[torch.Tensor] = []

        def loss(model=model, seen=seen):
            seen.append(torch.randn(2))
            return model.weight.sum() * seen[-1].mean(), {}

        fit = Fit(FitConfig(updates=5, batch=4, shards=shards, clip=100.0), model, loss)
        fit.iterate()
        found.append((seen, model.weight.grad, torch.rand(())))
    (alone, *_), (parts, gradient, _) = found
    assert len(alone) == 1 and len(parts) == 2 and not torch.equal(*parts)
    assert gradient is not None and torch.allclose(gradient.squeeze(), torch.stack(parts).mean(), atol=1e-6)


@pytest.mark.parametrize("batch, shards", [(10, 4), (7, 2)])
def test_minibatches_that_cannot_be_shared_out_are_refused(batch, shards):
    with pytest.raises(UserError, match=rf"minibatch of {batch} in {shards} parts cannot be shared out evenly"):
        Fit(FitConfig(batch=batch, shards=shards), torch.nn.Linear(1, 1), lambda: (torch.zeros(()), {}))


@pytest.mark.parametrize("held, then", [("whole", "sharded"), ("sharded", "whole")])
def test_any_number_of_processes_trains_the_same_and_goes_on_where_another_was(tmp_path, held, then):
    """However they hold the weights, and whatever those held them as that went before."""
    team_job.main(tmp_path / "alone", 0)
    job = ROOT / "tests" / "team_job.py"
    launched(2, job, tmp_path / "more", 3, held, passes=False)
    assert len(losses(tmp_path / "more")) == 3
    launched(4, job, tmp_path / "more", 5, then, passes=False)
    team_job.main(tmp_path / "more", 0)
    assert same(weights(tmp_path / "more"), weights(tmp_path / "alone"))
    assert losses(tmp_path / "more") == pytest.approx(losses(tmp_path / "alone"), abs=1e-6)


@pytest.fixture(scope="module")
def modelled(tmp_path_factory) -> Path:
    """A run that has its models, of which the global one was trained in two parts."""
    folder = tmp_path_factory.mktemp("team") / "run"
    main(["collect", "pusht-keypoints-debug", "--run", str(folder)])
    main(["train", "global", str(folder), "--world-fit.shards", "2"])
    main(["train", "local", str(folder)])
    return folder


def test_a_stage_of_a_run_is_trained_by_two_processes_as_by_one(modelled, tmp_path):
    folder = tmp_path / "two"
    shutil.copytree(modelled, folder, symlinks=True, ignore=shutil.ignore_patterns("global*", "local*"))
    said = launched(2, *GLOCAL, "train", "global", folder)
    assert same(weights(modelled / "global"), weights(folder / "global"))
    assert said.count("done") == 1 and (folder / "stages" / "global.json").is_file()


class Recording:
    """A partner of one other, which has found the same."""

    rank, size = 0, 2

    def __init__(self):
        self.added: list[int] = []

    def add(self, tensors):
        self.added.append(len(tensors))
        for x in tensors:
            x.detach().mul_(2)


def test_a_partner_has_half_of_an_iteration_and_learns_from_the_mean(modelled):
    """With a partner that finds the same, the mean is what one finds alone."""
    run = open_run(modelled)
    experience, learn = run.experience[0], run.config.learn
    jobs = []
    for cfg, partners in ((learn, Recording()), (replace(learn, envs=4, replay=32, refresh_size=2), None)):
        torch.manual_seed(0)
        surrogate = run.surrogate().requires_grad_(True)
        policy, critics = build.build_policy(run.config, surrogate), build.build_critics(run.config, surrogate)
        job = PolicyIteration(cfg, run.world(), policy, critics, experience.starts, experience.draw, partners=partners)
        torch.manual_seed(1)
        job._begin_own_numbers = lambda turn: None  # pyright: ignore[reportAttributeAccessIssue]
        job.imagined = job.environments.begin(torch.zeros(4, dtype=torch.long))
        job.iterate()
        jobs.append(job)
    one, other = jobs
    assert one.per_iteration == 2 * other.per_iteration and one.cfg == other.cfg
    assert len(one.partners.added) >= 4 and same(one.model.state_dict(), other.model.state_dict())


def test_a_policy_is_trained_by_two_processes_which_stay_the_same(modelled, tmp_path):
    folder = shutil.copytree(modelled, tmp_path / "run", symlinks=True)
    launched(2, *GLOCAL, "train", "policy", folder)
    row = json.loads((folder / "policy" / "log.jsonl").read_text().splitlines()[-1])
    learn = open_run(folder).config.learn
    assert row["imag/steps"] == learn.iterations * learn.envs * learn.horizon
    said = launched(3, *GLOCAL, "train", "policy", folder, "--replace", passes=False)
    assert "--learn.envs is 8, which 3 processes cannot share evenly" in said


def test_what_is_refused_is_said_once_and_nobody_waits(tmp_path):
    said = launched(2, *GLOCAL, "train", "global", tmp_path / "nothing", passes=False)
    assert said.count("is neither a preset") == 1
