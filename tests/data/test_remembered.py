"""Arrays that are kept are taken from the file only where it holds what was written there."""

from pathlib import Path

import numpy as np
import pytest

from glocal.data.remembered import remembered

MADE = np.arange(6, dtype=np.float32).reshape(3, 2)


def asked(path: Path, rows: int = 3) -> int:
    """How often it was made anew; what comes back is always what was made."""
    calls = []

    def make() -> np.ndarray:
        calls.append(1)
        return MADE[:rows]

    assert np.array_equal(remembered(path, rows, make), MADE[:rows])
    return len(calls)


def test_what_is_kept_is_not_made_again(tmp_path):
    assert [asked(tmp_path / "kept.npy") for _ in range(3)] == [1, 0, 0]


def _cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-5])


@pytest.mark.parametrize(
    "spoil",
    [
        lambda path: np.save(path, np.zeros_like(MADE)),
        lambda path: np.save(path, MADE[:2]),
        lambda path: path.write_text("garbage"),
        lambda path: path.unlink(),
        lambda path: path.with_suffix(".json").write_text("[]"),
        lambda path: path.with_suffix(".json").unlink(),
        _cut,
    ],
)
def test_what_is_not_as_it_was_written_is_made_again_and_kept(tmp_path, spoil):
    path = tmp_path / "kept.npy"
    asked(path)
    spoil(path)
    assert [asked(path) for _ in range(2)] == [1, 0]


def test_another_number_of_rows_is_made_again(tmp_path):
    assert [asked(tmp_path / "kept.npy", rows) for rows in (3, 2, 2)] == [1, 1, 0]
