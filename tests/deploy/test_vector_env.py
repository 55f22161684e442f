"""A global model as a `VectorEnv`: what Gymnasium promises of one, on a world that can be worked out by hand."""

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium.error import ClosedEnvironmentError, ResetNeeded
from gymnasium.vector import AutoresetMode
from gymnasium.wrappers.vector import RecordEpisodeStatistics, RescaleObservation

from glocal.core.types import Segment, Step
from glocal.data.segments import Recorded
from glocal.deploy.vector_env import ImaginedVectorEnv, Imagining
from tests.toys import EndingWorld, LinearSurrogate, LinearWorld, Place

EPISODES, ROWS = 3, 4


def recorded() -> Recorded:
    """Row i of episode e shows 0.1 i - e, so that every start can be told from what is seen first."""
    place = (0.1 * torch.arange(ROWS) - torch.arange(EPISODES)[:, None]).flatten()
    steps = Segment(place[:, None], torch.zeros(len(place), 1), torch.zeros(len(place)), torch.ones(len(place)))
    return Recorded.joined(steps, torch.arange(EPISODES).repeat_interleave(ROWS) * ROWS)


class NoisyWorld(LinearWorld):
    """The same, and each environment is jolted by what follows from the key."""

    def step(self, context: Place, action: torch.Tensor) -> tuple[Place, Step]:
        jolt = torch.randn(action.shape, generator=torch.Generator().manual_seed(context.key))
        return super().step(Place(context.x + 0.01 * jolt, context.key), action)


def made(world=None, num_envs: int = 5, horizon=3, **options) -> ImaginedVectorEnv:
    imagining = Imagining(world or LinearWorld(), recorded(), context=2, surrogate=LinearSurrogate())
    return ImaginedVectorEnv(imagining, num_envs, horizon, **options)


def still(envs: ImaginedVectorEnv) -> np.ndarray:
    return np.zeros(envs.action_space.shape, np.float32)


def test_spaces_are_those_of_what_comes_and_goes():
    envs = made()
    obs, info = envs.reset(seed=0)
    assert obs in envs.observation_space and obs.dtype == np.float32 and info == {}
    assert envs.single_observation_space.shape == (1,) and envs.single_action_space == gymnasium.spaces.Box(-1, 1, (1,))
    obs, reward, terminated, truncated, info = envs.step(envs.action_space.sample())
    assert obs in envs.observation_space and reward.shape == (5,) and reward.dtype == np.float32
    assert terminated.dtype == truncated.dtype == np.bool_ and terminated.shape == truncated.shape == (5,)


def test_a_step_is_the_worlds_and_actions_are_clipped():
    envs = made(num_envs=2, horizon=10)
    obs, _ = envs.reset(options={"starts": [0, 5]})
    assert obs[:, 0].tolist() == pytest.approx([0.0, -0.9])
    obs, reward, *_ = envs.step(np.float32([[0.4], [7.0]]))
    assert obs[:, 0].tolist() == pytest.approx([0.2, -0.4])
    assert reward.tolist() == pytest.approx([-0.64, -1.96])


def test_rewards_are_in_the_units_of_the_logs():
    imagining = Imagining(LinearWorld(), recorded(), 2, reward_scale=10.0)
    envs = ImaginedVectorEnv(imagining, 1)
    envs.reset(options={"starts": [0]})
    assert envs.step([[0.0]])[1].tolist() == pytest.approx([-10.0])


@pytest.mark.parametrize("observe", ["row", "belief"])
def test_a_seed_decides_all_that_is_random(observe):
    def played(seed: int) -> list[np.ndarray]:
        envs = made(NoisyWorld(), observe=observe)
        seen = [envs.reset(seed=seed)[0]]
        for _ in range(8):
            seen.append(envs.step(still(envs))[0])
        return seen

    one, same, other = played(1), played(1), played(2)
    assert all(np.array_equal(a, b) for a, b in zip(one, same, strict=True))
    assert not np.array_equal(one[0], other[0])
    assert not np.array_equal(one[2] - one[1], one[3] - one[2]), "noise is drawn anew at every step"


def test_the_next_episodes_are_others():
    envs = made(num_envs=50, horizon=1)
    first = envs.reset(seed=0)[0]
    second = envs.reset()[0]
    assert not np.array_equal(first, second)


def test_next_step_autoreset():
    """As `SyncVectorEnv` does it: the step after an episode's last one begins anew, earns nothing and ends nothing."""
    envs = made(num_envs=2, horizon=np.array([2, 4]))
    assert envs.metadata["autoreset_mode"] == AutoresetMode.NEXT_STEP
    envs.reset(seed=0, options={"starts": [0, 0]})
    push = np.ones((2, 1), np.float32)
    envs.step(push)
    obs, reward, _, truncated, _ = envs.step(push)
    assert truncated.tolist() == [True, False] and obs[:, 0].tolist() == pytest.approx([1.0, 1.0])
    obs, reward, terminated, truncated, _ = envs.step(push)
    assert obs[0, 0] in recorded().steps.obs[:, 0].numpy() and obs[1, 0] == pytest.approx(1.5)
    assert reward[0] == 0 and reward[1] != 0 and not truncated.any() and not terminated.any()
    *_, truncated, _ = envs.step(push)
    assert truncated.tolist() == [False, True]
    *_, truncated, _ = envs.step(push)
    assert truncated.tolist() == [True, False], "the new episode is as long as the first"


def test_same_step_autoreset_hands_over_the_last_observation():
    envs = made(num_envs=2, horizon=np.array([1, 4]), autoreset_mode=AutoresetMode.SAME_STEP)
    envs.reset(seed=0, options={"starts": [0, 0]})
    obs, reward, _, truncated, info = envs.step(np.ones((2, 1), np.float32))
    assert truncated.tolist() == [True, False] == info["_final_obs"].tolist()
    assert info["final_obs"][0, 0] == pytest.approx(0.5) and obs[0, 0] in recorded().steps.obs[:, 0].numpy()
    assert obs[1, 0] == pytest.approx(0.5) and reward[0] == pytest.approx(-0.25)


def test_without_autoreset_those_that_are_over_have_to_be_reset():
    envs = made(num_envs=3, horizon=np.array([1, 1, 5]), autoreset_mode=AutoresetMode.DISABLED)
    envs.reset(seed=0, options={"starts": [0, 0, 0]})
    push = np.ones((3, 1), np.float32)
    envs.step(push)
    with pytest.raises(ResetNeeded, match="2 environments are over"):
        envs.step(push)
    mask = np.array([True, True, False])
    obs, _ = envs.reset(options={"reset_mask": mask, "starts": [4, 4, 4]})
    assert obs[:, 0].tolist() == pytest.approx([-1.0, -1.0, 0.5])
    assert envs.step(push)[3].tolist() == [True, True, False]


def test_what_the_world_ends_is_terminated_and_not_truncated():
    envs = made(EndingWorld(), num_envs=1, horizon=3)
    envs.reset(options={"starts": [0]})
    push = np.ones((1, 1), np.float32)
    ends = [envs.step(push)[2:4] for _ in range(3)]
    assert [(bool(a[0]), bool(b[0])) for a, b in ends] == [(False, False), (False, False), (True, False)]


@pytest.mark.parametrize("starts, expected", [("beginnings", {0.0, -1.0, -2.0}), ("anywhere", None)])
def test_where_environments_begin(starts, expected):
    seen = set(made(num_envs=200, starts=starts).reset(seed=3)[0][:, 0].tolist())
    assert seen == expected if expected else len(seen) == EPISODES * ROWS


def test_beliefs_are_the_local_models_after_what_was_seen():
    envs = made(num_envs=2, horizon=10, observe="belief")
    envs.reset(options={"starts": [0, 5]})
    obs = envs.step(np.float32([[0.4], [0.0]]))[0]
    assert obs[:, 0].tolist() == pytest.approx([0.2, -0.9])


def test_tensors_go_in_and_come_out():
    envs = made(num_envs=2, tensors=True)
    obs, _ = envs.reset(seed=0)
    out = envs.step(torch.zeros(2, 1))
    assert all(isinstance(x, torch.Tensor) for x in (obs, *out[:4])) and not out[0].requires_grad


def test_gymnasiums_wrappers_go_around_it():
    envs = RecordEpisodeStatistics(RescaleObservation(_bounded(made(num_envs=2, horizon=2)), -1, 1))
    envs.reset(seed=0)
    for _ in range(2):
        *_, info = envs.step(still(envs))
    assert info["episode"]["l"].tolist() == [2, 2]


def _bounded(envs: ImaginedVectorEnv) -> ImaginedVectorEnv:
    envs.single_observation_space = gymnasium.spaces.Box(-3, 3, (1,), np.float32)
    envs.observation_space = gymnasium.vector.utils.batch_space(envs.single_observation_space, envs.num_envs)
    return envs


class BrokenWorld(LinearWorld):
    def step(self, context: Place, action: torch.Tensor) -> tuple[Place, Step]:
        place, step = super().step(context, action)
        step.reward[1] = torch.nan
        return place, step


@pytest.mark.parametrize(
    "actions, words",
    [(np.zeros((4, 1)), r"shape \(4, 1\), expected \(5, 1\)"), (np.full((5, 1), np.nan), "not finite")],
)
def test_actions_that_are_none_are_refused_and_nothing_has_happened(actions, words):
    envs, twin = made(NoisyWorld()), made(NoisyWorld())
    envs.reset(seed=0)
    twin.reset(seed=0)
    with pytest.raises(ValueError, match=words):
        envs.step(actions)
    assert np.array_equal(envs.step(still(envs))[0], twin.step(still(twin))[0])


def test_a_world_that_says_nonsense_is_named():
    envs = made(BrokenWorld())
    envs.reset(seed=0)
    with pytest.raises(FloatingPointError, match="reward is not finite in 1 of 5 environments, the first of them 1"):
        envs.step(still(envs))


@pytest.mark.parametrize(
    "options, words",
    [
        ({"starts": [0, 1]}, "5 rows of the recording"),
        ({"starts": [0, 0, 0, 0, 99]}, "from 0 to 11"),
        ({"start": 1}, "knows the options starts and reset_mask; found start"),
        ({"reset_mask": np.ones(5)}, "expected bool"),
    ],
)
def test_options_that_are_none_are_refused(options, words):
    envs = made()
    envs.reset(seed=0)
    with pytest.raises(ValueError, match=words):
        envs.reset(options=options)


@pytest.mark.parametrize(
    "options, words",
    [
        ({"num_envs": 0}, "num_envs is 0"),
        ({"horizon": 0}, "whole numbers of at least 1"),
        ({"horizon": 2.5}, "whole numbers"),
        ({"observe": "pixels"}, "expected row or belief"),
        ({"render_mode": "rgb_array"}, "render_mode has to be None"),
        ({"render_mode": "human"}, "expected None or rgb_array"),
    ],
)
def test_environments_that_cannot_be_are_refused(options, words):
    with pytest.raises(ValueError, match=words):
        made(**options)


def test_in_order():
    envs = made()
    with pytest.raises(ResetNeeded):
        envs.step(still(envs))
    envs.close()
    with pytest.raises(ClosedEnvironmentError):
        envs.reset()
