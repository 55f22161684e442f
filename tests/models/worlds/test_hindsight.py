"""A global model of what was so: its robot knows less, and what it does not know stands where it is."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from glocal.core.environments import Environments
from glocal.core.features import StandardConfig
from glocal.core.rollout import replay
from glocal.core.spec import Part, Spec
from glocal.core.types import Pairs, Segment
from glocal.models.surrogates.mlp import MLPSurrogate, MLPSurrogateConfig
from glocal.models.worlds.diffusion import Context
from glocal.models.worlds.hindsight import HindsightWorld, Known
from glocal.models.worlds.memory import MemoryConfig, MemoryWorld
from glocal.models.worlds.vectors import VectorWorld, VectorWorldConfig
from glocal.pipeline import build
from glocal.pipeline.stages import compile_answers

SPEC, PLAIN = Spec((Part("joints", (2,)), Part("cube", (2,))), 2), StandardConfig()


def blind(before: Tensor, so: Tensor) -> Tensor:
    """What a robot knows that never sees its cube."""
    return torch.cat([so[..., :2], before[..., 2:]], dim=-1)


def told_apart(obs: Tensor, starts: Tensor) -> Tensor:
    """Afterwards cubes were at the number of their episode."""
    lengths = starts.diff()
    number = torch.arange(len(lengths)).repeat_interleave(lengths)[:, None]
    return torch.cat([obs[:, :2], number.expand(-1, 2).to(obs)], dim=-1)


def made(memory: bool = False) -> HindsightWorld:
    torch.manual_seed(0)
    within = (
        MemoryWorld(MemoryConfig(context=3, window=6, size=0), SPEC, PLAIN)
        if memory
        else VectorWorld(VectorWorldConfig(size=0), SPEC, PLAIN)
    )
    world = HindsightWorld(within, blind, told_apart)
    world.fit_statistics(Pairs(torch.randn(50, 4), torch.randn(50, 2), torch.randn(50, 4), torch.randn(50)))
    for part in world.parameters():
        torch.nn.init.normal_(part, std=0.1)
    return world


def recorded(known: bool = True, count: int = 5, length: int = 6) -> Segment:
    torch.manual_seed(1)
    obs, zeros = torch.randn(count, length, 4), torch.zeros(count, length)
    return Segment(
        obs, torch.randn(count, length, 2), zeros, zeros + 1, None, torch.randn(count, length, 4) if known else None
    )


def so_of(context: Known) -> Tensor:
    """What was so, of the context of diffusion, (B, W, d)."""
    assert isinstance(context.within, Context)
    return context.within.obs


@pytest.mark.parametrize("memory", [False, True])
def test_answers_follow_from_what_was_so_and_show_what_the_robot_knows_of_it(memory):
    world, window, action = made(memory), recorded(), torch.randn(5, 2)
    context, seen = world.step(world.begin(window, 3), action)
    assert window.hindsight is not None
    so = replace(window, obs=window.hindsight, hindsight=None)
    _, expected = world.within.step(world.within.begin(so, 3), action)
    assert torch.equal(seen.obs[:, :2], expected.obs[:, :2]) and torch.equal(seen.obs[:, 2:], window.obs[:, -1, 2:])
    assert torch.equal(seen.reward, expected.reward) and torch.equal(seen.cont, expected.cont)
    assert torch.equal(context.obs, seen.obs)


def test_what_it_is_asked_its_model_is_asked(monkeypatch):
    world, asked = made(memory=True), []
    assert (world.length, world.acted) == (world.within.length, world.within.acted) and world.acted > 1
    monkeypatch.setattr(world.within, "fit_statistics", asked.append)
    pairs = Pairs(torch.randn(5, 4), torch.randn(5, 2), torch.randn(5, 4), torch.randn(5))
    world.fit_statistics(pairs)
    assert asked == [pairs]


def test_what_follows_follows_from_the_key():
    world, window, action = made(), recorded(), torch.randn(5, 2)
    first, again, other = (world.step(world.begin(window, key), action)[1].obs[:, :2] for key in (3, 3, 4))
    assert torch.equal(first, again) and not torch.equal(first, other)


def test_what_is_compiled_is_the_model_inside(monkeypatch):
    monkeypatch.setattr(build, "compiled", lambda function, device: "compiled")
    world = made(memory=True)
    compile_answers(world, torch.device("cpu"))
    assert world.within.drawn == "compiled"


def test_nothing_is_kept_twice_and_nothing_of_who_tells_what_is_known():
    kept = made().state_dict()
    assert len({x.data_ptr() for x in kept.values() if x.numel()}) == len([x for x in kept.values() if x.numel()])
    assert all(name.startswith("within.") for name in kept)


def test_what_the_robot_knows_changes_nothing_of_what_happens():
    world, window, action = made(), recorded(), torch.randn(3, 5, 2)
    rewards = []
    for obs in (window.obs, torch.zeros_like(window.obs)):
        rewards.append(replay(world, replace(window, obs=obs), action.transpose(0, 1), 3).reward)
    assert torch.equal(*rewards)


def test_losses_and_outcomes_are_of_what_was_so():
    world, window = made(), recorded(length=5)
    assert window.hindsight is not None
    so = replace(window, obs=window.hindsight, hindsight=None)
    for other in (window, replace(window, obs=torch.zeros_like(window.obs))):
        torch.manual_seed(4)
        loss, _ = world.loss(other)
        torch.manual_seed(4)
        assert loss == world.within.loss(so)[0]
        assert torch.equal(world.outcomes(other)[0], world.within.outcomes(so)[0])


def test_a_robot_that_does_not_know_it_yet_begins_with_what_its_own_window_tells():
    world, window = made(), recorded(known=False)
    context = world.begin(window, 0)
    assert so_of(context)[:, -1, 2].tolist() == [0, 1, 2, 3, 4]
    assert torch.equal(context.obs, window.obs[:, -1])


def test_imagined_environments_keep_what_the_robot_knows_alone():
    world = made()
    surrogate = MLPSurrogate(MLPSurrogateConfig(width=16, blocks=1), SPEC, PLAIN)
    begun = Environments(world, surrogate, lambda n, t: recorded(count=n, length=t), 5, 4, 8).begin(torch.zeros(5))
    assert begun.recent.hindsight is None and torch.equal(begun.recent.obs, recorded(length=4).obs)
    hindsight = recorded(length=4).hindsight
    assert isinstance(begun.context, Known) and hindsight is not None
    assert torch.equal(so_of(begun.context), hindsight)
