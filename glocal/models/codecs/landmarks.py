"""Places on the robot in the pictures of a camera that stands still, as its own numbers tell them.

Where the robot is in a picture follows from what it senses of itself, but how is nowhere written: neither the camera's
place nor the robot's shape is known. It is found by congealing (Learned-Miller, doi 10.1109/TPAMI.2006.34): cutouts of
pictures are taken at a place that numbers tell, and it is learned which place makes them as alike as can be. On a part
of the robot they all show that part; anywhere else, now one thing and now another. Points that an autoencoder finds lie
where an arm is seen, and slide along it. Landmarks stay on their part, also where something hides it, so that objects
can be told as they are seen from the robot.
"""

from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int, UInt8
from torch import Tensor, nn

from glocal.core.compasses import fitted
from glocal.models.codecs.images import coordinates, to_channels

HIDDEN = 32
STARTS = 8
"""Places that are tried, of which the best that differ are kept."""
CELLS, REACH = 16, 0.2
"""Cells along a cutout's side, and half of that side, where a picture's goes from -1 to 1."""
WIDTH = 0.5
"""Standard deviation of the window that cutouts are weighed by, of half their side."""
CLEAR = 0.12
"""What differs from the background by so much, of 1, is wholly apart from it."""
SHAPE = 0.5
"""Weight of whether a cell is apart from the background, beside what colour it has."""
EMPTY = 0.03
"""The mean square of cutouts that counts as none, so that alike and empty is not alike."""
BATCH, LR, SLOWER = 64, 0.02, 0.1
ENOUGH, MEASURED = 100, 1000
"""Pictures that are searched, at least, and that a search begins and ends with, at most."""
HELD_OUT = 0.2
"""Share of the pictures that say which landmarks are kept."""
SHRUNK, ASTRAY = (4, 2, 1), (0.3, 0.2, 0.12)
"""By how much pictures are shrunk in each third of the search, for far away places are found in coarse ones; and how
far off places are around which cutouts should be less alike: along a bare arm they are not."""
DISLIKE = 0.8
"""How much the latter weighs."""
APART = 0.1
"""Typical distance between landmarks, at least."""
LEAST, WORST = 0.05, 0.5
"""By how much cutouts have to be more alike than where places stray, or are those of other pictures; and by how much of
what the best landmark's are."""


class Landmarks(nn.Module):
    """Places (count, 2), x and y from -1 to 1, told by numbers (n,) of mean 0 and deviation 1: by a plane for each and
    a small network beside it. Those that were not found are at 0."""

    plane: nn.Parameter
    middle: nn.Parameter
    inner: nn.Parameter
    shift: nn.Parameter
    outer: nn.Parameter

    def __init__(self, count: int, numbers: int):
        super().__init__()
        shapes = {
            "plane": (count, 2, numbers),
            "middle": (count, 2),
            "inner": (count, HIDDEN, numbers),
            "shift": (count, HIDDEN),
            "outer": (count, 2, HIDDEN),
        }
        for name, shape in shapes.items():
            self.register_parameter(name, nn.Parameter(torch.zeros(shape), requires_grad=False))

    @property
    def known(self) -> Bool[Tensor, " k"]:
        """Which were found."""
        return self.inner.flatten(1).any(1)

    def forward(self, numbers: Float[Tensor, "*batch n"]) -> Float[Tensor, "*batch k 2"]:
        row = numbers[..., None, :, None]
        hidden = ((self.inner @ row).squeeze(-1) + self.shift).tanh()
        place = (self.plane @ row).squeeze(-1) + self.middle + (self.outer @ hidden[..., None]).squeeze(-1)
        return place.clamp(-1, 1)

    def find(self, seen: "Seen", updates: int) -> int:
        """Find them in recorded pictures; says how many were."""
        if len(seen.numbers) < ENOUGH:
            return 0
        rows = torch.randperm(len(seen.numbers), generator=torch.Generator().manual_seed(0)).to(seen.numbers.device)
        held_out, others = rows.tensor_split([round(HELD_OUT * len(rows))])
        trial = _search(seen.part(others), updates)
        kept = _chosen(trial, seen.part(held_out))[: len(self.middle)]
        with torch.no_grad():
            for mine, found in zip(self.parameters(), trial.parameters(), strict=True):
                mine.zero_()
                mine[: len(kept)] = found[kept]
        return len(kept)


class Seen(NamedTuple):
    """Recorded pictures, and the numbers beside them; what differs from the background by less than `haze` is noise."""

    numbers: Float[Tensor, "n d"]
    images: UInt8[Tensor, "n h w 3"]
    background: Float[Tensor, "3 h w"]
    haze: float

    def part(self, rows: Int[Tensor, " b"]) -> "Seen":
        """Some of them."""
        return self._replace(numbers=self.numbers[rows], images=self.images[rows])

    def layers(self, rows: Int[Tensor, " b"]) -> Float[Tensor, "b 4 h w"]:
        """Colours of what is apart from the background, and how far it is."""
        image = to_channels(self.images[rows])
        away = (image - self.background).abs().amax(1, keepdim=True) - self.haze
        apart = (away / (CLEAR - self.haze)).clamp(0, 1)
        return torch.cat([(image - 0.5) * apart, SHAPE * apart], dim=1)


def _search(seen: Seen, updates: int) -> Landmarks:
    """Places that make cutouts more alike than others that stray from them: `STARTS` of them."""
    random = torch.Generator().manual_seed(0)
    trial = _begun(seen, random)
    slow = [trial.inner, trial.shift, trial.outer]
    groups = [{"params": [trial.plane, trial.middle]}, {"params": slow, "lr": SLOWER * LR}]
    optimiser = torch.optim.Adam(groups, lr=LR)
    fall = torch.optim.lr_scheduler.LinearLR(optimiser, 1.0, 0.05, updates)
    for i in range(updates):
        rows = torch.randint(len(seen.numbers), (BATCH,), generator=random).to(seen.numbers.device)
        third = i * len(SHRUNK) // updates
        layers = nn.functional.avg_pool2d(seen.layers(rows), SHRUNK[third])
        angle = torch.pi * torch.rand(STARTS, generator=random)
        places, axes = trial(seen.numbers[rows]), torch.stack([angle.cos(), angle.sin()], dim=-1).to(layers)
        here, strayed = alikeness(layers, torch.cat([places, _strayed(places, ASTRAY[third] * axes)], dim=1)).chunk(2)
        loss = (DISLIKE * strayed - here).sum()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        fall.step()
    return trial.requires_grad_(False)


def _begun(seen: Seen, random: torch.Generator) -> Landmarks:
    """Around the middle of what is apart from the background, which follows the robot, if not as it should."""
    device, some = seen.numbers.device, torch.arange(len(seen.numbers), device=seen.numbers.device)[:MEASURED]
    middles = torch.cat([_middles(seen.layers(rows)[:, 3]) for rows in some.split(BATCH)])
    told = torch.cat([seen.numbers[some], torch.ones(len(some), 1, device=device)], dim=1)
    plane = fitted(told.double().cpu(), middles.double().cpu())[0].float()
    trial = Landmarks(STARTS, seen.numbers.shape[1])
    drawn = (torch.randn(part.shape, generator=random) for part in trial.parameters())
    size = max(1, seen.numbers.shape[1]) ** -0.5
    with torch.no_grad():
        for part, noise, begin, spread in zip(
            trial.parameters(), drawn, (plane[:-1].T, plane[-1], 0, 0, 0), (0.3 * size, 0.4, size, 0.5, 0), strict=True
        ):
            part.copy_(begin + spread * noise)
    return trial.to(device).requires_grad_(True)


def _middles(weight: Float[Tensor, "b h w"]) -> Float[Tensor, "b 2"]:
    """The middle of weights of cells."""
    plan = coordinates(weight.shape[-1]).to(weight)
    return (weight[:, None] * plan).sum((2, 3)) / weight.sum((1, 2))[:, None].clamp_min(1e-3)


def alikeness(layers: Float[Tensor, "b c h w"], places: Float[Tensor, "b k 2"]) -> Float[Tensor, " k"]:
    """How alike pictures are around places: the energy of the mean cutout, of that of each; from 0 to 1."""
    return _alike(_cutouts(layers, places))


def _cutouts(layers: Float[Tensor, "b c h w"], places: Float[Tensor, "b k 2"]) -> Float[Tensor, "b c k s s"]:
    """What pictures show around places, the less of it counting the farther it is."""
    grid = coordinates(CELLS).movedim(0, -1).to(places)
    where = (places[:, :, None, None] + REACH * grid).flatten(1, 2)
    cut = nn.functional.grid_sample(layers, where, padding_mode="border", align_corners=False)
    return cut.unflatten(2, (-1, CELLS)) * _window(places)


def _alike(cut: Float[Tensor, "b c k s s"]) -> Float[Tensor, " k"]:
    count, each = len(cut), cut.pow(2).sum((0, 1, 3, 4))
    pairs = cut.sum(0).pow(2).sum((0, 2, 3)) - each  # of two different ones
    return pairs / (count - 1) / (each + count * EMPTY * _window(cut).pow(2).sum())


def _window(like: Tensor) -> Float[Tensor, "s s"]:
    return (-coordinates(CELLS).to(like).pow(2).sum(0) / (2 * WIDTH**2)).exp()


def _strayed(places: Float[Tensor, "b k 2"], way: Float[Tensor, "*k 2"]) -> Float[Tensor, "b k 2"]:
    """Every second place off one way, the others the other way."""
    side = torch.ones(len(places), 1, 1, device=places.device)
    side[::2] = -1
    return places + side * way


@torch.no_grad()
def _chosen(trial: Landmarks, seen: Seen) -> list[int]:
    """Those that make cutouts alike, and less so where they stray in any direction, and that differ; the best first."""
    rows = torch.arange(len(seen.numbers), device=seen.numbers.device)[:MEASURED]
    places = trial(seen.numbers[rows])
    ways = ASTRAY[-1] * places.new_tensor([[1, 0], [0.7, 0.7], [0, 1], [0.7, -0.7]])
    others = [places.roll(len(rows) // 2, 0), *(_strayed(places, way) for way in ways)]
    tried = torch.cat([places, *others], dim=1)
    parts = zip(rows.split(BATCH), tried.split(BATCH), strict=True)
    alike = _alike(torch.cat([_cutouts(seen.layers(some), at) for some, at in parts])).view(len(others) + 1, -1)
    score = alike[0] - alike[1:].amax(0)
    kept: list[int] = []
    for i in score.argsort(descending=True).tolist():
        apart = all((places[:, i] - places[:, j]).norm(dim=-1).median() > APART for j in kept)
        if apart and score[i] > max(LEAST, WORST * float(score.max())):
            kept.append(i)
    return kept
