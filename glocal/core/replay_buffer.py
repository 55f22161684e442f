"""What was imagined lately, for refreshing the local model on it."""

from typing import Any

import torch

from glocal.core.types import Segment


class ReplayBuffer:
    """A ring of the last imagined windows, (capacity, length, ...)."""

    def __init__(self, capacity: int):
        self.capacity = capacity
        self.windows: Segment | None = None
        self.written = 0

    def add(self, windows: Segment) -> None:
        """Put windows (n, length, ...) in place of the oldest."""
        count = windows.reward.shape[0]
        if self.windows is None:
            self.windows = windows.tensors(lambda x: x.new_zeros(self.capacity, *x.shape[1:]))
        slots = (self.written + torch.arange(count, device=windows.reward.device)) % self.capacity
        self.windows.tensors(lambda ring, new: ring.index_copy_(0, slots, new), windows)
        self.written += count

    def draw(self, count: int) -> Segment:
        """Random windows (count, length, ...)."""
        assert self.windows is not None, "nothing was added yet"
        device = self.windows.reward.device
        return self.windows[torch.randint(min(self.written, self.capacity), (count,), device=device)]

    def tree(self) -> dict[str, Any]:
        """What a checkpoint keeps."""
        return {"written": self.written, "windows": None if self.windows is None else self.windows.tree()}

    def restore(self, tree: Any, device: torch.device) -> None:
        """Take up what a checkpoint kept."""
        self.written, kept = tree["written"], tree["windows"]
        self.windows = None if kept is None else Segment(**{name: x.to(device) for name, x in kept.items()})
