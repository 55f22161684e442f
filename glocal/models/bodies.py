"""Rigid bodies that points in a picture lie on, found in what was recorded: points whose distances stay lie on one.

For each picture there is a fixed number of bodies, the largest first. A point by itself is one, too, where there is
room. Where fewer are found the rest is empty, and all that is told of it is 0; where more, their points are loose.
"""

from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Float
from scipy.cluster.hierarchy import fcluster, linkage
from scipy.spatial.distance import squareform
from torch import Tensor, nn

BODIES = 4
"""Of each picture."""
STIFF = 0.1
"""Points lie on one body where the standard deviation of their distance is less than this, of how far they travel."""
FIRM = 0.1
"""A body turns where its points stray from its shape by less than this, of how far they are from its centre."""
DRIVEN = 0.5
"""An action drives a body where it explains more than this of the variance of the body's steps."""
LOOKED_AT = 4096
"""Recorded moments that bodies are looked for in."""


class Frames(NamedTuple):
    """Where bodies are: the means of their points, and the cosines and sines of their angles."""

    centre: Float[Tensor, "*batch m 2"]
    turn: Float[Tensor, "*batch m 2"]


def rotate(xy: Float[Tensor, "..."], turn: Float[Tensor, "..."]) -> Float[Tensor, "..."]:
    """Turn vectors (..., 2) by angles whose cosines and sines (..., 2) are given."""
    (x, y), (cos, sin) = xy.unbind(-1), turn.unbind(-1)
    return torch.stack([cos * x - sin * y, sin * x + cos * y], dim=-1)


def unrotate(xy: Float[Tensor, "..."], turn: Float[Tensor, "..."]) -> Float[Tensor, "..."]:
    """Turn vectors back."""
    return rotate(xy, turn * turn.new_tensor([1.0, -1.0]))


def facing(arms: Float[Tensor, "*batch k 2"], shape: Float[Tensor, "*shared k 2"]) -> Float[Tensor, "*batch 2"]:
    """The cosine and sine of the turn that brings a shape nearest to its points in squared distance, both told from
    their centres (Kabsch, in the plane)."""
    cos = (arms * shape).sum((-2, -1))
    sin = (arms[..., 1] * shape[..., 0] - arms[..., 0] * shape[..., 1]).sum(-1)
    turn = torch.stack([cos, sin], dim=-1)
    return turn / turn.norm(dim=-1, keepdim=True).clamp_min(1e-6)


class Bodies(nn.Module):
    """The bodies that the points of a picture (k, 2) lie on, and where actions send them.

    `member` says which points lie on which body, `shape` where on it, about its centre, and `turns` which bodies turn;
    `axes` has for each point the body in whose axes its changes are told. An action moves a body by `reach` times the
    action in one control step, in the picture's axes or, where it is `steered`, in its own; that explains the share
    `driven` of the variance of its steps.
    """

    member: Tensor
    shape: Tensor
    turns: Tensor
    axes: Tensor
    reach: Tensor
    driven: Tensor
    steered: Tensor

    def __init__(self, points: int, action_dim: int):
        super().__init__()
        self.register_buffer("member", torch.zeros(BODIES, points))
        self.register_buffer("shape", torch.zeros(BODIES, points, 2))
        self.register_buffer("turns", torch.zeros(BODIES, dtype=torch.bool))
        self.register_buffer("axes", torch.zeros(points, BODIES))
        self.register_buffer("reach", torch.zeros(BODIES, 2, action_dim))
        self.register_buffer("driven", torch.zeros(BODIES))
        self.register_buffer("steered", torch.zeros(BODIES, dtype=torch.bool))

    @torch.no_grad()
    def find(self, before: Float[Tensor, "n k 2"], action: Float[Tensor, "n a"], after: Float[Tensor, "n k 2"]) -> None:
        """Find bodies in recorded points, and what actions do to them in one control step."""
        for buffer in (self.member, self.shape, self.turns, self.axes, self.reach, self.driven, self.steered):
            buffer.zero_()
        chosen = before[torch.linspace(0, len(before) - 1, min(LOOKED_AT, len(before))).long()]
        for i, rows in enumerate(_groups(chosen)[:BODIES]):
            self.member[i, rows] = 1
            self.shape[i, rows], strays = _shape(chosen[:, rows])
            self.turns[i] = strays < FIRM * self.shape[i, rows].pow(2).sum(-1).mean().sqrt()
        first = self.turns.int().argmax()
        for i in range(BODIES):
            self.axes[self.member[i] > 0, i if self.turns[i] else first] = float(self.turns.any())
        here, there = self.frames(before), self.frames(after)
        step = there.centre - here.centre
        reach, driven = _effect(action, step)
        own_reach, own_driven = _effect(action, unrotate(step, here.turn))
        self.steered.copy_((own_driven > driven) & self.turns)
        self.reach.copy_(torch.where(self.steered[:, None, None], own_reach, reach))
        self.driven.copy_(torch.where(self.steered, own_driven, driven))

    @property
    def found(self) -> Bool[Tensor, " m"]:
        """Which bodies there are."""
        return self.member.any(1)

    @property
    def loose(self) -> Float[Tensor, " k"]:
        """1 for points that lie on none of them, else 0."""
        return 1 - self.member.sum(0)

    def frames(self, points: Float[Tensor, "*batch k 2"]) -> Frames:
        """Where the bodies are that points lie on; one that does not turn has the picture's axes."""
        centre = self.member @ points / self.member.sum(1, keepdim=True).clamp_min(1)
        turn = facing(points[..., None, :, :] - centre[..., None, :], self.shape)
        return Frames(centre, torch.where(self.turns[:, None], turn, turn.new_tensor([1.0, 0.0])))

    def sent(self, frames: Frames, action: Float[Tensor, "*batch a"]) -> Float[Tensor, "*batch m 2"]:
        """Where actions would have bodies be one control step later."""
        step = (self.reach @ action[..., None, :, None]).squeeze(-1)
        return frames.centre + torch.where(self.steered[:, None], rotate(step, frames.turn), step)

    def straighten(self, points: Float[Tensor, "*batch k 2"]) -> Float[Tensor, "*batch k 2"]:
        """The nearest points at which bodies have their own shapes."""
        centre, turn = self.frames(points)
        placed = rotate(self.shape, turn[..., None, :]) + centre[..., None, :]
        return (self.member[..., None] * placed).sum(-3) + self.loose[:, None] * points

    def turned(self, points: Float[Tensor, "*batch k 2"]) -> Float[Tensor, "*batch k 2"]:
        """The cosine and sine of the axes in which the change of each point is told: its body's where that turns, the
        largest turning body's where it does not, and for loose points the picture's."""
        fixed = (1 - self.axes.sum(1))[:, None] * points.new_tensor([1.0, 0.0])
        return self.axes @ self.frames(points).turn + fixed


def _effect(action: Float[Tensor, "n a"], step: Float[Tensor, "n m 2"]) -> tuple[Tensor, Tensor]:
    """What actions add to steps, (m, 2, a), and which share of their variance that explains, (m,): least squares."""
    told = torch.cat([action, torch.ones_like(action[:, :1])], dim=1)
    found = torch.linalg.lstsq(told.cpu(), step.flatten(1).cpu()).solution.to(step.device)
    left = (step - (told @ found).view_as(step)).pow(2).sum((0, 2))
    whole = (step - step.mean(0)).pow(2).sum((0, 2))
    share = torch.where(whole > 0, 1 - left / whole.clamp_min(1e-9), 0.0).clamp_min(0)
    return found[:-1].T.unflatten(0, step.shape[1:]), share


def _groups(points: Float[Tensor, "n k 2"]) -> list[Tensor]:
    """Which points lie on one body, the largest and farthest travelled first."""
    count = points.shape[1]
    travel = points.var(0, correction=0).sum(-1)
    if count == 1:
        return [torch.zeros(1, dtype=torch.long, device=points.device)]
    squares, means = torch.zeros(2, count, count, device=points.device)
    for some in points.split(64):
        away = torch.cdist(some, some, compute_mode="donot_use_mm_for_euclid_dist")
        squares, means = squares + away.pow(2).sum(0) / len(points), means + away.sum(0) / len(points)
    varies = (squares - means.pow(2)).clamp_min(0)
    ratio = (varies / (travel[:, None] + travel).clamp_min(1e-9)).sqrt().fill_diagonal_(0)
    tree = linkage(squareform(ratio.cpu().numpy().astype(np.float64), checks=False), "complete")
    label = torch.from_numpy(fcluster(tree, STIFF, "distance")).to(points.device)
    groups = [(label == i).nonzero()[:, 0] for i in label.unique()]
    return sorted(groups, key=lambda rows: (len(rows), float(travel[rows].mean())), reverse=True)


def _shape(points: Float[Tensor, "n k 2"]) -> tuple[Float[Tensor, "k 2"], Float[Tensor, ""]]:
    """The shape of a body about its centre, and how far its points are from it once placed, root mean square."""
    arms = points - points.mean(1, keepdim=True)
    own, shape = arms, arms[0]
    for _ in range(4):
        own = unrotate(arms, facing(arms, shape)[:, None])
        shape = own.mean(0)
    return shape, (own - shape).pow(2).sum(-1).mean().sqrt()
