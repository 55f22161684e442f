"""Processes that work on many episodes at once, and that end when the one that started them does, however it ends."""

import os
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context, parent_process
from threading import Thread


def workers(processes: int) -> ProcessPoolExecutor:
    """A pool of fresh processes."""
    return ProcessPoolExecutor(processes, mp_context=get_context("spawn"), initializer=_end_with_parent)


def _end_with_parent() -> None:
    Thread(target=_wait_and_end, daemon=True).start()


def _wait_and_end() -> None:
    """Waiting for tasks does not end by itself: the pipe that they come through is held open by every worker."""
    parent = parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)
