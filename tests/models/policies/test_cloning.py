"""Behaviour cloning with chunks, and of the best episodes."""

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from glocal.data.segments import Recorded
from glocal.data.store import EpisodeStore, seal, write_episode
from glocal.models.policies.cloning import Ensemble


def test_the_ensemble_is_the_weighted_mean_of_what_earlier_plans_had_in_mind():
    ensemble = Ensemble(forget=0.5)
    first, second = torch.tensor([[[1.0], [2.0], [3.0]]]), torch.tensor([[[10.0], [20.0], [30.0]]])
    assert ensemble(first).item() == 1.0
    fall = math.exp(-0.5)
    assert math.isclose(ensemble(second).item(), (2.0 + fall * 10.0) / (1 + fall), rel_tol=1e-6)


def test_plans_that_no_longer_reach_are_forgotten():
    ensemble = Ensemble(forget=0.0)
    for value in (1.0, 2.0, 3.0):
        action = ensemble(torch.full((1, 2, 1), value))
    assert action.item() == 2.5


def recorded(tmp_path: Path, *rewards: Sequence[float]) -> Recorded:
    """Episodes of made-up rewards; an episode's actions tell its number."""
    for number, labels in enumerate(rewards):
        rows = len(labels)
        fields = {"action": np.full((rows, 1), number), "reward": np.array(labels), "cont": np.ones(rows)}
        write_episode(tmp_path, number, {name: values.astype(np.float32) for name, values in fields.items()})
    seal(tmp_path, {})
    store = EpisodeStore.open(tmp_path)
    return Recorded.of(store, torch.arange(float(store.starts[-1]))[:, None])


def test_filtered_cloning_draws_from_the_best_episodes_alone(tmp_path):
    # What stands in an episode's first row was not earned by a control step; mean rewards are 1, 5, 3, 4.
    experience = recorded(tmp_path, (9.0, 1.0, 1.0), (0.0, 5.0), (0.0, 3.0, 3.0, 3.0), (0.0, 2.0, 6.0))
    best = experience.best(0.5)
    torch.manual_seed(0)
    drawn = best.draw(200, 2)
    assert set(drawn.action[:, -1, 0].tolist()) == {1.0, 3.0}
    assert best.episodes == 2 and best.first.tolist() == [0, 0, 2, 2, 2]
    assert best.steps.obs[:, 0].tolist() == [3.0, 4.0, 9.0, 10.0, 11.0]


def test_a_share_too_small_for_an_episode_leaves_the_best_one_and_a_whole_one_leaves_all(tmp_path):
    experience = recorded(tmp_path, (0.0, 1.0), (0.0, 2.0), (0.0, 2.0))
    assert experience.best(0.01).steps.action[:, 0].tolist() == [1.0, 1.0], "of equals the earlier"
    whole = experience.best(1.0)
    assert torch.equal(whole.steps.obs, experience.steps.obs) and torch.equal(whole.first, experience.first)


def test_some_episodes_keep_their_order_and_their_beginnings(tmp_path):
    some = recorded(tmp_path, (0.0, 1.0), (0.0, 2.0, 3.0), (0.0, 4.0)).only(torch.tensor([2, 0]))
    assert some.steps.reward.tolist() == [0.0, 1.0, 0.0, 4.0] and some.first.tolist() == [0, 0, 2, 2]
    assert some.windows(torch.tensor([2]), 3).obs[0, :, 0].tolist() == [5.0, 5.0, 5.0]
