"""The transformer world: its cache, its tokens and its loss by hand, and that it learns what an action does."""

from dataclasses import replace

import pytest
import torch

from glocal.core.spec import Part, Spec
from glocal.core.types import Segment
from glocal.models.transformer import NEVER, BlockCausal
from glocal.models.worlds.shortcut import Levels, ShortcutConfig, ShortcutWorld, Tokens
from glocal.runtime.files import UserError
from glocal.runtime.trainer import Fit, FitConfig
from tests.toys import control_steps

SPEC = Spec((Part("place", (2,)),), 2)
MIXED = Spec((Part("joints", (3,)), Part("words", (4, 5)), Part("top", (2, 4, 8))), 2)
SMALL = ShortcutConfig(context=3, back=4, window=6, size=0, finest=8, bootstrap=0.5)


def net(back: int) -> BlockCausal:
    """Two layers of each kind, so that what is looked back at has looked back itself."""
    torch.manual_seed(0)
    return BlockCausal(32, 2, 4, 2, back).requires_grad_(False)


@pytest.mark.parametrize("back", [4, 20])
@pytest.mark.parametrize("chunk", [1, 3])
def test_a_cache_gives_what_the_whole_gives(back, chunk):
    """Where more was seen than is looked back at, and where less was."""
    model, x = net(back), torch.randn(2, 12, 5, 32)
    times = torch.arange(12).expand(2, -1)
    whole, _ = model(x, times)
    cache, found = model.empty(2, 5, x.device, x.dtype), []
    for t in range(0, 12, chunk):
        out, left = model(x[:, t : t + chunk], times[:, t : t + chunk], cache)
        cache = cache.with_step(left)
        found.append(out)
    assert torch.allclose(torch.cat(found, 1), whole, atol=1e-5)
    assert cache.times.shape[1] == back - 1 and cache.times[0, -1] == 11


def test_elements_may_be_at_different_times():
    """Where an environment begins again, its time does, too: only differences of time count."""
    model, x = net(4), torch.randn(1, 3, 5, 32).expand(2, -1, -1, -1)
    out, _ = model(x, torch.tensor([[0, 1, 2], [700, 701, 702]]))
    assert torch.allclose(out[0], out[1], atol=1e-3)


def test_nothing_later_and_nothing_too_long_ago_is_looked_at():
    model, x = net(3), torch.randn(1, 8, 5, 32)
    times = torch.arange(8)[None]
    before, _ = model(x, times)
    x = x.clone()
    x[:, 4] += 1.0
    after, _ = model(x, times)
    moved = [not torch.allclose(a, b, atol=1e-6) for a, b in zip(before[0], after[0], strict=True)]
    assert moved == [False] * 4 + [True] * 4  # two layers that look two steps back
    x[:, 0] += 1.0
    assert torch.allclose(model(x, times)[0][:, 5:], after[:, 5:], atol=1e-6)


def test_a_cache_of_nothing_is_not_looked_at():
    model, x = net(4), torch.randn(2, 1, 5, 32)
    times = torch.zeros(2, 1, dtype=torch.long)
    empty = model.empty(2, 5, x.device, x.dtype)
    assert (empty.times == NEVER).all()
    assert torch.allclose(model(x, times, empty)[0], model(x, times)[0], atol=1e-6)


def test_a_longer_piece_than_a_cache_holds_leaves_its_last_steps():
    model, x = net(4), torch.randn(2, 9, 5, 32)
    _, left = model(x, torch.arange(9).expand(2, -1))
    kept = model.empty(2, 5, x.device, x.dtype).with_step(left)
    assert kept.times.tolist() == [[6, 7, 8]] * 2 and torch.equal(kept.keys, left.keys[..., -3:, :])


@pytest.mark.parametrize("pack", [1, 2, 4])
def test_tokens_hold_what_is_seen_square_by_square(pack):
    torch.manual_seed(0)
    tokens, obs = Tokens(MIXED, pack, 64), torch.randn(3, 2, MIXED.obs_dim)
    assert tokens(obs).shape == (3, 2, 1 + 4 + 32 // pack**2, 64)
    for enter, leave in zip(tokens.enter, tokens.leave, strict=True):  # each the other's inverse
        enter.weight.data = torch.nn.init.orthogonal_(enter.weight)
        enter.bias.data.zero_(), leave.bias.data.zero_()
        leave.weight.data = enter.weight.data.T.clone()
    assert torch.allclose(tokens.read(tokens(obs) - tokens.place), obs, atol=1e-5)


def test_a_changed_cell_changes_the_token_of_its_square_alone():
    torch.manual_seed(0)
    tokens, obs = Tokens(MIXED, 2, 64), torch.randn(MIXED.obs_dim)
    grid = torch.zeros(2, 4, 8)
    grid[1, 3, 5] = 1.0  # in the second row of squares, the third of four
    other = obs.clone()
    other[MIXED.columns("top")] += grid.flatten()
    moved = (tokens(other) - tokens(obs)).abs().sum(-1) > 1e-6
    assert moved.nonzero().flatten().tolist() == [5 + 4 + 2]


def test_statistics_are_shared_by_the_cells_of_a_channel_and_by_tokens():
    torch.manual_seed(0)
    world = ShortcutWorld(replace(SMALL, pack=2), MIXED)
    wide = torch.tensor([5.0, 0.5])[:, None, None] * torch.randn(500, 2, 4, 8)
    obs = torch.cat([2 + 3 * torch.randn(500, 3), torch.randn(500, 20), wide.flatten(1)], 1)
    world.fit_statistics(control_steps(obs, obs, obs[:, 0]))
    mean, scale = (MIXED.split(x) for x in (world.mean, world.scale))
    assert torch.allclose(mean["joints"], torch.tensor(2.0), atol=0.5)
    assert torch.allclose(scale["joints"], torch.tensor(3.0), atol=0.5)
    assert torch.allclose(scale["top"][0], torch.tensor(5.0), atol=0.2)
    assert torch.equal(scale["top"][1], scale["top"][1, :1, :1].expand(4, 8))
    assert torch.equal(scale["words"][0], scale["words"][3])


def test_levels_stand_on_the_grid_of_their_stride():
    torch.manual_seed(0)
    world = ShortcutWorld(replace(SMALL, finest=16), SPEC)
    levels = world._levels(4000, 2, 1000, torch.device("cpu"))
    assert set(levels.stride[:1000].flatten().tolist()) == {2, 4, 8, 16}
    assert set(levels.stride[1000:].flatten().tolist()) == {1}
    assert (levels.signal % levels.stride == 0).all() and (levels.signal + levels.stride <= 16).all()
    assert set(levels.signal[1000:].flatten().tolist()) == set(range(16))


def test_longer_strides_learn_where_two_of_half_their_length_lead():
    """With a model that always expects the same, both halves head there, and their mean does."""
    world = ShortcutWorld(SMALL, SPEC)
    goal, asked = torch.tensor([1.0, -2.0]), []

    def clean(x, action, levels, times, cache):
        asked.append(levels)
        return goal.expand_as(x), None

    world._clean = clean  # pyright: ignore[reportAttributeAccessIssue]
    x = torch.zeros(1, 2, 2)
    levels = Levels(torch.tensor([[0, 4]]), torch.tensor([[8, 4]]))
    far = world._two_halves(x, torch.zeros(1, 2, 2), levels)
    assert torch.allclose(far[0, 0], goal) and torch.allclose(far[0, 1], goal / 0.5)
    assert [one.stride.tolist() for one in asked] == [[[4, 2]], [[4, 2]]]
    assert [one.signal.tolist() for one in asked] == [[[0, 4]], [[4, 6]]]


def test_a_loss_is_of_flow_and_of_longer_strides_by_their_shares_and_levels():
    """A model that always expects zero is wrong by what was seen, at weight 0.9 tau + 0.1; and two of its strides lead
    where one does."""
    world, segment = ShortcutWorld(replace(SMALL, bootstrap=0.25), SPEC), moved(8, 6)
    strides = torch.ones(8, 6, dtype=torch.long)
    strides[:2] = 4
    signal = (torch.arange(6) % 2 * 4).expand(8, -1)
    world._levels = lambda *told: Levels(signal, strides)  # pyright: ignore[reportAttributeAccessIssue]
    world._read = lambda hidden: torch.zeros(*hidden.shape[:2], 2)  # pyright: ignore[reportAttributeAccessIssue]
    loss, metrics = world.loss(segment)
    weight = 0.9 * signal / 8 + 0.1
    expected = (weight[2:, :, None] * segment.obs[2:].pow(2)).mean()
    assert torch.allclose(metrics["flow"], expected)
    for leads in (0.0, 0.7):  # where half of a stride leads elsewhere, one is wrong by so much
        world._two_halves = lambda x, *told, leads=leads: (leads - x) / (1 - signal[:2, :, None] / 8)  # pyright: ignore
        loss, metrics = world.loss(segment)
        assert torch.allclose(metrics["bootstrap"], (weight[:2, :, None] * leads**2).mean(), atol=1e-6)
        heads = metrics["reward"] + metrics["cont"]
        assert torch.allclose(loss, 0.75 * metrics["flow"] + 0.25 * metrics["bootstrap"] + heads)


def test_the_rows_of_every_minibatch_are_divided_between_both_losses():
    torch.manual_seed(0)
    world, told = ShortcutWorld(replace(SMALL, bootstrap=0.01), SPEC), []
    levels = world._levels
    world._levels = lambda count, steps, some, device: (told.append(some), levels(count, steps, some, device))[1]  # pyright: ignore
    for count in (1, 2, 8):
        loss, metrics = world.loss(moved(count, 6))
        assert torch.isfinite(loss) and all(torch.isfinite(x) for x in metrics.values())
    assert told == [0, 1, 1]


@pytest.mark.parametrize(("noise", "signal"), [(0.0, 7), (0.1, 7), (0.25, 6), (0.9, 1)])
def test_what_was_seen_is_told_as_noisy_as_it_is(noise, signal):
    world, told = ShortcutWorld(replace(SMALL, context_noise=noise), SPEC), []
    hidden = world._hidden
    world._hidden = lambda x, a, levels, *more: (told.append((x, levels)), hidden(x, a, levels, *more))[1]  # pyright: ignore
    segment = moved(4, 3)
    world._told(segment.obs, segment.action, torch.ones(4, 3, 2), torch.arange(3).expand(4, -1), None)
    x, levels = told[0]
    assert (levels.signal == signal).all()
    assert torch.allclose(x, signal / 8 * segment.obs + (1 - signal / 8))


def test_what_never_varies_keeps_its_scale_and_one_pair_is_enough():
    world = ShortcutWorld(SMALL, SPEC)
    obs = torch.tensor([[0.5, 1.0], [0.5, 3.0]])
    world.fit_statistics(control_steps(obs, obs, obs[:, 0]))
    assert world.scale.tolist() == [1.0, 1.0] and world.mean.tolist() == [0.5, 2.0]
    world.fit_statistics(control_steps(obs[:1], obs[:1], obs[:1, 0]))
    assert torch.isfinite(world.scale).all()


def test_what_codecs_bound_stays_within_and_vectors_are_free():
    world = ShortcutWorld(replace(SMALL, pack=2), MIXED)
    parts = MIXED.split(world.spec.bounded(torch.full((2, MIXED.obs_dim), 3.0)))
    assert (parts["joints"] == 3).all() and (parts["words"] == 1).all() and (parts["top"] == 1).all()


def test_a_sample_ends_at_what_the_last_evaluation_expects():
    torch.manual_seed(0)
    world = ShortcutWorld(SMALL, SPEC).requires_grad_(False)
    world.scale.fill_(2.0), world.mean.fill_(1.0)
    segment = moved(3, 3)
    begun, hidden, last = world.begin(segment, 0), world._hidden, []

    def kept(x, action, levels, times, cache):
        found = hidden(x, action, levels, times, cache)
        last.append((levels.signal.flatten().tolist(), levels.stride.flatten().tolist(), world._read(found[0])))
        return found

    world._hidden = kept  # pyright: ignore[reportAttributeAccessIssue]
    after, seen = world.step(begun, torch.zeros(3, 2))
    assert [one[0][0] for one in last] == [0, 2, 4, 6, 7] and [one[1][0] for one in last] == [2, 2, 2, 2, 1]
    assert torch.allclose(seen.obs, last[3][2][:, 0] * 2 + 1, atol=1e-5)
    assert after.now.tolist() == [4] * 3 and after.cache.times.tolist() == [[1, 2, 3]] * 3


def test_squares_that_do_not_divide_a_grid_are_refused():
    with pytest.raises(UserError, match="pack is 8, which does not divide the 4 by 8 cells of top"):
        ShortcutWorld(replace(SMALL, pack=8), MIXED)


def moved(count: int, length: int) -> Segment:
    """A place that an action moves by half of it; rewarded a little for being right."""
    action = torch.rand(count, length, 2) * 2 - 1
    obs = torch.rand(count, 1, 2) + 0.5 * action.cumsum(1)
    return Segment(obs, action, 0.1 * obs[..., 0], torch.ones(count, length))


def test_it_learns_what_actions_do():
    torch.manual_seed(0)
    cfg = replace(SMALL, context=2, back=3, window=4, finest=4, sampling_steps=1, context_noise=0.0, bootstrap=0.0)
    world, seen = ShortcutWorld(cfg, SPEC), moved(512, 4)
    world.fit_statistics(control_steps(seen.obs[:, 2], seen.obs[:, 3], seen.reward[:, 3]))
    optimizer = torch.optim.Adam(world.parameters(), 5e-3)
    for _ in range(300):
        loss, _ = world.loss(moved(64, 4))
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(world.parameters(), 1.0)
        optimizer.step()
    world.requires_grad_(False)
    held, off = moved(256, 4), {}
    for name, action in (("true", held.action), ("shuffled", held.action.roll(1, 0))):
        context = world.begin(held[:, :2], 0)
        for t in (2, 3):
            context, answer = world.step(context, action[:, t])
        off[name] = (answer.obs - held.obs[:, -1]).norm(dim=-1).median()
    assert off["true"] < 0.6 * off["shuffled"]


def recalled(count: int) -> Segment:
    """A light that is seen at the first two moments of six, and is worth its colour from the third on."""
    colour = torch.randint(0, 2, (count, 1)) * 2.0 - 1
    light, reward = torch.zeros(count, 6, 2), torch.zeros(count, 6)
    light[:, :2, 0], light[..., 1] = colour, torch.arange(6) / 5
    reward[:, 2:] = colour
    return Segment(light, torch.zeros(count, 6, 2), reward, torch.ones(count, 6))


def test_rewards_follow_what_was_seen_before():
    torch.manual_seed(0)
    cfg = replace(SMALL, context=3, back=6, finest=4, sampling_steps=2, context_noise=0.0, bootstrap=0.0)
    world, seen = ShortcutWorld(cfg, SPEC), recalled(512)
    world.fit_statistics(control_steps(seen.obs[:, 0], seen.obs[:, 5], seen.reward[:, 5]))
    fit = Fit(FitConfig(updates=200, batch=64, lr=5e-3, average=0.9), world, lambda: world.loss(recalled(64)))
    for _ in range(200):
        fit.iterate()
    world, held = fit.model.requires_grad_(False), recalled(64)
    assert isinstance(world, ShortcutWorld)
    assert (world.outcomes(held)[0][:, 5] - held.reward[:, 5]).abs().mean() < 0.3
    context = world.begin(held[:, :3], 0)
    for t in range(3, 6):
        context, step = world.step(context, held.action[:, t])
    assert (step.reward - held.reward[:, 5]).abs().mean() < 0.3


def test_rewards_pull_a_tenth_at_what_is_remembered_and_whole_at_what_is_imagined():
    torch.manual_seed(0)
    world, seen = ShortcutWorld(SMALL, SPEC), moved(4, 6)
    for parameter in world.parameters():
        parameter.data += 0.05 * torch.randn_like(parameter)
    told, outcome = [], world._outcome
    world._outcome = lambda obs, hidden: (told.append(hidden), outcome(obs, hidden))[1]  # pyright: ignore
    hidden, whole = world._hidden, []
    world._hidden = lambda *given: (whole.append(hidden(*given)), whole[-1])[1]  # pyright: ignore
    world.loss(seen)
    reached = torch.autograd.grad(told[0].sum(), whole[0][0], retain_graph=True)[0]
    assert torch.allclose(reached, torch.full_like(reached, 0.1)) and torch.equal(told[0], whole[0][0])
    told.clear(), whole.clear()
    context = world.begin(seen, 0)
    whole.clear()
    world.step(context, seen.action[:, 0])
    reached = torch.autograd.grad(told[0].sum(), whole[-1][0])[0]
    assert torch.equal(reached, torch.ones_like(reached))
