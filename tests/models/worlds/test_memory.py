"""The world that remembers: what it says depends on what has left its sight, however it came to see it."""

from dataclasses import replace

import pytest
import torch

from glocal.core.features import StandardConfig
from glocal.core.spec import Part, Spec
from glocal.core.types import Pairs, Segment
from glocal.models.worlds.memory import MemoryConfig, MemoryWorld
from glocal.runtime.trainer import Fit, FitConfig

SPEC = Spec((Part("light", (1,)), Part("clock", (1,))), 1)
TINY = MemoryConfig(context=3, window=10, size=0, sampling_steps=8)


def recorded(count: int, length: int) -> Segment:
    """A light that is seen at the first two moments alone; it is worth its colour from the sixth on, and at the eighth
    it is seen again. Nothing else tells it."""
    colour = torch.randint(0, 2, (count, 1)) * 2.0 - 1
    light, clock = torch.zeros(count, length, 1), torch.arange(length).expand(count, length)[..., None] / 5 - 1
    light[:, :2, 0] = colour
    if length > 8:
        light[:, 8:, 0] = colour
    reward = torch.zeros(count, length)
    reward[:, 6:] = colour
    return Segment(torch.cat([light, clock], -1), torch.zeros(count, length, 1), reward, torch.ones(count, length))


def fitted(world: MemoryWorld) -> MemoryWorld:
    seen = recorded(64, 10)
    flat = [x.flatten(0, 1) for x in (seen.obs[:, :-1], seen.action[:, 1:], seen.obs[:, 1:], seen.reward[:, 1:])]
    world.fit_statistics(Pairs(*flat))
    return world


@pytest.fixture(scope="module")
def trained() -> MemoryWorld:
    torch.manual_seed(0)
    world = fitted(MemoryWorld(replace(TINY, context_noise=0.0), SPEC, StandardConfig()))
    fit = Fit(FitConfig(updates=500, batch=64, lr=1e-2, average=0.9), world, lambda: world.loss(recorded(64, 10)))
    for _ in range(500):
        fit.iterate()
    return fit.model  # pyright: ignore[reportReturnType]


@torch.no_grad()
def test_rewards_and_pictures_follow_what_was_seen_long_before(trained):
    happened = recorded(64, 10)
    context = trained.begin(happened[:, :3], 0)
    for t in range(3, 10):
        context, step = trained.step(context, happened.action[:, t])
        if t in (3, 4):
            assert step.obs[:, 0].abs().max() < 0.3  # out of sight
        if t >= 6:
            assert (step.reward - happened.reward[:, t]).abs().mean() < 0.15
    assert (step.obs[:, 0] - happened.obs[:, 9, 0]).abs().mean() < 0.2


@torch.no_grad()
def test_recorded_outcomes_are_told_with_the_memory_of_their_own_past(trained):
    happened = recorded(64, 10)
    reward, cont = trained.outcomes(happened)
    assert (reward[:, 6:] - happened.reward[:, 6:]).abs().mean() < 0.1
    assert reward.shape == cont.shape == (64, 10)
    later = trained.outcomes(happened[:, 3:])[0]  # the light was never seen
    assert (later[:, 3:5] - happened.reward[:, 6:8]).abs().mean() > 0.5


def test_steps_are_what_the_loss_was_told():
    """Beginning from a window and stepping on, or beginning from the longer window: the same memory."""
    torch.manual_seed(0)
    world, seen = fitted(MemoryWorld(replace(TINY, context=7), SPEC, StandardConfig())), recorded(4, 8)
    seen = replace(seen, obs=seen.obs + 0.1 * torch.randn_like(seen.obs), action=torch.randn(4, 8, 1))
    whole = world.begin(seen[:, 1:], 0)
    context = world.begin(seen[:, :7], 0)
    after, step = world.step(context, seen.action[:, 7])
    told = world._told(seen.obs, seen.action, torch.zeros(4, 1, 1))
    assert torch.allclose(world._remembered(told)[:, -1], after.memory, atol=1e-6)
    assert torch.equal(after.obs[:, 0], seen.obs[:, 6]) and torch.equal(after.obs[:, 1], step.obs)
    assert torch.equal(after.action, seen.action[:, 7]) and after.key == context.key + 1
    assert torch.equal(whole.obs, seen.obs[:, 6:]) and torch.equal(whole.action, seen.action[:, 7])


def test_rows_after_an_episodes_end_do_not_count():
    torch.manual_seed(0)
    world, seen = fitted(MemoryWorld(replace(TINY, context_noise=0.0), SPEC, StandardConfig())), recorded(4, 10)
    cont = torch.ones(4, 10)
    cont[:, 6] = 0
    ended = replace(seen, cont=cont)
    other = replace(ended, obs=ended.obs.clone(), reward=ended.reward.clone())
    other.obs[:, 7:] += 3.0
    other.reward[:, 7:] += 3.0
    losses = []
    for one in (ended, other):
        torch.manual_seed(1)
        losses.append(world.loss(one)[0])
    assert torch.equal(*losses)
    other.reward[:, 6] += 3.0
    torch.manual_seed(1)
    assert not torch.equal(world.loss(other)[0], losses[0])


def test_it_asks_for_as_many_observations_as_it_begins_with():
    world = MemoryWorld(TINY, SPEC, StandardConfig())
    with pytest.raises(ValueError, match="the world needs 3 observations to begin, found 2"):
        world.begin(recorded(2, 2), 0)


@torch.no_grad()
def test_what_it_looks_at_is_the_memory_too():
    torch.manual_seed(0)
    world = fitted(MemoryWorld(TINY, SPEC, StandardConfig()))
    for parameter in world.parameters():
        parameter.add_(0.1 * torch.randn_like(parameter))
    context, action = world.begin(recorded(8, 5), 0), torch.zeros(8, 1)
    other = replace(context, memory=context.memory + 1.0)
    (_, one), (_, two) = world.step(context, action), world.step(other, action)
    assert not torch.allclose(one.obs, two.obs) and not torch.allclose(one.reward, two.reward)


def test_rows_in_which_the_agent_rests_are_seen_and_not_counted():
    torch.manual_seed(0)
    world, seen = fitted(MemoryWorld(replace(TINY, context_noise=0.0), SPEC, StandardConfig())), recorded(4, 10)
    begun = replace(seen, action=torch.ones_like(seen.action), obs=seen.obs.clone(), reward=seen.reward.clone())
    begun.obs[:, :6], begun.action[:, 1:6] = begun.obs[:, 6:7], 0.0
    losses = []
    for extra in (0.0, 5.0):
        one = replace(begun, reward=begun.reward.clone())
        one.reward[:, 2:6] += extra
        torch.manual_seed(1)
        losses.append(world.loss(one)[0])
    assert torch.equal(*losses)
    idle = replace(begun, action=begun.action.clone(), reward=begun.reward.clone())
    idle.action[:, 2], idle.reward[:, 5] = 0.1, idle.reward[:, 5] + 5.0  # it rests after the episode has begun
    torch.manual_seed(1)
    assert not torch.equal(world.loss(idle)[1]["reward"], world.loss(replace(idle, reward=begun.reward))[1]["reward"])
    begun.action[:, 4] = 0.1
    begun.reward[:, 4] += 5.0
    torch.manual_seed(1)
    assert not torch.equal(world.loss(begun)[0], losses[0])


def test_the_noise_on_what_is_seen_is_told_and_what_follows_is_clean():
    torch.manual_seed(0)
    world, seen = fitted(MemoryWorld(replace(TINY, context_noise=0.5), SPEC, StandardConfig())), recorded(4, 10)
    told, kept = [], []
    features, errors = world._features, world.errors
    world._features = lambda obs, action, noise: (told.append((obs, noise)), features(obs, action, noise))[1]  # pyright: ignore
    world.errors = lambda change, *more: (kept.append(change), errors(change, *more))[1]  # pyright: ignore
    world.loss(seen)
    (obs, noise), (change,) = told[0], kept
    noise, blurred = noise.view(4, 8), obs.view(4, 8, 2, 2)
    assert (noise == noise[:, :1]).all() and 0 < (noise[:, 0] > 0).sum() < 4
    off = (blurred[:, :, 1] - seen.obs[:, 1:9]).abs().amax((1, 2))
    assert ((off > 0) == (noise[:, 0] > 0)).all()
    clean = world.delta(blurred[:, :, 1].flatten(0, 1), seen.obs[:, 2:].flatten(0, 1))
    assert torch.allclose(change, clean)
    plain = world._features(obs, torch.zeros(32, 2, 1), torch.zeros(32, 1))
    assert (
        torch.allclose(plain[:, -1], torch.zeros(32))
        and world._features(obs, torch.zeros(32, 2, 1), torch.ones(32, 1))[0, -1] == 100
    )


def test_ends_are_learned_from():
    torch.manual_seed(0)
    world, seen = fitted(MemoryWorld(replace(TINY, context_noise=0.0), SPEC, StandardConfig())), recorded(4, 10)
    seen = replace(seen, action=torch.ones_like(seen.action))
    loss, found = world.loss(seen)
    assert torch.allclose(loss, found["diffusion"] + found["reward"] + found["cont"]) and found["cont"] > 0
    assert world.acted == 8 and world.length == 10


def test_codes_stay_within_what_codecs_make():
    spec = Spec((Part("joints", (1,)), Part("top", (1, 2))), 1)
    torch.manual_seed(0)
    world = MemoryWorld(replace(TINY, context=2), spec, StandardConfig())
    world.advance = lambda before, delta: torch.full_like(before, 3.0)  # pyright: ignore[reportAttributeAccessIssue]
    obs = torch.zeros(2, 2, 3)
    begun = world.begin(Segment(obs, torch.zeros(2, 2, 1), torch.zeros(2, 2), torch.ones(2, 2)), 0)
    assert world.step(begun, torch.zeros(2, 1))[1].obs[0].tolist() == [3.0, 1.0, 1.0]


def test_its_answers_have_gradients_whether_it_is_being_trained_or_not():
    torch.manual_seed(0)
    world = fitted(MemoryWorld(TINY, SPEC, StandardConfig())).eval().requires_grad_(False)
    for parameter in world.parameters():
        parameter.add_(0.1 * torch.randn_like(parameter))
    action = torch.zeros(2, 1, requires_grad=True)
    _, step = world.step(world.begin(recorded(2, 5), 0), action)
    assert torch.autograd.grad(step.reward.sum(), action)[0].abs().min() > 0
