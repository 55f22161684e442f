"""A dataset that is read in a process of its own: a damaged file at which a library crashes, or from which it never
comes back, costs that process and nothing else."""

import faulthandler
import math
import os
import resource
import select
import signal
import subprocess
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from multiprocessing.connection import Connection, Pipe
from pathlib import Path
from threading import Thread
from typing import Any
from weakref import finalize

import numpy as np

from glocal.data.dataset import Array, Dataset
from glocal.data.formats.bounds import EPISODE_BYTES
from glocal.runtime.files import UserError

PATIENCE = 120.0
"""Seconds that an answer may take: opening a dataset, or reading an episode."""
MEMORY = 2**30
"""Bytes that opening a dataset may take, and that reading an episode may take beside a few copies of it."""
COPIES = 3


class Aside(Dataset):
    """What `opener` makes of a path, in another process. Raises `UserError` where that raises one, dies or hangs."""

    def __init__(self, opener: Callable[[Path], Dataset], path: Path):
        self.folder = path
        self._line, theirs = Pipe()
        command = f"from {__name__} import serve; serve({theirs.fileno()})"
        self._process = subprocess.Popen(
            [sys.executable, "-c", command], pass_fds=[theirs.fileno()], stdin=subprocess.DEVNULL
        )
        theirs.close()
        finalize(self, _end, self._line, self._process)
        description = self._ask((opener, path, PATIENCE), "its description")
        self.format, self.fps, self.features, self.lengths, self._observed = description

    @property
    def observed(self) -> Sequence[int]:
        return self._observed

    def episode(self, number: int, names: Sequence[str]) -> dict[str, Array]:
        return self._ask(("episode", number, tuple(names)), f"episode {number}")

    def final(self, number: int, names: Sequence[str]) -> dict[str, Array]:
        return self._ask(("final", number, tuple(names)), f"episode {number}")

    def _ask(self, question: tuple[Any, ...], what: str) -> Any:
        try:
            self._line.send(question)
            answer = self._line.recv()
        except (EOFError, OSError) as error:
            raise UserError(
                f"{what} in {self.folder} cannot be read: the library that reads it crashed, or did not come back "
                f"within {PATIENCE:g} s; it is damaged"
            ) from error
        if isinstance(answer, UserError):
            raise answer
        if isinstance(answer, MemoryError):
            raise UserError(f"{what} in {self.folder} takes more memory than it tells of ({answer}); it is damaged")
        return answer


def _end(line: Connection, process: subprocess.Popen[bytes]) -> None:
    line.close()
    process.kill()
    process.wait()


def serve(descriptor: int) -> None:
    """Answer the questions of an `Aside` until it goes; the process ends where an answer takes too long."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the one that asks is interrupted, and goes
    line = Connection(descriptor)
    Thread(target=_end_with, args=(descriptor,), daemon=True).start()
    opener, path, patience = line.recv()
    _limit(MEMORY)
    dataset = _answer(patience, opener, path)
    if isinstance(dataset, UserError):
        line.send(dataset)
        return
    line.send((dataset.format, dataset.fps, dataset.features, dataset.lengths, dataset.observed))
    _limit(MEMORY + COPIES * _largest(dataset))
    answers = {"episode": dataset.episode, "final": dataset.final}
    with suppress(EOFError):
        while True:
            what, number, names = line.recv()
            line.send(_answer(patience, answers[what], number, names))


def _limit(more: int) -> None:
    """Let this process have so much more memory than it has, where the system (Linux) says how much that is."""
    told = Path("/proc/self/statm")
    if told.exists():
        used = int(told.read_text().split()[5]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_DATA, (used + more, resource.getrlimit(resource.RLIMIT_DATA)[1]))


def _largest(dataset: Dataset) -> int:
    """Bytes that the longest episode takes, all features together, as far as the bounds let one."""
    step = sum(math.prod(one.shape) * np.dtype(one.dtype).itemsize for one in dataset.features.values())
    return min(max(dataset.lengths, default=0) * step, EPISODE_BYTES)


def _end_with(descriptor: int) -> None:
    """End this process, in the middle of reading too, as soon as nobody is at the other end of the line."""
    line = select.poll()
    line.register(descriptor, select.POLLHUP)
    line.poll()
    os._exit(0)


def _answer(patience: float, answer: Callable[..., Any], *question: Any) -> Any:
    """What is asked for, or the `UserError` or `MemoryError` that is raised instead."""
    with open(os.devnull, "w") as nowhere:
        # A thread that needs no interpreter, which a library in an endless loop does not let go of.
        faulthandler.dump_traceback_later(patience, exit=True, file=nowhere)
        try:
            return answer(*question)
        except UserError as error:
            return error
        except MemoryError as error:
            return MemoryError(str(error))
        finally:
            faulthandler.cancel_dump_traceback_later()
