"""Scenes of points in a plane, an agent among them: the quantities in which contact looks simple.

Networks that see plain coordinates learn nothing about contacts from hours of logs. Relative positions, and for a rigid
body its own frame, make the same motion look the same wherever on the table it happens.
"""

from dataclasses import dataclass
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn

from glocal.core.features import POLICY_SCALES, Featurizer, Outcome
from glocal.core.nets import harmonics, outcome_head
from glocal.core.spec import Part, Spec
from glocal.core.types import Pairs
from glocal.models import bodies


class Frame(NamedTuple):
    """Where a rigid body is: the mean of its points (B, 2), and the cosine and sine of its angle (B, 2)."""

    centre: Float[Tensor, "b 2"]
    turn: Float[Tensor, "b 2"]


def rotate(xy: Float[Tensor, "b *n 2"], turn: Float[Tensor, "b 2"]) -> Float[Tensor, "b *n 2"]:
    """Turn all vectors of a scene by the angle whose cosine and sine are given."""
    return bodies.rotate(xy, turn.view(turn.shape[0], *[1] * (xy.ndim - 2), 2))


def unrotate(xy: Float[Tensor, "b *n 2"], turn: Float[Tensor, "b 2"]) -> Float[Tensor, "b *n 2"]:
    """Turn vectors back."""
    return rotate(xy, turn * turn.new_tensor([1.0, -1.0]))


def fit_frame(points: Float[Tensor, "b k 2"], shape: Float[Tensor, "k 2"]) -> Frame:
    """The rigid placement of a centred `shape` nearest to `points` in squared distance."""
    centre = points.mean(-2)
    return Frame(centre, bodies.facing(points - centre[:, None], shape))


def scene_spec(points: int) -> Spec:
    """Observations of `points` points and an agent in a plane, from -1 to 1; actions displace the agent's target."""
    return Spec((Part("points", (points, 2)), Part("agent", (2,))), action_dim=2)


@dataclass(frozen=True)
class SceneConfig:
    """What is known of a scene."""

    rigid: bool
    """Whether all points move as one rigid body."""
    reach: float
    """How far an action of 1 puts the agent's target from the agent, in units of observations."""

    def build(self, spec: Spec, window: int, scales: int) -> "Scene":
        return Scene(self, spec, window, scales)


class Scene(Featurizer):
    """Features and changes of scenes of points and an agent.

    `shape` is the rigid body's, `scale` the typical change per control step of each point and of the agent, and `goal`
    where the points were when the most rewarding observation was recorded.
    """

    shape: Tensor
    scale: Tensor
    goal: Tensor

    def __init__(self, cfg: SceneConfig, spec: Spec, window: int, scales: int):
        super().__init__(spec, window, scales)
        names = [part.name for part in spec.parts]
        assert names == ["points", "agent"], f"a scene is made of points and an agent, found {names}"
        self.points, self.rigid, self.reach = spec.part("points").shape[0], cfg.rigid, cfg.reach
        self.register_buffer("shape", torch.zeros(self.points, 2))
        self.register_buffer("scale", torch.ones(self.points + 1, 1))
        self.register_buffer("goal", torch.zeros(self.points, 2))

    @torch.no_grad()
    def fit_statistics(self, pairs: Pairs) -> None:
        points, _ = self.split(pairs.before)
        self.goal.copy_(self.split(pairs.after[pairs.reward.argmax()])[0])
        if self.rigid:
            first = points[0] - points[0].mean(0)
            frame = fit_frame(points, first)
            self.shape.copy_(unrotate(points - frame.centre[:, None], frame.turn).mean(0))
        change = (pairs.after - pairs.before).view(-1, self.points + 1, 2)
        scale = change.pow(2).mean((0, 2)).sqrt()
        if self.rigid:
            scale[:-1] = scale[:-1].pow(2).mean().sqrt()
        self.scale.copy_(scale.clamp_min(1e-3)[:, None])

    def split(self, obs: Float[Tensor, "*batch d"]) -> tuple[Tensor, Tensor]:
        """Points (*batch, k, 2) and agent (*batch, 2)."""
        xy = obs.unflatten(-1, (-1, 2))
        return xy[..., :-1, :], xy[..., -1, :]

    def target(self, obs: Float[Tensor, "*batch d"], action: Float[Tensor, "*batch 2"]) -> Float[Tensor, "*batch 2"]:
        """Where an action sends the agent; targets end at the edge of the table."""
        return (obs[..., -2:] + self.reach * action).clamp(-1, 1)

    def frame(self, obs: Float[Tensor, "b d"]) -> Frame:
        """The rigid body's frame; for other scenes the table's own axes."""
        points, agent = self.split(obs)
        if self.rigid:
            return fit_frame(points, self.shape)
        return Frame(torch.zeros_like(agent), torch.zeros_like(agent) + agent.new_tensor([1.0, 0.0]))

    def delta(self, before: Float[Tensor, "b d"], after: Float[Tensor, "b d"]) -> Float[Tensor, "b d"]:
        """What happened between two observations: in the body's frame, in units of the typical change."""
        xy = (after - before).unflatten(-1, (-1, 2))
        return (unrotate(xy, self.frame(before).turn) / self.scale).flatten(-2)

    def advance(self, before: Float[Tensor, "b d"], delta: Float[Tensor, "b d"]) -> Float[Tensor, "b d"]:
        """The observation after a change; a rigid body comes out rigid."""
        xy = rotate(delta.unflatten(-1, (-1, 2)) * self.scale, self.frame(before).turn)
        after = before + xy.flatten(-2)
        return self.straighten(after) if self.rigid else after

    def straighten(self, obs: Float[Tensor, "b d"]) -> Float[Tensor, "b d"]:
        """The nearest observation in which the body has its own shape."""
        centre, turn = self.frame(obs)
        points = rotate(self.shape.expand(obs.shape[0], -1, -1), turn) + centre[:, None]
        return torch.cat([points.flatten(-2), obs[:, -2:]], dim=-1)

    def dynamics(
        self, obs: Float[Tensor, "b w d"], action: Float[Tensor, "b w 2"], scales: int
    ) -> Float[Tensor, "b f"]:
        """Features of the last `w` observations and of the action that follows each of them.

        Where the agent is and is sent to now is told in `scales` waves as well.
        """
        now = obs[:, -1]
        points, agents = self.split(obs)
        targets = self.target(obs, action)
        places = torch.cat([agents, targets], dim=1)
        near = torch.stack([agents[:, -1], targets[:, -1]], dim=1)
        parts = self._rigid_parts if self.rigid else self._loose_parts
        return torch.cat([part.flatten(1) for part in (now, *parts(points, places, near, scales))], dim=-1)

    def policy(self, obs: Float[Tensor, "b w d"], action: Float[Tensor, "b w 2"]) -> Float[Tensor, "b f"]:
        """What a policy sees: a situation, and the way from the points to where they are wanted."""
        now = obs[:, -1]
        points, _ = self.split(now)
        way = unrotate(self.goal - points, self.frame(now).turn)
        distance = (way.pow(2).sum(-1) + 1e-6).sqrt()
        parts = [self.dynamics(obs, action, POLICY_SCALES), way.flatten(1), (-8 * distance).exp()]
        return torch.cat(parts, dim=-1)

    def to_action(self, obs: Tensor, vector: Tensor) -> Tensor:
        """From the body's axes to the table's."""
        return rotate(vector.unflatten(-1, (-1, 2)), self.frame(obs).turn).flatten(-2)

    def shifts(self, like: Float[Tensor, "b d"]) -> Float[Tensor, "b d"]:
        """Of the agent alone."""
        return torch.cat([torch.zeros_like(like[:, :-2]), torch.randn_like(like[:, -2:])], dim=-1)

    def outcome(self, width: int) -> "SceneOutcome":
        return SceneOutcome(self.spec.obs_dim, width)

    def _rigid_parts(self, points: Tensor, places: Tensor, near: Tensor, scales: int) -> list[Tensor]:
        """Everything as the body sees it: the agent, its targets, and how the body itself has moved."""
        centre, turn = fit_frame(points[:, -1], self.shape)
        near = unrotate(near - centre[:, None], turn)
        places = unrotate(places - centre[:, None], turn)
        past = unrotate(points[:, :-1, :3] - points[:, -1:, :3], turn) / self.scale[0]
        return [centre, turn, places, harmonics(near.flatten(1), scales), past]

    def _loose_parts(self, points: Tensor, places: Tensor, near: Tensor, scales: int) -> list[Tensor]:
        """Points as seen from the agent and from its target, and how they have moved."""
        relative = points[:, -1, None] - near[:, :, None]
        past = (points[:, 1:] - points[:, :-1]) / self.scale[:-1]
        return [relative, harmonics(relative.flatten(1), scales), places - near[:, :1], past]


class SceneOutcome(Outcome):
    """Reward and continuation of an observation.

    Besides the points it sees their distance to a learned reference scene, which starts at the most rewarding one
    that was recorded: what is wanted is often near, and a reward's last centimetre is hard to read off coordinates.
    """

    def __init__(self, obs_dim: int, width: int):
        super().__init__()
        self.reference = nn.Parameter(torch.zeros(obs_dim - 2))
        self.body = outcome_head(obs_dim + (obs_dim - 2) // 2 + 8, width)

    @torch.no_grad()
    def fit_statistics(self, after: Float[Tensor, "n d"], reward: Float[Tensor, " n"]) -> None:
        self.reference.copy_(after[reward.argmax(), :-2])

    def forward(self, obs: Float[Tensor, "*batch d"]) -> tuple[Tensor, Tensor]:
        offset = (obs[..., :-2] - self.reference).unflatten(-1, (-1, 2))
        distance = (offset.pow(2).sum(-1) + 1e-6).sqrt()
        mean = distance.mean(-1, keepdim=True)
        near = torch.cat([(-mean * 2**k).exp() for k in range(8)], dim=-1)
        reward, cont = self.body(torch.cat([obs, distance, near], dim=-1)).unbind(-1)
        return reward, cont
