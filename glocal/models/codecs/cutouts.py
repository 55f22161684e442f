"""Cut-outs: body and agent, cut out of one recorded frame and pasted anywhere, make frames whose points are known.

An autoencoder alone learns points that say where a body is, but not points that stay on it as it turns: any code that
can be drawn again will do. Finding a body that was pasted at a known place leaves no such freedom, and needs no label.
"""

from typing import NamedTuple

import cv2
import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor, nn

from glocal.models.rigid2d.scene import rotate
from glocal.runtime.files import UserError

LEAST_AREA = 4
"""Pixels; what is smaller does not count as a thing."""
NEARBY = 0.35
"""Half of the pasted agents are about this far from the body, in observation units."""


class Pasted(NamedTuple):
    """Composed frames in [0, 1], and where on them the body's points and the agent are, in [-1, 1]."""

    image: Float[Tensor, "b 3 h w"]
    points: Float[Tensor, "b k 2"]
    agent: Float[Tensor, "b 2"]


class Cutouts(nn.Module):
    """The background, and pictures of the body and of the agent with their masks; taken from recorded frames.

    What is pasted to teach points stays as it was cut out; what `compose` draws with are copies that are learned.
    """

    background: Tensor
    body: Tensor
    agent: Tensor
    body_centre: Tensor
    agent_centre: Tensor
    shape: Tensor

    def __init__(self, points: int, size: int):
        super().__init__()
        self.size = size
        self.register_buffer("background", torch.zeros(3, size, size))
        self.register_buffer("body", torch.zeros(4, size, size))
        self.register_buffer("agent", torch.zeros(4, size, size))
        self.register_buffer("body_centre", torch.zeros(2))
        self.register_buffer("agent_centre", torch.zeros(2))
        self.register_buffer("shape", torch.zeros(points, 2))
        self.drawn_body = nn.Parameter(torch.zeros(4, size, size))
        self.drawn_agent = nn.Parameter(torch.zeros(4, size, size))

    @torch.no_grad()
    def fit_statistics(self, images: Float[Tensor, "n 3 h w"], threshold: float) -> None:
        """Take the background, and cut body and agent out of the frame that shows both as they mostly look.

        What differs from the background by more than `threshold` is foreground. In frames where that makes two
        separate things, the larger is the body and the smaller the agent. Raises `UserError` where there are none.
        """
        self.background.copy_(images.median(0).values)
        masks = ((images - self.background).abs().amax(1) > threshold).cpu().numpy()
        pairs = {i: pair for i, mask in enumerate(masks) if (pair := _two_things(mask)) is not None}
        if not pairs:
            raise UserError(
                f"in none of {len(images)} recorded frames do a body and an agent lie apart on the background, so none "
                f"can be cut out; record more play, change --codec.threshold ({threshold}), or use a latent grid"
            )
        areas = np.array([[mask.sum() for mask in pair] for pair in pairs.values()])
        odd = (np.abs(areas - np.median(areas, axis=0)) / np.median(areas, axis=0)).sum(1)
        chosen = list(pairs)[int(odd.argmin())]
        body, agent = (torch.from_numpy(mask).to(images) for mask in pairs[chosen])
        for picture, centre, mask in ((self.body, self.body_centre, body), (self.agent, self.agent_centre, agent)):
            picture.copy_(torch.cat([images[chosen] * mask, mask[None]]))
            centre.copy_(_places(mask).mean(0))
        self.drawn_body.copy_(self.body)
        self.drawn_agent.copy_(self.agent)
        self.shape.copy_(_spread(_places(body), len(self.shape)) - self.body_centre)

    @torch.no_grad()
    def paste(self, count: int) -> Pasted:
        """Frames with the body anywhere, turned anyhow, and the agent upright, anywhere or nearby."""
        device = self.shape.device
        angle = 2 * torch.pi * torch.rand(count, device=device)
        turn = torch.stack([angle.cos(), angle.sin()], dim=-1)
        place = 0.8 * (2 * torch.rand(count, 2, device=device) - 1)
        anywhere = 0.95 * (2 * torch.rand(count, 2, device=device) - 1)
        nearby = (place + NEARBY * torch.randn(count, 2, device=device)).clamp(-0.95, 0.95)
        agent = torch.where(torch.rand(count, 1, device=device) < 0.5, nearby, anywhere)
        points = rotate(self.shape.expand(count, -1, -1), turn) + place[:, None]
        return Pasted(self._composed(self.body, self.agent, turn, place, agent), points, agent)

    def compose(
        self, turn: Float[Tensor, "b 2"], place: Float[Tensor, "b 2"], agent: Float[Tensor, "b 2"]
    ) -> Float[Tensor, "b 3 h w"]:
        """Images of the body, its centre at a place, and of the agent."""
        return self._composed(self.drawn_body, self.drawn_agent, turn, place, agent)

    def _composed(self, body: Tensor, agent_picture: Tensor, turn: Tensor, place: Tensor, agent: Tensor) -> Tensor:
        upright = torch.zeros_like(turn) + turn.new_tensor([1.0, 0.0])
        image = self.background.expand(len(turn), -1, -1, -1)
        image = self._over(image, body, self.body_centre, turn, place)
        return self._over(image, agent_picture, self.agent_centre, upright, agent)

    def _over(self, image: Tensor, picture: Tensor, centre: Tensor, turn: Tensor, place: Tensor) -> Tensor:
        """Paste a cut-out, turned about its centre and moved to a place, over images."""
        cos, sin = turn.unbind(-1)
        back = torch.stack([torch.stack([cos, sin], -1), torch.stack([-sin, cos], -1)], dim=1)
        offset = centre - (back @ place[..., None])[..., 0]
        where = nn.functional.affine_grid(
            torch.cat([back, offset[..., None]], -1), [len(image), 4, self.size, self.size], align_corners=False
        )
        moved = nn.functional.grid_sample(picture.expand(len(image), -1, -1, -1), where, align_corners=False)
        return image * (1 - moved[:, 3:]) + moved[:, :3]


def _two_things(mask: NDArray[np.bool_]) -> tuple[NDArray[np.bool_], NDArray[np.bool_]] | None:
    """The larger and the smaller of two separate things in a mask (h, w); None where there are more or fewer."""
    count, labels, stats, _ = cv2.connectedComponentsWithStats(mask.astype(np.uint8), connectivity=8)
    areas = stats[:, cv2.CC_STAT_AREA]
    things = sorted((i for i in range(1, count) if areas[i] >= LEAST_AREA), key=lambda i: -areas[i])
    return (labels == things[0], labels == things[1]) if len(things) == 2 else None


def _places(mask: Float[Tensor, "h w"]) -> Float[Tensor, "n 2"]:
    """x and y, from -1 to 1, of the pixels in a mask."""
    rows, columns = mask.nonzero().unbind(-1)
    return (torch.stack([columns, rows], dim=-1) + 0.5) * 2 / len(mask) - 1


def _spread(places: Float[Tensor, "n 2"], count: int) -> Float[Tensor, "k 2"]:
    """`count` of the places, far from one another: each is the farthest from those before it."""
    chosen = [(places - places.mean(0)).norm(dim=-1).argmax()]
    while len(chosen) < count:
        chosen.append(torch.cdist(places, places[torch.stack(chosen)]).amin(1).argmax())
    return places[torch.stack(chosen)]
