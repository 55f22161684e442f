"""Work on many episodes of a dataset at once, in processes that open it once each."""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import as_completed
from functools import lru_cache
from pathlib import Path
from typing import TypeVar

from glocal.data.dataset import Dataset
from glocal.data.formats import open_dataset
from glocal.data.workers import workers

T = TypeVar("T")
AT_ONCE = 16
"""Episodes, at most, that a process is given at a time."""


def over_episodes(
    path: Path, work: Callable[[Dataset, int], T], numbers: Sequence[int], processes: int
) -> Iterator[tuple[int, T]]:
    """Numbers of episodes with what `work` makes of each, as they come; raises what `work` raises, and then stops.

    One process is this one.
    """
    if processes == 1 and numbers:
        dataset = open_dataset(path)
        yield from ((number, work(dataset, number)) for number in numbers)
        return
    size = max(1, min(AT_ONCE, len(numbers) // (4 * processes)))
    parts = [numbers[i : i + size] for i in range(0, len(numbers), size)]
    pool = workers(processes)
    try:
        for task in as_completed([pool.submit(_part, path, work, part) for part in parts]):
            yield from task.result()
    finally:
        pool.shutdown(cancel_futures=True)


def _part(path: Path, work: Callable[[Dataset, int], T], numbers: Sequence[int]) -> list[tuple[int, T]]:
    dataset = _opened(path)
    return [(number, work(dataset, number)) for number in numbers]


@lru_cache(maxsize=1)
def _opened(path: Path) -> Dataset:
    return open_dataset(path)
