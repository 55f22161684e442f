"""Experience as the models see it: observations, actions and labels in memory, and windows drawn from them."""

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import UInt8
from torch import Tensor

from glocal.core.pictures import packed
from glocal.core.types import Pairs, Segment
from glocal.data.store import Array, EpisodeStore
from glocal.runtime.files import UserError


@dataclass(frozen=True)
class Recorded:
    """Whole episodes one behind the other, (rows, ...); `first[i]` is the first row of row i's episode.

    A window that reaches back beyond an episode's first row sees that row again, with actions of zero: the agent at
    rest, as it is before every episode. `acted` are the rows that a control step led to, all but the first ones of
    episodes, and `open` those after which an episode goes on (`cont`), so that it can be imagined how.
    """

    steps: Segment
    first: Tensor
    acted: Tensor
    open: Tensor
    stored: Tensor
    """Where in the store each row stands."""
    film: tuple[Array, ...] = ()
    """Pictures of each camera (all rows of the store, side, side, 3), where windows are to hold them."""
    begun: Callable[[Tensor], Tensor] | None = None
    """Makes of observations (n, T, d) what they would be had recording begun with each window's first row."""
    fresh: float = 0.0
    """The share of the windows drawn at random that it is done to."""
    hindsight: Tensor | None = None
    """What was so in each row, as is known afterwards, (rows, d), where windows are to hold that."""

    @classmethod
    def of(cls, store: EpisodeStore, obs: Tensor, episodes: range | None = None) -> "Recorded":
        """The experience in a store's episodes (all, or a range), observed as `obs` (all rows of the store, d).

        What follows an end (`cont` 0) within a recording is an episode of its own.
        """
        episodes = range(len(store)) if episodes is None else episodes
        start, stop = int(store.starts[episodes.start]), int(store.starts[episodes.stop])
        if "reward" not in store.fields:
            raise UserError(
                f"{store.folder} holds no rewards, because its logs had none; `glocal data label` makes them"
            )
        fields = {name: torch.from_numpy(np.array(store.fields[name][start:stop])) for name in _LABELS}
        _check_finite(obs[start:stop], fields, store, start)
        begins = torch.zeros(stop - start, dtype=torch.bool)
        begins[store.starts[episodes.start : episodes.stop] - start] = True
        begins[1:] |= fields["cont"][:-1] < 0.5
        first = torch.where(begins, torch.arange(len(begins)), 0).cummax(0).values
        return cls.joined(Segment(obs[start:stop].float(), **fields), first, torch.arange(start, stop))

    @classmethod
    def joined(cls, steps: Segment, first: Tensor, stored: Tensor | None = None) -> "Recorded":
        """Rows of which `first` says where their episodes begin, and `stored` where they stand in a store."""
        rows = torch.arange(len(first), device=first.device)
        acted, open = (rows != first).nonzero()[:, 0], (steps.cont >= 0.5).nonzero()[:, 0]
        return cls(steps, first, acted, open, rows if stored is None else stored)

    def to(self, device: torch.device) -> "Recorded":
        """The same experience in a device's memory."""
        first, acted, open = (x.to(device) for x in (self.first, self.acted, self.open))
        steps = self.steps.tensors(lambda x: x.to(device))
        hindsight = None if self.hindsight is None else self.hindsight.to(device)
        return replace(self, steps=steps, first=first, acted=acted, open=open, hindsight=hindsight)

    def __len__(self) -> int:
        return len(self.first)

    @property
    def episodes(self) -> int:
        """How many there are."""
        return len(self.first.unique())

    def only(self, episodes: Tensor) -> "Recorded":
        """The experience in some episodes, by their numbers (n,), in the order in which they were recorded."""
        kept = torch.isin(self.first, self.first.unique()[episodes])
        moved = kept.cumsum(0) - 1
        stored = self.stored[kept.to(self.stored.device)]
        chosen = Recorded.joined(self.steps[kept], moved[self.first[kept]], stored)
        hindsight = None if self.hindsight is None else self.hindsight[kept]
        return replace(chosen, film=self.film, begun=self.begun, fresh=self.fresh, hindsight=hindsight)

    def best(self, share: float) -> "Recorded":
        """The experience in a share of the episodes, at least one: those whose control steps earned most on average.

        The mean and not the sum, which would rank episodes by their length.
        """
        _, episode = self.first.unique(return_inverse=True)
        earned, control_steps = (
            each.new_zeros(self.episodes, dtype=torch.float64).index_add(0, episode[self.acted], each.double())
            for each in (self.steps.reward[self.acted], torch.ones_like(self.acted))
        )
        ranked = (earned / control_steps.clamp_min(1)).argsort(descending=True, stable=True)
        return self.only(ranked[: max(1, round(share * self.episodes))])

    def windows(self, last: Tensor, length: int) -> Segment:
        """The windows (n, length, ...) that end at rows `last` (n,)."""
        rows = last[:, None] + torch.arange(1 - length, 1, device=last.device)
        first = self.first[last][:, None]
        shown = rows.maximum(first)
        window, rested = self.steps[shown], (rows < first)[..., None]
        pictures = self._pictures(shown) if self.film else None
        hindsight = None if self.hindsight is None else self.hindsight[shown]
        action = window.action.masked_fill(rested, 0.0)
        return Segment(window.obs, action, window.reward, window.cont, pictures, hindsight)

    def _pictures(self, rows: Tensor) -> UInt8[Tensor, "*batch p"]:
        """What the cameras showed in rows (*batch,), read from the store's memory map."""
        stored = self.stored[rows.to(self.stored.device)].cpu().numpy()
        return packed([torch.from_numpy(camera[stored]) for camera in self.film]).to(rows.device)

    def draw(self, count: int, length: int, acted: int = 1) -> Segment:
        """Random windows (count, length, ...) that end with `acted` control steps, or with all that an episode has."""
        last = self.acted
        if acted > 1:
            begun, steps = self.first[last], last - self.first[last]
            most = torch.zeros_like(self.first).scatter_reduce(0, begun, steps, "amax")
            last = last[steps >= most[begun].clamp_max(acted)]
        return self._freshened(self.windows(_drawn(last, count), length))

    def starts(self, count: int, length: int) -> Segment:
        """Random windows to begin imagining from: any moment at which the episode goes on, its first included."""
        return self._freshened(self.windows(_drawn(self.open, count), length))

    def _freshened(self, windows: Segment) -> Segment:
        """Windows (n, T, ...) of which a share is as if recording had begun with them."""
        if self.begun is None or not self.fresh:
            return windows
        chosen = torch.rand(len(windows.obs), 1, 1, device=windows.obs.device) < self.fresh
        return replace(windows, obs=torch.where(chosen, self.begun(windows.obs), windows.obs))

    def beginnings(self, count: int, length: int) -> Segment:
        """The windows that end where episodes begin, (n, length, ...): of `count` episodes, or of all."""
        return self.windows(_spread(self.first.unique(), count), length)

    def spread(self, count: int, length: int) -> Segment:
        """Windows spread evenly over all moments at which an episode goes on, (n, length, ...): `count` or all."""
        return self.windows(_spread(self.open, count), length)

    def pairs(self) -> Pairs:
        """All single control steps, of what was so where that is known."""
        steps, after = self.steps, self.acted
        obs = steps.obs if self.hindsight is None else self.hindsight
        return Pairs(obs[after - 1], steps.action[after], obs[after], steps.reward[after])


def _drawn(rows: Tensor, count: int) -> Tensor:
    """`count` of them at random, with replacement."""
    return rows[torch.randint(len(rows), (count,), device=rows.device)]


def _spread(rows: Tensor, count: int) -> Tensor:
    """`count` of them, evenly spread, or all if there are fewer."""
    count = min(count, len(rows))
    return rows[(torch.arange(count, device=rows.device) * len(rows)) // count]


def _check_finite(obs: Tensor, fields: dict[str, Tensor], store: EpisodeStore, start: int) -> None:
    for name, values in {"observations": obs, **fields}.items():
        broken = (~torch.isfinite(values.flatten(1) if values.ndim > 1 else values[:, None])).any(1).nonzero()
        if len(broken):
            episode = int(np.searchsorted(store.starts, start + int(broken[0]), side="right")) - 1
            raise UserError(
                f"the {name} of episode {episode} in {store.folder} hold numbers that are not finite, in {len(broken)} "
                f"rows of all episodes; leave those episodes out, or mend them, and record the store anew"
            )


_LABELS = ("action", "reward", "cont")
