"""Recordings on their way to a dataset: each is a file from the moment it ends, so that nothing is lost."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from glocal.deploy.play.game import Played
from glocal.runtime.files import UserError, atomic_write, remove

LABELS = ("action", "reward", "cont")
MOST = 200_000
"""Control steps of all recordings together, so that no page fills the disk."""


class Spool:
    """The recordings in a folder; those of an earlier server that was killed are among them."""

    def __init__(self, folder: Path, most: int = MOST):
        self.folder, self.most = folder, most
        folder.mkdir(parents=True, exist_ok=True)
        self.steps = sum(len(one.reward) for one in self)

    def __len__(self) -> int:
        return len(self._files())

    def __iter__(self) -> Iterator[Played]:
        """The recordings in the order in which they ended."""
        return (_load(path) for path in self._files())

    def add(self, played: Played) -> bool:
        """Keep a recording; False where there is no room for more."""
        if self.steps + len(played.reward) > self.most:
            return False
        files = self._files()
        number = int(files[-1].stem) + 1 if files else 0
        with atomic_write(self.folder / f"{number:06d}.npz") as draft, draft.open("wb") as file:
            seen = {f"seen.{name}": x for name, x in played.seen.items()}
            np.savez(file, **seen, action=played.action, reward=played.reward, cont=played.cont)  # pyright: ignore[reportArgumentType]
        self.steps += len(played.reward)
        return True

    def clear(self) -> None:
        """Remove all recordings, and the folder."""
        remove(self.folder)

    def _files(self) -> list[Path]:
        return sorted(self.folder.glob("[0-9]*.npz"))


def _load(path: Path) -> Played:
    try:
        with np.load(path, allow_pickle=False) as file:
            found = dict(file)
            seen = {name.removeprefix("seen."): x for name, x in found.items() if name.startswith("seen.")}
            return Played(seen, *(found[name] for name in LABELS))
    except (OSError, ValueError, KeyError) as error:
        raise UserError(f"{path} does not read as a recording ({error!r}); remove it") from error
