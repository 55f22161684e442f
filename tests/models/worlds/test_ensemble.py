"""The ensemble of recurrent worlds: trained on its own predictions, paying for what its members do not agree about."""

from dataclasses import replace

import pytest
import torch

from glocal.core.features import StandardConfig
from glocal.core.spec import Part, Spec
from glocal.core.types import Segment
from glocal.models.worlds import ensemble
from glocal.models.worlds.ensemble import EnsembleConfig, EnsembleWorld, disagreement
from tests.toys import control_steps

SPEC = Spec((Part("place", (2,)),), 2)
CONFIG = EnsembleConfig(context=3, forecast=4, members=3, size=0)


def pushed(count: int, length: int = 7) -> Segment:
    """A place that an action moves by a tenth of it, and that goes on by as much as it went before."""
    action = torch.rand(count, length, 2) * 2 - 1
    speed = torch.zeros(count, 2)
    places = [torch.rand(count, 2)]
    for t in range(1, length):
        speed = 0.5 * speed + 0.1 * action[:, t]
        places.append(places[-1] + speed)
    obs = torch.stack(places, 1)
    return Segment(obs, action, obs[..., 0], torch.ones(count, length))


def trained(updates: int = 250) -> EnsembleWorld:
    torch.manual_seed(0)
    world, seen = EnsembleWorld(replace(CONFIG, size=1), SPEC, StandardConfig()), pushed(512)
    world.fit_statistics(control_steps(seen.obs[:, 2], seen.obs[:, 3], seen.reward[:, 3]))
    optimizer = torch.optim.Adam(world.parameters(), 3e-3)
    for _ in range(updates):
        loss, _ = world.loss(pushed(64))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return world.requires_grad_(False)


@pytest.fixture(scope="module")
def world() -> EnsembleWorld:
    return trained()


def test_it_learns_what_an_action_does_and_remembers_how_fast_things_went(world):
    """A speed is in no single observation."""
    seen = pushed(256, 9)
    context, answers = world.begin(seen[:, :3], 0), []
    for t in range(3, 9):
        context, answer = world.step(context, seen.action[:, t])
        answers.append(answer.obs)
    off = (torch.stack(answers, 1) - seen.obs[:, 3:]).norm(dim=-1).median(0).values
    still = (seen.obs[:, 2:3] - seen.obs[:, 3:]).norm(dim=-1).median(0).values
    assert off[0] < 0.8 * still[0] and off[-1] < 0.8 * still[-1]


def test_members_disagree_the_more_the_farther_from_what_was_recorded(world):
    """Heads on a bounded memory alone would agree about everything that is far away."""
    begun, still = world.begin(pushed(64)[:, :3], 0), torch.zeros(64, 2)
    apart = [disagreement(world._predict(begun.obs + off, still, begun.h)[1]).mean() for off in (0.0, 1.0, 3.0, 10.0)]
    assert apart[1] > 1.3 * apart[0] and apart[2] > 1.3 * apart[1] and apart[3] > 1.3 * apart[2]


def test_a_reward_pays_for_disagreement_and_nothing_else_does(world):
    context = world.begin(pushed(8)[:, :3], 0)
    free, spread = (
        world.step(context, torch.zeros(8, 2))[1],
        world._predict(context.obs, torch.zeros(8, 2), context.h)[1],
    )
    dear = EnsembleWorld(replace(world.cfg, penalty=2.0), SPEC, StandardConfig())
    dear.load_state_dict(world.state_dict())
    paid = dear.step(context, torch.zeros(8, 2))[1]
    assert torch.allclose(free.reward - paid.reward, 2 * disagreement(spread), atol=1e-5)
    assert torch.equal(free.obs, paid.obs) and torch.equal(free.cont, paid.cont)


def test_disagreement_by_hand():
    mean = torch.tensor([[[0.0, 1.0], [2.0, 1.0]]])  # two members, two numbers
    assert disagreement(mean).tolist() == [0.5]


def test_the_loss_is_of_changes_from_what_was_seen_and_then_of_its_own_predictions():
    torch.manual_seed(0)
    world, segment = EnsembleWorld(CONFIG, SPEC, StandardConfig()), pushed(2)
    told = []
    predict = world._predict

    def kept(obs, action, h):
        told.append((obs, action))
        return predict(obs, action, h)

    world._predict = kept  # pyright: ignore[reportAttributeAccessIssue]
    world.loss(segment)
    assert len(told) == 6
    for t, (obs, action) in enumerate(told, 1):
        assert torch.equal(action, segment.action[:, t])
        assert torch.equal(obs, segment.obs[:, t - 1]) == (t <= 3)


def test_it_begins_with_the_last_observations_of_its_context():
    torch.manual_seed(0)
    world, seen = EnsembleWorld(CONFIG, SPEC, StandardConfig()), pushed(2)
    whole, last = world.begin(seen, 5), world.begin(seen[:, -3:], 5)
    assert torch.equal(whole.h, last.h) and torch.equal(whole.obs, seen.obs[:, -1]) and whole.key == 5
    with pytest.raises(ValueError, match="needs 3 observations to begin, found 2"):
        world.begin(seen[:, :2], 0)
    assert world.length == 7


def test_what_is_drawn_is_as_wide_as_the_members_disagree(world, monkeypatch):
    """One unit of noise is one standard deviation of their means, whatever each one says of its own error."""
    begun, action = world.begin(pushed(8)[:, :3], 0), torch.zeros(8, 2)
    _, mean, _ = world._predict(begun.obs, action, begun.h)
    for units in (0.0, 1.0):
        monkeypatch.setattr(ensemble, "unit_noise", lambda key, shape, device, u=units: torch.full(shape, u))
        expected = world.features.advance(begun.obs, mean.mean(1) + units * mean.std(1, correction=0))
        assert torch.allclose(world.step(begun, action)[1].obs, expected, atol=1e-6)
