"""Checkpoints come back as they were, or say what is the matter."""

import errno
import json
import shutil

import pytest
import torch
from torch import nn

from glocal.runtime import checkpoints
from glocal.runtime.files import UserError, sha256


def saved(folder, iteration=3):
    model = nn.Linear(2, 2)
    optimizer = torch.optim.AdamW(model.parameters())
    model(torch.ones(1, 2)).sum().backward()
    optimizer.step()
    state = {"optimizer": optimizer.state_dict(), "nothing": None, "list": [1, 2.5, "x", torch.arange(3)]}
    checkpoints.save(folder, "toy", iteration, {"note": "hello"}, model.state_dict(), state)
    return model, state


def test_a_checkpoint_comes_back_as_it_was(tmp_path):
    model, state = saved(tmp_path)
    found = checkpoints.load(tmp_path, "toy", training=True)
    assert found.iteration == 3 and found.about == {"note": "hello"}
    other = nn.Linear(2, 2)
    checkpoints.restore(other, found)
    assert torch.equal(other.weight, model.weight)
    optimizer = torch.optim.AdamW(other.parameters())
    optimizer.load_state_dict(found.training["optimizer"])
    kept = state["optimizer"]["state"][0]["exp_avg"]
    assert torch.equal(optimizer.state_dict()["state"][0]["exp_avg"], kept)
    assert found.training["list"][:3] == [1, 2.5, "x"] and found.training["nothing"] is None


def test_a_checkpoint_whose_link_was_copied_as_a_folder_is_gone_on_from(tmp_path):
    saved(tmp_path / "first")
    shutil.copytree(tmp_path / "first", tmp_path / "copy")
    assert not (tmp_path / "copy" / "last").is_symlink()
    assert checkpoints.load(tmp_path / "copy", "toy").iteration == 3
    saved(tmp_path / "copy", iteration=5)
    found = checkpoints.load(tmp_path / "copy", "toy")
    assert found.iteration == 5 and (tmp_path / "copy" / "last").is_symlink()


def test_there_may_be_none_yet(tmp_path):
    assert checkpoints.load(tmp_path, "toy") is None


def test_the_last_one_replaces_the_one_before(tmp_path):
    saved(tmp_path, 3)
    saved(tmp_path, 9)
    assert checkpoints.load(tmp_path, "toy").iteration == 9
    assert [path.name for path in tmp_path.iterdir() if path.is_dir() and not path.is_symlink()] == ["00000009"]


@pytest.mark.parametrize(
    "name", ["model.safetensors", "training_state/tensors.safetensors", "training_state/tree.json"]
)
def test_a_truncated_file_is_found_and_named(tmp_path, name):
    saved(tmp_path)
    path = tmp_path / "last" / name
    path.write_bytes(path.read_bytes()[:-5])
    with pytest.raises(UserError, match="is damaged or incomplete"):
        checkpoints.load(tmp_path, "toy", training=True)


def test_a_foreign_checkpoint_is_refused(tmp_path):
    saved(tmp_path)
    with pytest.raises(UserError, match="is no 'other' checkpoint"):
        checkpoints.load(tmp_path, "other")
    (tmp_path / "last" / "config.json").write_text(json.dumps([1, 2]))
    with pytest.raises(UserError, match="no header"):
        checkpoints.load(tmp_path, "toy")


def changed(folder, changes, tree=None):
    """Change what a checkpoint says of itself, its hashes being right all the same."""
    path = folder / "last" / "config.json"
    header = json.loads(path.read_text())
    if tree is not None:
        (folder / "last" / TREE).write_text(tree)
        header["files"][TREE] = sha256(folder / "last" / TREE)
    told = {name: value for name, value in {**header, **changes}.items() if value != "left out"}
    path.write_text(json.dumps(told).replace("Infinity", "1e400"))


TREE = "training_state/tree.json"


@pytest.mark.parametrize(
    "changes",
    [
        *({"iteration": value} for value in (None, float("inf"), 10**30, -1, 3.5, "3", "left out")),
        *({"files": value} for value in (-1, [], {}, {"model.safetensors": "abc"}, "left out")),
        *({"about": value} for value in (None, [], "left out")),
    ],
)
def test_a_header_of_other_types_is_refused(tmp_path, changes):
    saved(tmp_path)
    changed(tmp_path, changes)
    with pytest.raises(UserError, match=r"config\.json is damaged: expected an iteration"):
        checkpoints.load(tmp_path, "toy")


@pytest.mark.parametrize("name", ["../../secret", "/etc", "training_state"])
def test_a_header_that_names_other_files_is_refused(tmp_path, name):
    saved(tmp_path)
    header = json.loads((tmp_path / "last" / "config.json").read_text())
    changed(tmp_path, {"files": header["files"] | {name: 3}})
    with pytest.raises(UserError, match="is damaged or incomplete"):
        checkpoints.load(tmp_path, "toy")


@pytest.mark.parametrize(
    "tree", ["{", '{"tensor": "none"}', '{"tensor": []}', '{"items": 3}', '{"items": [3]}', '{"list": 3}',
             '{"items": [[[], 3]]}', "[" * 100_000, '{"list": [' * 2000 + "1" + "]}" * 2000],
)  # fmt: skip
def test_a_training_state_of_other_types_is_refused(tmp_path, tree):
    saved(tmp_path)
    changed(tmp_path, {}, tree)
    with pytest.raises(UserError, match=r"tree\.json is (damaged|not readable)"):
        checkpoints.load(tmp_path, "toy", training=True)


def test_weights_that_do_not_fit_are_refused(tmp_path):
    saved(tmp_path)
    with pytest.raises(
        UserError, match=r"do not fit this configuration: 2 of 2 tensors differ.*weight has .*, expected"
    ):
        checkpoints.restore(nn.Linear(7, 5), checkpoints.load(tmp_path, "toy"))


def test_a_full_disk_keeps_the_checkpoint_before(tmp_path, monkeypatch):
    model, _ = saved(tmp_path, 3)

    def full(*_, **__):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(checkpoints, "save_file", full)
    with pytest.raises(UserError, match="no room to write"):
        saved(tmp_path, 9)
    found = checkpoints.load(tmp_path, "toy")
    assert found.iteration == 3 and torch.equal(found.model["weight"], model.weight)
    assert not [path for path in tmp_path.iterdir() if path.name.endswith(".part")]
