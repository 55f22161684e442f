"""Fitting: the learning rate by hand."""

import threading
from typing import Any

import pytest
import torch
from torch import nn

from glocal.runtime import checkpoints
from glocal.runtime.files import UserError
from glocal.runtime.trainer import Clock, Fit, FitConfig, quiet_full_disk, train


def test_without_a_warm_up_the_first_update_has_the_whole_learning_rate():
    fit = Fit(FitConfig(updates=10, lr=0.5, warm_up=0), nn.Linear(1, 1), lambda: (torch.zeros(()), {}))
    assert fit.lr() == pytest.approx(0.5)


def fit(updates: int = 4) -> Fit:
    model = nn.Linear(1, 1)
    return Fit(FitConfig(updates=updates), model, lambda: (model(torch.ones(1, 1)).square().mean(), {}))


def state_of(job: Fit) -> dict[str, Any]:
    return {"job": job.state(), "random": [torch.get_rng_state()], "seconds": 1.0}


@pytest.mark.parametrize(
    "changes",
    [
        {"seconds": "long"}, {"seconds": None}, {"seconds": float("nan")}, {"random": 3}, {"random": ["state"]},
        {"random": [torch.zeros(3)]}, {"job": None}, {"job": {}}, {"job": {"module": 3}},
    ],
)  # fmt: skip
def test_a_checkpoint_that_cannot_be_gone_on_from_is_named(tmp_path, changes):
    job = fit()
    checkpoints.save(tmp_path, "toy", 2, {}, job.model.state_dict(), state_of(job) | changes)
    with pytest.raises(UserError, match=r"cannot be gone on from .* delete"):
        train(fit(), tmp_path, "toy", {}, Clock())


def test_a_run_of_another_architecture_is_not_gone_on_from(tmp_path):
    other = nn.Linear(3, 1)
    checkpoints.save(tmp_path, "toy", 2, {}, other.state_dict(), state_of(fit()))
    with pytest.raises(UserError, match=r"do not fit .*1 of 2 tensors differ in shape \(weight has \(1, 3\), expected"):
        train(fit(), tmp_path, "toy", {}, Clock())


def test_a_checkpoint_from_beyond_the_end_is_named(tmp_path):
    job = fit()
    checkpoints.save(tmp_path, "toy", 5, {}, job.model.state_dict(), state_of(job))
    with pytest.raises(UserError, match="iteration 5 of 4"):
        train(fit(4), tmp_path, "toy", {}, Clock())


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
@pytest.mark.parametrize("error, told", [(OSError(28, "No space left"), []), (ValueError("wrong"), ["wrong"])])
def test_a_thread_that_finds_the_disk_full_says_nothing_and_one_with_a_fault_does(monkeypatch, error, told):
    seen: list[str] = []
    monkeypatch.setattr(threading, "excepthook", lambda failed: seen.append(str(failed.exc_value)))

    def work() -> None:
        raise error

    with quiet_full_disk():
        thread = threading.Thread(target=work)
        thread.start()
        thread.join()
    assert seen == told
