"""What a run trains on, what it holds out, and that the two never meet."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from glocal.data.store import EpisodeStore, seal, write_episode
from glocal.pipeline.build import build_codec
from glocal.pipeline.presets import PRESETS
from glocal.pipeline.run_dir import Run, beginnings, carried, split_recorded
from glocal.runtime import checkpoints
from glocal.runtime.files import UserError
from tests.test_monitor import a_run

DEBUG = PRESETS["pusht-keypoints-debug"]


@pytest.mark.parametrize(
    "count, held_out, judge, parts",
    [
        (10, 0.1, 0.0, (range(9), range(9, 9), range(9, 10))),
        (20, 0.25, 0.0, (range(15), range(15, 15), range(15, 20))),
        (20, 0.25, 0.3, (range(9), range(9, 15), range(15, 20))),
        (2, 0.4, 0.0, (range(1), range(1, 1), range(1, 2))),
    ],
)
def test_the_last_episodes_are_held_out_and_the_judges_lie_before_them(count, held_out, judge, parts):
    assert split_recorded(replace(DEBUG, held_out=held_out, judge=judge), count) == parts


@pytest.mark.parametrize("count", [3, 5, 17, 100])
@pytest.mark.parametrize("judge", [0.0, 0.4])
def test_every_episode_belongs_to_one_part_alone(count, judge):
    parts = split_recorded(replace(DEBUG, held_out=0.3, judge=judge), count)
    assert [number for part in parts for number in part] == list(range(count))


@pytest.mark.parametrize("count, held_out, judge", [(4, 0.1, 0.0), (1, 0.5, 0.0), (10, 0.1, 0.9), (10, 0.1, 0.01)])
def test_too_few_episodes_to_share_are_refused(count, held_out, judge):
    with pytest.raises(UserError, match=f"{count} recorded episodes are too few"):
        split_recorded(replace(DEBUG, held_out=held_out, judge=judge), count)


def agents(recorded) -> set[int]:
    """The episodes that experience is of, by where their agents stand."""
    return {round(float((x + 1) * 256)) for x in recorded.steps.obs[:, -1]}


def test_models_are_trained_on_the_first_episodes_and_measured_on_the_last(tmp_path):
    run = a_run(tmp_path, count=10, held_out=0.2, judge=0.3)
    train, held_out = run.experience
    assert agents(train) == {0, 1, 2, 3, 4} and agents(held_out) == {8, 9}
    assert agents(run.set_aside) == {5, 6, 7} and agents(run.everything) == set(range(10))


def test_what_is_drawn_to_train_on_is_never_held_out(tmp_path):
    train, held_out = a_run(tmp_path, count=10, held_out=0.2).experience
    drawn = [(train.draw(500, 3).reward * 100).round(), (held_out.draw(500, 3).reward * 100).round()]
    assert set(drawn[0].flatten().tolist()) == set(range(8)) and set(drawn[1].flatten().tolist()) == {8, 9}


def test_rewards_and_actions_are_those_of_the_same_rows(tmp_path):
    train, _ = a_run(tmp_path, count=4, held_out=0.25).experience
    assert (train.steps.reward * 100).round().tolist() == [0.0] * 5 + [1.0] * 5 + [2.0] * 5
    assert train.first.tolist() == [0] * 5 + [5] * 5 + [10] * 5


@pytest.mark.parametrize("spoil", [lambda path: np.save(path, 0 * np.load(path)), lambda path: path.write_text("cut")])
def test_kept_observations_that_are_not_what_was_encoded_are_encoded_anew(tmp_path, spoil):
    config = PRESETS["pusht-images-debug"]
    for number in range(2):
        pictures = {"image": np.full((3, 64, 64, 3), 40 * number, np.uint8), "agent": np.ones((3, 2), np.float32)}
        write_episode(tmp_path / "data", number, pictures | {"action": np.zeros((3, 2), np.float32)})
    seal(tmp_path / "data", {})
    checkpoints.save(
        tmp_path / "codec", "codec", 1, Run(tmp_path, config).about(), build_codec(config).state_dict(), {}
    )
    encoded = Run(tmp_path, config).observations
    (kept,) = (tmp_path / "codec").glob("seen-*.npy")
    assert encoded.abs().sum() > 0 and torch.equal(Run(tmp_path, config).observations, encoded)
    spoil(kept)
    assert torch.equal(Run(tmp_path, config).observations, encoded)


def test_what_is_unseen_stays_as_it_was_last_in_its_episode():
    """Of two episodes, of 4 rows and of 3; what is unseen from the beginning is as it is."""
    obs, hidden = torch.arange(14.0).view(7, 2), torch.zeros(7, 2, dtype=torch.bool)
    hidden[[1, 2, 4, 6], 0] = hidden[[0, 1, 3], 1] = True
    found = carried(obs, hidden, torch.tensor([0, 4, 7]))
    assert found[:, 0].tolist() == [0, 0, 0, 6, 8, 10, 10]
    assert found[:, 1].tolist() == [1, 1, 5, 5, 9, 11, 13]


def test_what_follows_an_end_within_a_recording_begins_with_nothing_remembered():
    fields = {"cont": np.array([1, 0, 1, 1, 0, 1, 0], np.float32)}
    store = EpisodeStore(None, fields, np.array([0, 4, 7]), {}, "")  # pyright: ignore[reportArgumentType]
    assert beginnings(store).tolist() == [0, 2, 4, 5, 7]
    fields.clear()
    assert beginnings(store).tolist() == [0, 4, 7]


def test_a_point_that_is_hidden_in_recorded_pictures_stays(tmp_path):
    """A red square goes right, and is not there in the third picture."""
    config = PRESETS["pusht-points-debug"]
    pictures = np.zeros((4, 64, 64, 3), np.uint8)
    for i in (0, 1, 3):
        pictures[i, 30:36, 10 + 6 * i : 16 + 6 * i] = (255, 0, 0)
    write_episode(tmp_path / "data", 0, {"image": pictures, "action": np.zeros((4, 2), np.float32)})
    seal(tmp_path / "data", {})
    codec = build_codec(config)
    codec.grids["camera_image"].colours.data[:] = torch.tensor([1.0, 0.0, 0.0])
    checkpoints.save(tmp_path / "codec", "codec", 1, Run(tmp_path, config).about(), codec.state_dict(), {})
    seen = Run(tmp_path, config).observations.view(4, -1, 2)
    count = codec.grids["camera_image"].colours.shape[0]
    assert (seen[1:, :count, 0] - seen[:-1, :count, 0]).sign().tolist() == [[1.0] * count, [0.0] * count, [1.0] * count]
    assert not torch.equal(seen[2, count:], seen[1, count:])  # of these it is not known


def test_what_a_codec_makes_of_recorded_pictures_has_to_be_finite(tmp_path):
    config = PRESETS["pusht-points-debug"]
    pictures = {"image": np.full((5, 64, 64, 3), 40, np.uint8), "action": np.zeros((5, 2), np.float32)}
    write_episode(tmp_path / "data", 0, pictures)
    seal(tmp_path / "data", {})
    weights = {name: x * torch.nan for name, x in build_codec(config).state_dict().items()}
    checkpoints.save(tmp_path / "codec", "codec", 1, Run(tmp_path, config).about(), weights, {})
    with pytest.raises(UserError, match="not finite of 5 of 5 recorded rows, the first of them row 0"):
        _ = Run(tmp_path, config).observations


@pytest.mark.parametrize("told", ["[[", 3, "[]", None])
def test_a_model_that_tells_garbage_of_what_it_saw_is_named(tmp_path, told):
    config = PRESETS["pusht-images-debug"]
    run = a_run(tmp_path)
    about = {"mapping": told} if told is not None else {"mapping": "null"}
    checkpoints.save(tmp_path / "codec", "codec", 1, about, build_codec(config).state_dict(), {})
    with pytest.raises(UserError, match=r"codec/00000001"):
        _ = replace(run, config=config).codec


def test_what_a_run_was_taught_is_the_deployed_kind(tmp_path):
    run = a_run(tmp_path)
    assert run.kept("policy") == tmp_path / "policy" and run.kept("cloning") == tmp_path / "cloning"
    best = replace(run, config=replace(run.config, watch=replace(run.config.watch, keep="best")))
    assert best.kept("policy") == tmp_path / "policy" / "best" and best.kept("cloning") == tmp_path / "cloning"
