"""Derivative matching: zero where slopes agree, whatever the values; and it mends slopes that do not."""

import torch

from glocal.core.matching import Matching, MatchingConfig, varied
from glocal.core.types import Segment, Step
from tests.toys import LinearSurrogate, LinearWorld

NONE = torch.zeros(0, dtype=torch.long)
CONFIG = MatchingConfig(weight=1.0, action=0.1, state=0.0)


def windows(count: int) -> Segment:
    flat = torch.zeros(count, 4)
    return Segment(torch.rand(count, 4, 1), torch.rand(count, 4, 1), flat, flat + 1)


def matching() -> Matching:
    return Matching(CONFIG, LinearWorld(), torch.ones(1), NONE, length=3)


def test_equal_slopes_cost_nothing_though_values_differ():
    assert float(matching().loss(LinearSurrogate(slope=0.5, offset=3.0), windows(8)).detach()) < 1e-9


def test_other_slopes_cost_their_difference_squared():
    loss = matching().loss(LinearSurrogate(slope=0.9), windows(8))
    assert torch.allclose(loss, torch.tensor(0.5 * 0.4**2), atol=1e-5)  # Huber's, by hand


def test_windows_in_which_an_episode_ended_do_not_count():
    some = windows(8)
    cont = some.cont.clone()
    cont[:, 1] = 0.0
    ended = Segment(some.obs, some.action, some.reward, cont)
    assert float(matching().loss(LinearSurrogate(slope=0.9), ended).detach()) == 0.0


def test_it_teaches_the_slope():
    torch.manual_seed(0)
    surrogate = LinearSurrogate(slope=-1.0)
    optimizer = torch.optim.SGD(surrogate.parameters(), lr=0.5)
    for _ in range(40):
        optimizer.zero_grad()
        matching().loss(surrogate, windows(16)).backward()
        optimizer.step()
    assert abs(float(surrogate.slope.detach()) - 0.5) < 1e-2


def test_a_varied_window_has_its_agent_elsewhere_and_another_last_action():
    obs, action, flat = torch.rand(2, 3, 6), torch.rand(2, 3, 2), torch.zeros(2, 3)
    moved = varied(Segment(obs, action, flat, flat), torch.full((2, 2), 0.1), torch.tensor([[0.0] * 4 + [0.2] * 2] * 2))
    assert torch.allclose(moved.obs[..., -2:], obs[..., -2:] + 0.2) and torch.equal(moved.obs[..., :-2], obs[..., :-2])
    assert torch.allclose(moved.action[:, -1], action[:, -1] + 0.1) and torch.equal(
        moved.action[:, :-1], action[:, :-1]
    )


def test_slopes_are_differences_over_the_whole_variation_in_typical_changes():
    """Slopes differ by 0.4 of an action varied by 0.1 to either side, over 2 (0.1 + 0.1) and a typical change of 0.5.

    The agent's variation moves both models' answers alike.
    """
    torch.manual_seed(0)
    careful = Matching(
        MatchingConfig(action=0.1, state=0.1), LinearWorld(), torch.full((1,), 0.5), torch.tensor([0]), length=3
    )
    loss = careful.loss(LinearSurrogate(slope=0.9), windows(8))
    slope = 0.4 * 2 * 0.1 / (2 * (0.1 + 0.1) * 0.5)
    assert torch.allclose(loss, torch.tensor(0.5 * slope**2), atol=1e-5)


class Shaken(LinearWorld):
    """The same world with noise by its key: `anyhow`, and `more` the more is done."""

    def __init__(self, anyhow: float, more: float):
        self.anyhow, self.more = anyhow, more

    def step(self, context, action):
        context, seen = super().step(context, action)
        noise = torch.randn(seen.obs.shape, generator=torch.Generator().manual_seed(context.key))
        return context, Step(seen.obs + noise * (self.anyhow + self.more * action), seen.reward, seen.cont)


class Drawing(LinearSurrogate):
    """A surrogate that draws what it expects."""

    def predict(self, belief, action):
        expected = super().predict(belief, action)
        return type(expected)(expected.x + torch.randn_like(expected.x))


def test_both_answers_of_the_world_have_the_same_noise():
    shaken = Matching(CONFIG, Shaken(anyhow=10.0, more=0.0), torch.ones(1), NONE, length=3)
    assert float(shaken.loss(LinearSurrogate(), windows(8)).detach()) < 1e-6


def test_every_update_has_another_noise():
    """What is found is how much more the noise of that update shakes: half its square, or its size less a half."""
    torch.manual_seed(0)
    shaken = Matching(CONFIG, Shaken(anyhow=0.0, more=1.0), torch.ones(1), NONE, length=3)
    found = [round(float(shaken.loss(LinearSurrogate(), windows(1)).detach()), 3) for _ in range(5)]
    assert len(set(found)) == 5


def test_a_surrogate_that_draws_draws_alike_for_both():
    assert float(matching().loss(Drawing(), windows(8)).detach()) < 1e-9


def test_random_numbers_after_it_do_not_depend_on_what_the_surrogate_draws():
    after = []
    for surrogate in (LinearSurrogate(), Drawing()):
        torch.manual_seed(0)
        matching().loss(surrogate, windows(8))
        after.append(torch.rand(3))
    assert torch.equal(*after)


def test_only_the_last_rows_of_a_window_are_looked_at():
    torch.manual_seed(0)
    long = windows(8)
    long.obs[:, 0] = torch.nan
    loss = matching().loss(LinearSurrogate(slope=0.9), long)
    assert torch.allclose(loss, torch.tensor(0.5 * 0.4**2), atol=1e-5)


def test_the_worlds_answers_are_no_part_of_the_graph():
    surrogate = LinearSurrogate(slope=0.9)
    matching().loss(surrogate, windows(8)).backward()
    assert torch.allclose(surrogate.slope.grad, torch.tensor(0.4), atol=1e-4)
