"""Experience in memory: where episodes begin and end, and which windows are drawn."""

from dataclasses import dataclass, replace

import numpy as np
import pytest
import torch

from glocal.data.segments import Recorded
from glocal.data.store import EpisodeStore


@dataclass(frozen=True)
class Rows:
    """Two recorded episodes, of 5 and 3 rows; in the third row of the first one it ended."""

    cont: tuple[float, ...] = (1, 1, 0, 1, 1, 1, 1, 0)

    def recorded(self) -> Recorded:
        count = len(self.cont)
        fields = {
            "action": np.arange(1, count + 1, dtype=np.float32)[:, None],
            "reward": np.arange(count, dtype=np.float32),
            "cont": np.array(self.cont, np.float32),
        }
        store = EpisodeStore(None, fields, np.array([0, 5, 8]), {}, "")  # pyright: ignore[reportArgumentType]
        return Recorded.of(store, torch.arange(float(count))[:, None])


def test_what_follows_an_end_within_a_recording_is_an_episode_of_its_own():
    assert Rows().recorded().first.tolist() == [0, 0, 0, 3, 3, 5, 5, 5]


def test_windows_do_not_reach_back_over_an_end():
    window = Rows().recorded().windows(torch.tensor([4]), 3)
    assert window.obs.flatten().tolist() == [3, 3, 4]
    assert window.action.flatten().tolist() == [0, 4, 5]


@pytest.mark.parametrize("length", [1, 3])
def test_imagination_begins_only_where_an_episode_goes_on(length):
    torch.manual_seed(0)
    begun = Rows().recorded().starts(400, length)
    assert set(begun.obs[:, -1, 0].tolist()) == {0, 1, 3, 4, 5, 6}


def test_spread_windows_end_only_where_an_episode_goes_on():
    assert Rows().recorded().spread(100, 2).obs[:, -1, 0].tolist() == [0, 1, 3, 4, 5, 6]


def test_drawn_windows_end_with_a_control_step_and_all_control_steps_are_drawn_alike():
    torch.manual_seed(0)
    last = Rows().recorded().draw(5000, 2).obs[:, -1, 0].long()
    counts = torch.bincount(last, minlength=8)
    assert counts[[0, 3, 5]].tolist() == [0, 0, 0]
    assert (counts[[1, 2, 4, 6, 7]] - 1000).abs().max() < 150


@pytest.mark.parametrize("share", [0.0, 0.5, 1.0])
def test_a_share_of_the_windows_drawn_is_as_if_recording_had_begun_with_them_and_of_chosen_ones_none(share):
    torch.manual_seed(0)
    recorded = replace(Rows().recorded(), begun=lambda obs: obs - obs[:, :1] - 100, fresh=share)
    for drawn in (recorded.draw(400, 2), recorded.starts(400, 2), recorded.best(1.0).draw(400, 2)):
        changed = (drawn.obs[..., 0] < 0).all(1)
        assert torch.equal(changed, (drawn.obs[..., 0] < 0).any(1))
        assert abs(changed.float().mean() - share) < 0.1
    assert (recorded.spread(8, 2).obs >= 0).all() and (recorded.beginnings(8, 2).obs >= 0).all()


def test_pairs_are_those_of_control_steps():
    recorded = Rows().recorded()
    pairs = recorded.pairs()
    assert pairs.before.flatten().tolist() == [0, 1, 3, 5, 6]
    assert pairs.after.flatten().tolist() == pairs.reward.tolist() == [1, 2, 4, 6, 7]
    assert torch.equal(pairs.action, recorded.steps.action[[1, 2, 4, 6, 7]])


def filmed(episodes: range) -> Recorded:
    """Pictures of 1 by 2 pixels of two cameras, of which every byte tells the row of the store."""
    rows = np.arange(8, dtype=np.uint8)[:, None, None, None]
    fields = {
        "top": np.broadcast_to(10 * rows, (8, 1, 2, 3)),
        "wrist": np.broadcast_to(10 * rows + 1, (8, 1, 2, 3)),
        "action": np.ones((8, 1), np.float32),
        "reward": np.arange(8, dtype=np.float32),
        "cont": np.ones(8, np.float32),
    }
    store = EpisodeStore(None, fields, np.array([0, 5, 8]), {}, "")  # pyright: ignore[reportArgumentType]
    recorded = Recorded.of(store, torch.arange(8.0)[:, None], episodes)
    return replace(recorded, film=(fields["top"], fields["wrist"]))


@pytest.mark.parametrize("last, rows", [(0, [5, 5, 5]), (2, [5, 6, 7])])
def test_windows_hold_the_pictures_of_their_rows_where_they_are_asked_for(last, rows):
    recorded = filmed(range(1, 2))
    assert replace(recorded, film=()).windows(torch.tensor([last]), 3).pictures is None
    pictures = recorded.windows(torch.tensor([last]), 3).pictures
    assert pictures is not None and pictures.shape == (1, 3, 12) and pictures.dtype == torch.uint8
    assert pictures[0].tolist() == [[10 * row] * 6 + [10 * row + 1] * 6 for row in rows]


def test_pictures_follow_the_episodes_that_are_kept():
    """The second one earned more; its first row is the sixth of the store."""
    best = filmed(range(2)).best(0.5)
    pictures = best.windows(torch.tensor([0, 2]), 1).pictures
    assert pictures is not None and pictures[:, 0, 0].tolist() == [50, 70]


def test_windows_and_control_steps_hold_what_is_known_of_their_rows_afterwards_where_that_is_asked_for():
    recorded = Rows().recorded()
    assert recorded.windows(torch.tensor([4]), 3).hindsight is None
    known = replace(recorded, hindsight=100 + recorded.steps.obs).to(torch.device("cpu"))
    told = known.windows(torch.tensor([4]), 3).hindsight
    assert told is not None and told.flatten().tolist() == [103, 103, 104]
    assert torch.equal(known.pairs().after, 100 + recorded.pairs().after)
    assert torch.equal(known.pairs().before, 100 + recorded.pairs().before)
    elsewhere = replace(recorded, hindsight=torch.zeros(8, 1)).to(torch.device("meta")).hindsight
    assert elsewhere is not None and elsewhere.device.type == "meta"
    kept = known.only(torch.tensor([2]))
    assert kept.hindsight is not None and torch.equal(kept.hindsight, 100 + kept.steps.obs) and len(kept) == 3
    begun = replace(known, begun=torch.zeros_like, fresh=1.0).draw(5, 2)
    assert begun.hindsight is not None and (begun.hindsight >= 100).all() and not begun.obs.any()


def test_windows_that_end_with_several_control_steps_do_not_reach_back_to_where_a_robot_rests():
    torch.manual_seed(0)
    recorded = Rows((1,) * 8).recorded()
    last = recorded.draw(300, 4, acted=3).obs[:, -1, 0]
    assert set(last.tolist()) == {3, 4, 7}  # of five rows; the episode of three has two control steps and is whole
    assert set(recorded.draw(300, 4, acted=9).obs[:, -1, 0].tolist()) == {4, 7}  # none is as long
