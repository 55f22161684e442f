"""Progress with a rate and an ETA: a bar on a terminal, a line now and then elsewhere."""

import os
import shlex
import time
from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

LINE_SECONDS = 15.0
console = Console(stderr=True, highlight=False, soft_wrap=True, markup=False)
"""Without markup: names in data sets may hold brackets."""


def printable(text: str) -> str:
    """A text without what would move a terminal's cursor, or change its colours, instead of being seen."""
    return "".join(c if c.isprintable() or c == "\n" else repr(c)[1:-1] for c in text)


def quoted(text: object) -> str:
    """A path or a value as it is typed in a shell, on one line whatever it holds."""
    plain = str(text)
    if plain.isprintable():
        return shlex.quote(plain)
    return "$'" + "".join(_escaped(c) for c in plain) + "'"


def _escaped(c: str) -> str:
    if c.isprintable():
        return "\\" + c if c in "\\'" else c
    return "".join(f"\\x{byte:02x}" for byte in os.fsencode(c))


class Ticker:
    """Shows how far a stage is: `with Ticker("global", total, start, "samples", 512) as tick: tick(note)`."""

    def __init__(self, name: str, total: int, start: int = 0, unit: str = "it", per_iteration: int = 1):
        self.name, self.total, self.done, self.unit, self.per = name, total, start, unit, per_iteration
        self.first, self.began = start, time.monotonic()
        self.last_line = self.began
        self.bar = Progress(
            TextColumn("{task.description:10}"),
            BarColumn(bar_width=30),
            MofNCompleteColumn(),
            TextColumn("{task.fields[rate]:>9} " + unit + "/s"),
            TimeRemainingColumn(),
            TextColumn("{task.fields[note]}"),
            console=console,
        )
        self.task = self.bar.add_task(name, total=total, completed=start, rate="", note="")

    def __enter__(self) -> "Ticker":
        if console.is_terminal:
            self.bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if console.is_terminal:
            self.bar.stop()
        elif kind is None:
            self._line("done")

    def __call__(self, done: int, note: str | None = None) -> None:
        """Say that `done` iterations of all are done."""
        self.done = done
        self.bar.update(self.task, completed=done, rate=f"{self.rate:,.0f}")
        if note is not None:
            self.bar.update(self.task, note=note)
        if not console.is_terminal and time.monotonic() - self.last_line > LINE_SECONDS:
            self._line(note or "")

    @property
    def rate(self) -> float:
        """Units per second since this process began."""
        return (self.done - self.first) * self.per / max(time.monotonic() - self.began, 1e-6)

    def _line(self, note: str) -> None:
        self.last_line = time.monotonic()
        left = (self.total - self.done) * self.per / max(self.rate, 1e-6)
        eta = f"{int(left) // 60}:{int(left) % 60:02d} left" if self.rate > 0 else ""
        console.print(
            f"{self.name:10} {self.done}/{self.total}  {self.rate:,.0f} {self.unit}/s  {eta}  {note}".rstrip()
        )
