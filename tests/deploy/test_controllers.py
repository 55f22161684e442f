"""Controllers: a deployed policy remembers, acts by its mean, and sees what its codec reads."""

from dataclasses import dataclass, replace

import numpy as np
import pytest
import torch
from torch import nn

from glocal.core.improve import Policy
from glocal.core.types import Belief
from glocal.deploy.controllers import aimless, learned, playing, recorded_fields
from glocal.deploy.planning import ICEM, ICEMConfig, planning
from glocal.models.codecs.identity import IdentityCodec
from glocal.models.policies.actor import Actor, ActorConfig, TanhNormal
from glocal.models.policies.cloning import ChunkActor
from glocal.tasks.play import PlayConfig
from glocal.tasks.pusht import Seen
from tests.toys import LinearSurrogate, LinearWorld

TABLE = 512.0


@dataclass(frozen=True)
class Kept(Belief):
    """Two numbers that were remembered, (B, 2)."""

    x: torch.Tensor

    @property
    def feat(self):
        return self.x


class Remembering(LinearSurrogate):
    """b' = b + a, and seeing an agent at z makes of it (b' + z) / 2."""

    def initial(self, obs):
        return Kept(obs[:, -2:])

    def predict(self, belief, action):
        return Kept(belief.x + action)

    def correct(self, prior, obs):
        return Kept((prior.x + obs[:, -2:]) / 2)


class Doubting(nn.Module):
    """Does half of what it believes, or with noise something far from it."""

    def forward(self, belief):
        return TanhNormal((belief.x / 2).atanh(), torch.full_like(belief.x, 5.0))


def seen(*agents: tuple[float, float]) -> list[Seen]:
    """Environments whose agents are at places in [-1, 1]^2."""
    pixels = [(np.array(at) + 1) * TABLE / 2 for at in agents]
    return [Seen(np.zeros(16), at, np.zeros(3), 0.0, None) for at in pixels]


class Hiding(IdentityCodec):
    """Where an agent is right of the middle, its x is hidden."""

    def unseen(self, fields):
        obs = self.encode(fields)
        hidden = torch.zeros_like(obs, dtype=torch.bool)
        hidden[..., -2] = obs[..., -2] > 0
        return hidden


def started(controller):
    assert next(controller).shape == (0, 2)
    return controller


def deployed(**options):
    return started(learned(IdentityCodec(TABLE), Policy(Remembering(), Doubting()), **options))


def test_the_belief_is_carried_from_control_step_to_control_step():
    """By hand: b0 = 0.8, a0 = 0.4; b1 = (0.8 + 0.4 + 0.2) / 2 = 0.7, a1 = 0.35; b2 = (0.7 + 0.35 - 0.25) / 2 = 0.4."""
    controller = deployed()
    found = [controller.send(seen((x, -x)))[0] for x in (0.8, 0.2, -0.25)]
    assert np.allclose(found, [[0.4, -0.4], [0.35, -0.35], [0.2, -0.2]], atol=1e-6)


def test_each_environment_has_its_own_belief():
    controller = deployed()
    controller.send(seen((0.8, 0.0), (0.0, 0.4)))
    assert np.allclose(controller.send(seen((0.2, 0.0), (0.0, 0.0))), [[0.35, 0.0], [0.0, 0.15]], atol=1e-6)


def test_what_is_seen_passes_through_the_view_every_time():
    controller = deployed(view=lambda one: replace(one, agent=TABLE - one.agent))  # mirrored
    found = [controller.send(seen((x, 0.0)))[0, 0] for x in (0.8, 0.2)]
    assert np.allclose(found, [-0.4, -0.35], atol=1e-6)


def test_chunks_of_actions_are_averaged_by_the_ensemble_and_forgotten_at_their_rate():
    torch.manual_seed(0)
    actor = ChunkActor(ActorConfig(width=8), 2, 2, length=3)
    nn.init.normal_(actor.body[-1].weight)
    surrogate = Remembering()
    belief = surrogate.initial(torch.tensor([[0.8, 0.0]]))
    first = actor(belief)[0]
    second = actor(surrogate.correct(surrogate.predict(belief, first[None, 0]), torch.tensor([[0.2, 0.0]])))[0]
    controller = started(learned(IdentityCodec(TABLE), Policy(surrogate, actor), forget=1.0))
    assert np.allclose(controller.send(seen((0.8, 0.0)))[0], first[0].detach(), atol=1e-6)
    fall = float(np.exp(-1.0))
    expected = (first[1] + fall * second[0]) / (1 + fall)
    assert np.allclose(controller.send(seen((0.2, 0.0)))[0], expected.detach(), atol=1e-6)


def test_what_is_hidden_stays_as_it_was_seen_last():
    """By hand: b0 = -0.8, a0 = -0.4; then an x that is hidden counts as the -0.8 it was."""
    controller = started(learned(Hiding(TABLE), Policy(Remembering(), Doubting())))
    controller.send(seen((-0.8, 0.0)))
    assert np.allclose(controller.send(seen((0.6, 0.0)))[0, 0], (-0.8 - 0.4 - 0.8) / 2 / 2, atol=1e-6)
    assert np.allclose(controller.send(seen((0.6, 0.0)))[0, 0], (-1.0 - 0.5 - 0.8) / 2 / 2, atol=1e-6)
    assert np.allclose(controller.send(seen((-0.2, 0.0)))[0, 0], (-1.15 - 0.575 - 0.2) / 2 / 2, atol=1e-6)


def test_plans_are_told_the_same():
    told = []

    class Told(LinearWorld):
        def begin(self, segment, key):
            told.append(segment.obs[0, :, -2:].tolist())
            return super().begin(replace(segment, obs=segment.obs[..., -1:], action=segment.action[..., -1:]), key)

    cfg = ICEMConfig(samples=4, iterations=1, horizon=2, elites=2)
    controller = planning(Hiding(TABLE), ICEM(cfg, Told(), 1, seed=0), 2)
    next(controller)
    controller.send(seen((-0.8, 0.0)))
    controller.send(seen((0.6, 0.4)))
    assert np.allclose(told[-1], [[-0.8, 0.0], [-0.8, 0.4]])


def test_a_policy_is_deployed_without_noise():
    torch.manual_seed(0)
    policy = Policy(Remembering(), Actor(ActorConfig(width=8, first_std=3.0), 2, 2))
    one, two = (started(learned(IdentityCodec(TABLE), policy)).send(seen((0.8, 0.1))) for _ in range(2))
    assert np.array_equal(one, two)
    assert np.allclose(one, policy.actor(Kept(torch.tensor([[0.8, 0.1]]))).mean.detach(), atol=1e-6)


@pytest.mark.parametrize("reach, share", [(50.0, 1.0), (100.0, 0.5), (25.0, 2.0)])
def test_play_moves_a_robot_of_another_reach_as_far(reach, share):
    near = [started(playing(PlayConfig(), 3, r)).send(seen((0.1, 0.2), (0.3, 0.4))) for r in (50.0, reach)]
    assert np.allclose(near[1], near[0] * share) and np.abs(near[0]).max() > 0


def test_play_differs_from_environment_to_environment_and_by_seed():
    same = seen((0.1, 0.2), (0.1, 0.2))
    for one in same:
        one.keypoints[:] = 300.0
    first, second = started(playing(PlayConfig(), 3)).send(same), started(playing(PlayConfig(), 4)).send(same)
    assert not np.allclose(first[0], first[1]) and not np.allclose(first, second)
    assert np.array_equal(first, started(playing(PlayConfig(), 3)).send(same))


def test_aimless_actions_fill_the_square_and_follow_from_their_seed():
    controller = started(aimless(5))
    drawn = np.stack([controller.send(seen(*[(0, 0)] * 100)) for _ in range(20)])
    assert drawn.shape == (20, 100, 2) and drawn.min() < -0.99 and drawn.max() > 0.99 and abs(drawn.mean()) < 0.05
    assert np.array_equal(drawn[0], started(aimless(5)).send(seen(*[(0, 0)] * 100)))
    assert not np.array_equal(drawn[0], started(aimless(6)).send(seen(*[(0, 0)] * 100)))


def test_pictures_stay_bytes_and_numbers_become_floats():
    image = np.full((4, 4, 3), 200, np.uint8)
    fields = recorded_fields([replace(seen((0, 0))[0], image=image)] * 2, ("image", "agent"))
    assert fields["image"].dtype == torch.uint8 and fields["image"].shape == (2, 4, 4, 3)
    assert fields["agent"].dtype == torch.float32 and fields["agent"].tolist() == [[256.0, 256.0]] * 2
