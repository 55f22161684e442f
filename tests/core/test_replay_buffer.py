"""The ring of imagined windows: the newest are kept, in place of the oldest."""

import pytest
import torch

from glocal.core.replay_buffer import ReplayBuffer
from glocal.core.types import Segment


def numbered(*values: float) -> Segment:
    """Windows of two rows that hold a number."""
    rows = torch.tensor(values, dtype=torch.float32)[:, None].expand(-1, 2)
    return Segment(rows[..., None].clone(), rows[..., None].clone(), rows.clone(), rows.clone())


def held(replay: ReplayBuffer) -> list[float]:
    assert replay.windows is not None
    return replay.windows.reward[:, 0].tolist()


def test_windows_take_the_places_of_the_oldest():
    replay = ReplayBuffer(5)
    replay.add(numbered(1, 2, 3))
    assert held(replay) == [1, 2, 3, 0, 0]
    replay.add(numbered(4, 5, 6))
    assert held(replay) == [6, 2, 3, 4, 5]
    replay.add(numbered(7))
    assert held(replay) == [6, 7, 3, 4, 5] and replay.written == 7


def test_only_what_was_written_is_drawn_and_all_of_it():
    torch.manual_seed(0)
    replay = ReplayBuffer(5)
    replay.add(numbered(1, 2, 3))
    drawn = replay.draw(200)
    assert drawn.obs.shape == (200, 2, 1) and set(drawn.reward.flatten().tolist()) == {1, 2, 3}
    replay.add(numbered(4, 5, 6))
    assert set(replay.draw(200).action.flatten().tolist()) == {2, 3, 4, 5, 6}


def test_an_empty_one_has_nothing_to_draw():
    with pytest.raises(AssertionError, match="nothing was added yet"):
        ReplayBuffer(5).draw(1)


def test_it_goes_on_from_what_a_checkpoint_kept():
    replay, other = ReplayBuffer(5), ReplayBuffer(5)
    replay.add(numbered(1, 2, 3))
    other.restore(replay.tree(), torch.device("cpu"))
    other.add(numbered(4, 5, 6))
    assert held(other) == [6, 2, 3, 4, 5]
    other.restore(ReplayBuffer(5).tree(), torch.device("cpu"))
    assert other.windows is None and other.written == 0
