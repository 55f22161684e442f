"""Which way each part of a policy iteration moves what it owns, and the returns that it moves along, by hand."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from glocal.agents.actor import Actor, ActorConfig, TwinCritics
from glocal.core.improve import ImproveConfig, Pilot, PolicyIteration
from glocal.core.types import Segment, Step, Trajectory
from tests.toys import LinearSurrogate, LinearWorld, PlaceBelief, resting

CONFIG = ImproveConfig(iterations=100, envs=32, horizon=3, episode=12, warm_up=2, gamma=0.5, lam=0.25, memory=64)


class Constant(nn.Module):
    """Two critics, each of one mind."""

    def forward(self, feat: Tensor) -> Tensor:
        return torch.stack([torch.full(feat.shape[:-1], 4.0), torch.full(feat.shape[:-1], 2.0)])


def iteration(start: float = -0.5, **choices: object) -> PolicyIteration:
    """In the linear world, from points that rest at `start`."""
    torch.manual_seed(0)
    cfg, agent = replace(CONFIG, **choices), ActorConfig(width=16)

    def resting_there(count: int, length: int) -> Segment:
        windows = resting(count, length)
        return replace(windows, obs=torch.full_like(windows.obs, start))

    pilot = Pilot(LinearSurrogate(), Actor(agent, 1, 1))
    return PolicyIteration(cfg, LinearWorld(), pilot, TwinCritics(agent, 1), resting_there, resting_there)


def trajectory() -> Trajectory:
    """Two steps of one environment: from 0 to 2 and on to 3."""
    belief, after = PlaceBelief(torch.tensor([[[0.0], [2.0]]])), PlaceBelief(torch.tensor([[[2.0], [3.0]]]))
    reward, cont, entropy = torch.tensor([[5.0, 7.0]]), torch.tensor([[1.0, 0.75]]), torch.tensor([[0.5, -0.5]])
    zeros = torch.zeros(1, 2)
    seen = Step(after.x, reward, cont)
    return Trajectory(belief, zeros[..., None], zeros[..., None], entropy, reward, cont, after, seen, zeros)


def of_one_mind(temperature: float) -> PolicyIteration:
    work = iteration(target_entropy=-0.5)
    work.critics = Constant()
    work.log_temperature.data.fill_(temperature).log_()
    return work


@pytest.mark.parametrize("off, up", [(-0.3, True), (0.3, False)])
def test_the_temperature_rises_below_the_entropys_target_and_falls_above(off, up):
    work = iteration()
    before = float(work.log_temperature.detach())
    work._tune_temperature(torch.tensor(work._entropy_target() + off))
    assert (float(work.log_temperature.detach()) > before) is up


def test_the_entropy_term_raises_entropy():
    work = iteration(link="freeze", temperature=1.0, target_entropy=-0.5)
    here = work.surrogate.initial(torch.full((64, 1), -0.5))
    before = work.actor(here).std.mean()
    for _ in range(5):
        work._improve_actor(*work._imagine())
    assert work.actor(here).std.mean() > 1.02 * before


@pytest.mark.parametrize("start, sign", [(-0.5, 1), (2.5, -1)])
def test_the_actor_moves_along_the_returns_gradient(start, sign):
    work = iteration(start, temperature=1e-8)
    here = work.surrogate.initial(torch.full((1, 1), start))
    before = float(work.actor(here).mean.detach())
    for _ in range(3):
        work._improve_actor(*work._imagine())
    assert sign * (float(work.actor(here).mean.detach()) - before) > 0.01


def test_the_return_by_hand():
    work = of_one_mind(temperature=0.5)
    soft = (5 + 0.5 * 1.0, 7 + 0.5 * 0.0)  # entropies of 0.5 and -0.5 are 1 and 0 when normalised
    value = (4 + 2) / 2 - (3 - 1) ** 2 / (1 - 0.5)
    assert work.return_of(trajectory()).tolist() == pytest.approx([soft[0] + 0.5 * soft[1] + 0.25 * 0.75 * value])


def test_the_critics_targets_by_hand():
    work = of_one_mind(temperature=0.5)
    feat, target = work._value_targets(trajectory())
    values = (2 - (2 - 1) ** 2 / 0.5, 2 - (3 - 1) ** 2 / 0.5)  # the lesser critic, on what staying is worth
    last = 7 + 0.5 * 0.0 + 0.5 * 0.75 * values[1]
    first = 5 + 0.5 * 1.0 + 0.5 * 1.0 * (0.75 * values[0] + 0.25 * last)
    staying = (-((0 - 1) ** 2) / 0.5, -((2 - 1) ** 2) / 0.5)  # of the beliefs acted on
    assert feat.tolist() == [[0.0], [2.0]]
    assert target.tolist() == pytest.approx([first - staying[0], last - staying[1]])


def test_fitting_the_critics_brings_both_nearer_to_their_targets():
    work, happened = iteration(critic_rate=1e-2, critic_passes=30), trajectory()
    target = work._value_targets(happened)[1]
    before = (work.critics(happened.belief.feat.flatten(0, 1)) - target).abs()
    work._fit_critics(happened)
    after = (work.critics(happened.belief.feat.flatten(0, 1)) - target).abs()
    assert (after < before).all()


def test_the_next_iteration_goes_on_from_where_this_one_came_to():
    work = iteration()
    found, _ = work._imagine()
    assert torch.equal(work.imagined.context.x, found.seen.obs[:, -1])
    assert torch.equal(work.imagined.belief.feat, found.after.feat[:, -1])
    assert torch.equal(work.imagined.recent.obs, found.seen.obs[:, -CONFIG.warm_up :])
    assert torch.equal(work.imagined.recent.action, found.action[:, -CONFIG.warm_up :].detach())
    kept = work.memory.draw(16)
    assert torch.allclose(kept.obs[:, 2:], kept.obs[:, 1:-1] + 0.5 * kept.action[:, 2:], atol=1e-6)


@pytest.mark.parametrize("done, left", [(0, 1.0), (50, 0.6), (100, 0.2)])
def test_learning_rates_fall_linearly_to_their_final_share(done, left):
    work = iteration(final_rate=0.2, actor_rate=1e-3, critic_rate=4e-3)
    work.iteration = done
    work._decay_rates()
    assert work.actor_optimizer.param_groups[0]["lr"] == pytest.approx(1e-3 * left)
    assert work.critic_optimizer.param_groups[0]["lr"] == pytest.approx(4e-3 * left)


def test_the_refresh_brings_the_local_model_nearer_to_what_was_imagined():
    work = iteration(refresh_batches=20, refresh_rate=1e-2)
    work.surrogate.slope.data.fill_(0.2)
    work._imagine()
    work._refresh()
    assert abs(float(work.surrogate.slope.detach()) - 0.5) < 0.25
