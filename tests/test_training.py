"""Fitting: the learning rate by hand."""

import threading

import pytest
import torch
from torch import nn

from glocal.training import Fit, FitConfig, quiet_full_disk


def test_without_a_warm_up_the_first_update_has_the_whole_learning_rate():
    fit = Fit(FitConfig(updates=10, rate=0.5, warm_up=0), nn.Linear(1, 1), lambda: (torch.zeros(()), {}))
    assert fit.rate() == pytest.approx(0.5)


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
