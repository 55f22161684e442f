"""How a person ends a rollout, or lets it go on: by signals, and by the key Enter."""

import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from glocal.runtime.progress import console


class Ends:
    """What a person wants, by signals and by the key Enter."""

    def __init__(self, keys: Any):
        """`keys` is where lines are read from, or None."""
        self.listens = keys is not None
        self.stop, self.line, self.waiting = threading.Event(), threading.Event(), False
        if self.listens:
            threading.Thread(target=self._read, args=(keys,), daemon=True).start()

    def asked(self) -> bool:
        """Whether somebody wants it to end."""
        return self.stop.is_set()

    def wait(self, why: str) -> None:
        """Until somebody presses Enter, or wants it to end."""
        console.print(why)
        self.line.clear()
        self.waiting = True
        while not self.line.wait(0.1) and not self.asked():
            pass
        self.waiting = False

    def signalled(self, number: int, frame: Any) -> None:
        """The first time ask for an end, the second time end at once."""
        if self.asked():
            raise KeyboardInterrupt
        self.stop.set()

    def _read(self, keys: Any) -> None:
        while keys.readline():
            (self.line if self.waiting else self.stop).set()


@contextmanager
def stopping() -> Iterator[Ends]:
    """While somebody may ask for an end."""
    ends = Ends(sys.stdin if sys.stdin is not None and sys.stdin.isatty() else None)
    kinds = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    before = {one: signal.signal(one, ends.signalled) for one in kinds}
    try:
        yield ends
    finally:
        for one, handler in before.items():
            signal.signal(one, handler)
