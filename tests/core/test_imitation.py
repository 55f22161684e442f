"""The cloned actor that a policy is held near."""

import torch

from glocal.core.imitation import Imitation
from glocal.core.types import Segment
from glocal.models.policies.actor import Actor, ActorConfig
from tests.toys import LinearSurrogate, resting


def told(count: int, length: int) -> Segment:
    """Points at rest; the last action goes by where they are, and leads elsewhere."""
    segment = resting(count, length)
    segment.action[:, -1] = 0.5 * segment.obs[:, -2]
    segment.obs[:, -1] = -segment.obs[:, -2]
    return segment


def test_it_follows_what_was_recorded_at_what_the_local_model_believes_now():
    torch.manual_seed(0)
    surrogate = LinearSurrogate()
    imitation = Imitation(Actor(ActorConfig(width=32), 1, 1), lr=1e-2)
    for _ in range(200):
        imitation.follow(surrogate, told(64, 3))
    found = imitation(surrogate.initial(torch.tensor([[-0.8], [0.0], [0.8]])))
    assert (found - torch.tensor([[-0.4], [0.0], [0.4]])).abs().max() < 0.05


def test_the_actor_that_it_is_made_of_stays_as_it_is():
    actor = Actor(ActorConfig(width=8), 1, 1)
    before = [each.detach().clone() for each in actor.parameters()]
    imitation = Imitation(actor, lr=1e-1)
    imitation.follow(LinearSurrogate(), told(8, 3))
    assert all(torch.equal(a, b) for a, b in zip(before, actor.parameters(), strict=True))
    assert not all(torch.equal(a, b) for a, b in zip(before, imitation.actor.parameters(), strict=True))
