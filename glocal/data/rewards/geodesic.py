"""How far frames are from goals along what was recorded: the shortest way from likeness to likeness.

An embedding that is learned by contrast says well what is alike, and of all that is not only that it is not: straight
distances are the same for a little and for a lot. So, as in Isomap (Tenenbaum, de Silva and Langford 2000), frames are
linked to those that are most alike and to those next in time, and ways along links are added up. A link costs the
squared distance, which is what the contrastive loss makes of a likelihood's logarithm.
"""

import heapq
from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor

NEIGHBOURS = 8
LANDMARKS = 40_000
"""Frames between which ways are looked for; of more, every so many."""
AT_ONCE = 1000


def geodesic(episodes: Sequence[Float[Tensor, "_ d"]], goals: Float[Tensor, "g d"]) -> list[NDArray[np.float32]]:
    """The length of the shortest way from each embedded frame of each episode to the nearest goal, (n,) each.

    The frame that is most alike a goal counts as being there: photographs are never quite what was recorded.
    """
    stride = -(-sum(map(len, episodes)) // LANDMARKS)
    marks = [z[::stride] for z in episodes]
    found = np.split(_to_goals(marks, goals), np.cumsum([len(part) for part in marks])[:-1])
    return [_filled(z, ways, stride) for z, ways in zip(episodes, found, strict=True)]


def _to_goals(episodes: Sequence[Tensor], goals: Tensor) -> NDArray[np.float64]:
    """Dijkstra's shortest ways over all landmarks, one behind the other."""
    z = torch.cat(list(episodes))
    links = _links(z, [len(part) for part in episodes])
    ways = np.full(len(z), np.inf)
    near = torch.cdist(goals, z).pow(2).topk(min(NEIGHBOURS, len(z)), largest=False)
    queue = list(zip(near.values.flatten().tolist(), near.indices.flatten().tolist(), strict=True))
    heapq.heapify(queue)
    while queue:
        length, here = heapq.heappop(queue)
        if length < ways[here]:
            ways[here] = length
            for there, cost in links[here]:
                if length + cost < ways[there]:
                    heapq.heappush(queue, (length + cost, there))
    reached = np.isfinite(ways)
    return np.where(reached, ways, ways[reached].max()) - ways.min()


def _links(z: Tensor, lengths: Sequence[int]) -> list[list[tuple[int, float]]]:
    """For each landmark those that it is linked to, and at what cost: the most alike ones, and those next in time."""
    links: list[list[tuple[int, float]]] = [[] for _ in range(len(z))]

    def link(here: int, there: int, cost: float) -> None:
        links[here].append((there, cost))
        links[there].append((here, cost))

    for begin in range(0, len(z), AT_ONCE):
        away = torch.cdist(z[begin : begin + AT_ONCE], z).pow(2)
        near = away.topk(min(NEIGHBOURS + 1, len(z)), largest=False)  # itself among them
        for row, (costs, places) in enumerate(zip(near.values.tolist(), near.indices.tolist(), strict=True)):
            for cost, there in zip(costs, places, strict=True):
                link(begin + row, there, cost)
    steps = (z[1:] - z[:-1]).pow(2).sum(-1).tolist()
    ends = set(np.cumsum(lengths).tolist())
    for here, cost in enumerate(steps):
        if here + 1 not in ends:
            link(here, here + 1, cost)
    return links


def _filled(z: Tensor, ways: NDArray[np.float64], stride: int) -> NDArray[np.float32]:
    """The ways of an episode's every frame, from those of every so many: over the landmark before it or after it."""
    rows = np.arange(len(z))
    over = [np.minimum(rows // stride + more, len(ways) - 1) for more in (0, 1)]
    extra = [(z - z[mark * stride]).pow(2).sum(-1).numpy() for mark in over]
    return np.minimum(ways[over[0]] + extra[0], ways[over[1]] + extra[1]).astype(np.float32)
