"""Rigid bodies among the points of a picture, found in what was recorded: points that keep their distances lie on one.

For each picture there is room for some bodies: those with most points, and in any case the one that actions drive most.
A point by itself is a body, too, where there is room. All other points are loose.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Float
from scipy.cluster.hierarchy import fcluster, linkage
from scipy.spatial.distance import squareform
from torch import Tensor, nn

from glocal.core.compasses import CLEARER, LOOKED_AT, Compass, all_ways, compasses, fitted, rotate, spread, unrotate

ROOM = 4
"""For bodies, in each picture."""
STIFF = 0.1
"""Points lie on one body where the standard deviation of their distance is less than this, of how far they travel, and
less than this, of their mean distance, or than `BLUR`."""
BLUR = 0.012
"""By how much the distance of points on one body may seem to vary because they are not found exactly: a third of a
pixel of 64."""
RESTS = 0.01
"""Points that travel less than this, root mean square, are at rest: what they lie on cannot be told."""
FIRM = 0.1
"""A body has a heading where its points stray from its shape by less than this, of how far they are from its centre."""
DRIVEN = 0.5
"""An action drives a body where it explains more than this of what nothing else explains of its steps."""
WAYS = 96
"""Ways from loose points, at most, that networks are told."""
PULLED = 0.5
"""Actions say where a body goes, and not how far, where its own place takes back more than this of it in a step."""


class Frames(NamedTuple):
    """Where bodies are: the means of their points, and the cosines and sines of where they head."""

    centre: Float[Tensor, "*batch m 2"]
    heading: Float[Tensor, "*batch m 2"]


class Effect(NamedTuple):
    """The step of bodies in a control step, from their centres c by an action a: `reach` a + `pull` c, plus a constant;
    and the share `driven` that the action explains of what is left of its variance without it."""

    reach: Float[Tensor, "m 2 a"]
    pull: Float[Tensor, "m 2 2"]
    driven: Float[Tensor, " m"]


def facing(arms: Float[Tensor, "*batch k 2"], shape: Float[Tensor, "*shared k 2"]) -> Float[Tensor, "*batch 2"]:
    """The cosine and sine of the turn that brings a shape nearest to its points in squared distance, both told from
    their centres (Kabsch, in the plane)."""
    cos = (arms * shape).sum((-2, -1))
    sin = (arms[..., 1] * shape[..., 0] - arms[..., 0] * shape[..., 1]).sum(-1)
    turn = torch.stack([cos, sin], dim=-1)
    return turn / turn.norm(dim=-1, keepdim=True).clamp_min(1e-6)


class Seen(NamedTuple):
    """Recorded moments: points, the action that followed, points then, and numbers beside the first."""

    before: Float[Tensor, "n k 2"]
    action: Float[Tensor, "n a"]
    after: Float[Tensor, "n k 2"]
    numbers: Float[Tensor, "n d"]


class Bodies(nn.Module):
    """The bodies that the points of a picture (k, 2) lie on, and where actions send them.

    `member` says which points lie on which body, `shape` where on it, about its centre, and `firm` which bodies have a
    heading by that. Others may have one by numbers beside the picture (d,), where these explain what actions do to
    them: `gain`, `offset` and `doubled` (`Compass`). Those that are `oriented` have either. `axes` has for each point
    the body in whose axes its changes are told. `reach` and `pull` are what comes of actions (`Effect`; a small pull
    counts as none), in the picture's axes or, where a body is `steered`, in its own. Before bodies are looked for there
    are none, every point is loose, and there is room for all. Networks are told of `count` bodies, of the loose points,
    which are in `rows`, and of the `ways` (2, n) from these to one another and to bodies.
    """

    member: Tensor
    shape: Tensor
    firm: Tensor
    gain: Tensor
    offset: Tensor
    doubled: Tensor
    oriented: Tensor
    axes: Tensor
    reach: Tensor
    pull: Tensor
    driven: Tensor
    steered: Tensor
    rows: Tensor
    ways: Tensor

    def __init__(self, points: int, action_dim: int, numbers: int = 0):
        super().__init__()
        self.register_buffer("member", torch.zeros(ROOM, points))
        self.register_buffer("shape", torch.zeros(ROOM, points, 2))
        self.register_buffer("firm", torch.zeros(ROOM, dtype=torch.bool))
        self.register_buffer("gain", torch.zeros(ROOM, 2, numbers))
        self.register_buffer("offset", torch.zeros(ROOM, 2))
        self.register_buffer("doubled", torch.zeros(ROOM))
        self.register_buffer("oriented", torch.zeros(ROOM, dtype=torch.bool))
        self.register_buffer("axes", torch.zeros(points, ROOM))
        self.register_buffer("reach", torch.zeros(ROOM, 2, action_dim))
        self.register_buffer("pull", torch.zeros(ROOM, 2, 2))
        self.register_buffer("driven", torch.zeros(ROOM))
        self.register_buffer("steered", torch.zeros(ROOM, dtype=torch.bool))
        self.register_load_state_dict_post_hook(_restored)
        self.headed = False
        self._told_of(ROOM, torch.arange(points))

    @torch.no_grad()
    def find(
        self,
        before: Float[Tensor, "n k 2"],
        action: Float[Tensor, "n a"],
        after: Float[Tensor, "n k 2"],
        numbers: Float[Tensor, "n d"],
    ) -> None:
        """Find bodies in recorded points, and what actions do to them in one control step; `numbers` were beside the
        points before."""
        for name in self.state_dict():
            getattr(self, name).zero_()
        some = spread(len(before), LOOKED_AT, before.device)
        seen = Seen(before[some], action[some], after[some], numbers[some])
        told = all_ways(compasses(seen.numbers))
        for i, rows in enumerate(_with_room(_groups(seen.before), seen, told)):
            self.member[i, rows] = 1
            self.shape[i, rows], strays = _shape(seen.before[:, rows])
            self.firm[i] = strays < FIRM * self.shape[i, rows].pow(2).sum(-1).mean().sqrt()
            chosen = None if self.firm[i] else _told(rows, seen, told)
            if chosen is not None:
                self.gain[i], self.offset[i], self.doubled[i] = chosen
            self.oriented[i] = self.firm[i] or chosen is not None
        self.take_stock()
        first = self.oriented.int().argmax()
        for i in range(ROOM):
            self.axes[self.member[i] > 0, i if self.oriented[i] else first] = float(self.oriented.any())
        here = self.frames(before, numbers)
        step = self.frames(after, numbers).centre - here.centre
        outside = _effect(action, here.centre, step)
        inside = _effect(action, torch.zeros_like(here.centre), unrotate(step, here.heading))
        goes = outside.pull.norm(dim=(1, 2)) > PULLED
        outside = outside._replace(pull=outside.pull * goes[:, None, None])
        self.steered.copy_((inside.driven > outside.driven) & self.oriented)
        for own, fixed, buffer in zip(inside, outside, (self.reach, self.pull, self.driven), strict=True):
            buffer.copy_(torch.where(self.steered.view(-1, *[1] * (own.ndim - 1)), own, fixed))

    def take_stock(self) -> None:
        """See how many bodies there are, and which points are loose; none of either where nothing was looked for."""
        if not self.member.is_meta:
            self.headed = bool((self.oriented & ~self.firm).any())
            self._told_of(int(self.member.any(1).sum()), (self.member.sum(0) == 0).nonzero()[:, 0])

    def _told_of(self, count: int, rows: Tensor) -> None:
        firsts = self.member[:count].argmax(1)
        nearby = [torch.stack([rows, rows.roll(-by)]) for by in (1, 2) if by < len(rows)]
        fixed = torch.stack([rows.repeat_interleave(len(firsts)), firsts.repeat(len(rows))])
        ways = torch.cat([*nearby, fixed], dim=1)
        kept = min(ways.shape[1], WAYS)
        ways = ways[:, torch.arange(kept, device=rows.device) * ways.shape[1] // max(1, kept)]
        self.count = count
        self.register_buffer("rows", rows, persistent=False)
        self.register_buffer("ways", ways, persistent=False)

    def described(self) -> str:
        """What was found, in words."""
        words = []
        for i in range(self.count):
            size = int(self.member[i].sum())
            driven = f", its steps {self.driven[i]:.0%} by actions" if self.driven[i] > DRIVEN else ""
            axes = " in its own axes" if driven and self.steered[i] else ""
            heading = " with a heading" if self.firm[i] else " heading where numbers say" if self.oriented[i] else ""
            words.append(f"{size} point{'s' * (size > 1)}{heading}{driven}{axes}")
        loose = f"; {len(self.rows)} loose points" if len(self.rows) else ""
        return f"{self.count} bodies ({'; '.join(words)}){loose}" if self.count else f"no bodies{loose}"

    def frames(self, points: Float[Tensor, "*batch k 2"], numbers: Float[Tensor, "*batch d"]) -> Frames:
        """Where the bodies are that points lie on; one without a heading has the picture's axes."""
        centre, heading = self._placed(points)
        if self.headed:
            told = Compass(self.gain, self.offset, self.doubled).heading(numbers)
            heading = torch.where(self.firm[:, None], heading, told)
        return Frames(centre, torch.where(self.oriented[:, None], heading, heading.new_tensor([1.0, 0.0])))

    def _placed(self, points: Float[Tensor, "*batch k 2"]) -> tuple[Tensor, Tensor]:
        """Centres of bodies, and headings (*batch, m, 2) by their shapes."""
        centre = self.member @ points / self.member.sum(1, keepdim=True).clamp_min(1)
        return centre, facing(points[..., None, :, :] - centre[..., None, :], self.shape)

    def sent(self, frames: Frames, action: Float[Tensor, "*batch a"]) -> Float[Tensor, "*batch m 2"]:
        """Where actions would have bodies be one control step later."""
        step = (self.reach @ action[..., None, :, None] + self.pull @ frames.centre[..., None]).squeeze(-1)
        return frames.centre + torch.where(self.steered[:, None], rotate(step, frames.heading), step)

    def straighten(self, points: Float[Tensor, "*batch k 2"]) -> Float[Tensor, "*batch k 2"]:
        """The nearest points at which bodies that have a heading by their shapes have these."""
        centre, heading = self._placed(points)
        placed = rotate(self.shape, heading[..., None, :]) + centre[..., None, :]
        firm = self.member * self.firm[:, None]
        return (firm[..., None] * placed).sum(-3) + (1 - firm.sum(0))[:, None] * points

    def axes_of(
        self, points: Float[Tensor, "*batch k 2"], numbers: Float[Tensor, "*batch d"]
    ) -> Float[Tensor, "*batch k 2"]:
        """The cosine and sine of the axes in which the change of each point is told: of its body where that has a
        heading, of the first body that has one where it has not, and for loose points the picture's."""
        fixed = (1 - self.axes.sum(1))[:, None] * points.new_tensor([1.0, 0.0])
        return self.axes @ self.frames(points, numbers).heading + fixed


def _restored(bodies: Bodies, _: Any) -> None:
    """After a checkpoint was read."""
    bodies.take_stock()


def _groups(points: Float[Tensor, "n k 2"]) -> list[Tensor]:
    """Which of the points that move lie on one body: those with most points first, then those that travel farthest."""
    travel = points.double().var(0, correction=0).sum(-1).sqrt()
    moves = (travel > RESTS).nonzero()[:, 0]
    if len(moves) < 2:
        return [moves] if len(moves) else []
    squares, means = points.new_zeros(2, len(moves), len(moves), dtype=torch.double)
    for some in points[:, moves].double().split(64):
        away = torch.cdist(some, some, compute_mode="donot_use_mm_for_euclid_dist")
        squares, means = squares + away.pow(2).sum(0) / len(points), means + away.sum(0) / len(points)
    varies = (squares - means**2).clamp_min(0).sqrt()
    far = (travel[moves, None].pow(2) + travel[moves].pow(2)).sqrt()
    loose = torch.maximum(varies / far / STIFF, varies / (STIFF * means).clamp_min(BLUR)).fill_diagonal_(0)
    tree = linkage(squareform(loose.cpu().numpy().astype(np.float64), checks=False), "complete")
    label = torch.from_numpy(fcluster(tree, 1.0, "distance")).to(points.device)
    groups = [moves[label == i] for i in label.unique()]
    return sorted(groups, key=lambda rows: (len(rows), float(travel[rows].mean())), reverse=True)


def _with_room(groups: list[Tensor], seen: Seen, told: Sequence[Compass]) -> list[Tensor]:
    """The first groups, and among them the one that actions drive most, if any."""
    if len(groups) <= ROOM:
        return groups
    driven = [max(_shares(rows, seen, told)) for rows in groups]
    most = driven.index(max(driven))
    return groups[:ROOM] if most < ROOM or driven[most] <= DRIVEN else [*groups[: ROOM - 1], groups[most]]


def _told(rows: Tensor, seen: Seen, told: Sequence[Compass]) -> Compass | None:
    """By which numbers a body heads, if by any."""
    outside, *inside = _shares(rows, seen, told)
    clear = [share > max(outside, 0.0) + CLEARER for share in inside]
    return told[inside.index(max(inside))] if any(clear) else None


def _shares(rows: Tensor, seen: Seen, told: Sequence[Compass]) -> list[float]:
    """How much of a body's steps is explained by actions in the picture's axes, and by actions and steady motion in
    those of each heading that is told."""
    here = seen.before[:, rows].mean(1)
    step = seen.after[:, rows].mean(1) - here
    headings = [one.heading(seen.numbers) for one in told]
    action, here, step, *headings = (part.double().cpu() for part in (seen.action, here, step, *headings))
    one = torch.ones_like(action[:, :1])
    beside, acted = torch.cat([here, one], dim=1), torch.cat([action, one], dim=1)
    whole = fitted(beside, step)[1].sum()
    outside = fitted(torch.cat([action, beside], dim=1), step)[1].sum()
    inside = [fitted(acted, unrotate(step, heading))[1].sum() for heading in headings]
    return [float(1 - left / whole) if whole > 1e-12 else 0.0 for left in (outside, *inside)]


def _effect(action: Float[Tensor, "n a"], centre: Float[Tensor, "n m 2"], step: Float[Tensor, "n m 2"]) -> Effect:
    """What comes of actions, by least squares; shares are adjusted for the numbers that are fitted."""
    device, (action, centre, step) = step.device, (x.double().cpu() for x in (action, centre, step))
    one, acts = torch.ones_like(action[:, :1]), action.shape[1]
    reach, pull, driven = [], [], []
    for i in range(step.shape[1]):
        beside = torch.cat([centre[:, i], one], dim=1)
        (found, left), (_, whole) = (fitted(x, step[:, i]) for x in (torch.cat([action, beside], dim=1), beside))
        reach.append(found[:acts].T)
        pull.append(found[acts:-1].T)
        driven.append(1 - left.sum() / whole.sum() if whole.sum() > 1e-12 else torch.zeros((), dtype=torch.double))
    parts = torch.stack(reach), torch.stack(pull), torch.stack(driven).clamp_min(0)
    return Effect(*(part.float().to(device) for part in parts))


def _shape(points: Float[Tensor, "n k 2"]) -> tuple[Float[Tensor, "k 2"], Float[Tensor, ""]]:
    """The shape of a body about its centre, and how far its points usually are from it once placed."""
    arms = points - points.mean(1, keepdim=True)
    own, shape = arms, arms[0]
    for _ in range(4):
        own = unrotate(arms, facing(arms, shape)[:, None])
        shape = own.mean(0)
    return shape, (own - shape).pow(2).sum(-1).mean(1).sqrt().median()
