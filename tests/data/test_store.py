"""The episode store is whole or not there, and says what is the matter with it."""

import errno
import json
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from glocal.data import store as store_module
from glocal.data.segments import Recorded
from glocal.data.store import EpisodeStore, recorded, recording_folder, seal, write_episode
from glocal.runtime.files import UserError


def episode(rows: int, value: float) -> dict[str, np.ndarray]:
    action = np.full((rows, 2), value, np.float32)
    action[0] = 0
    ones = np.ones(rows, np.float32)
    return {"keypoints": np.full((rows, 4), value, np.float32), "action": action, "reward": ones * value, "cont": ones}


@pytest.fixture
def store(tmp_path):
    for number, rows in enumerate((3, 5, 4)):
        write_episode(tmp_path / "data", number, episode(rows, float(number)))
    seal(tmp_path / "data", {"made": "by hand"})
    return EpisodeStore.open(tmp_path / "data")


def test_episodes_come_back_as_they_were_written(store):
    assert len(store) == 3 and store.about == {"made": "by hand"}
    for number, rows in enumerate((3, 5, 4)):
        for name, array in episode(rows, float(number)).items():
            assert np.array_equal(store.episode(number)[name], array)
    store.verify()


def test_the_hash_depends_on_the_content(tmp_path, store):
    write_episode(tmp_path / "other", 0, episode(3, 0.0))
    seal(tmp_path / "other", {})
    assert EpisodeStore.open(tmp_path / "other").hash != store.hash


def test_an_unsealed_recording_is_no_store_but_keeps_its_episodes(tmp_path):
    write_episode(tmp_path / "data", 7, episode(3, 1.0))
    assert recorded(tmp_path / "data") == {7}
    with pytest.raises(UserError, match="no recorded data"):
        EpisodeStore.open(tmp_path / "data")


def test_a_flipped_bit_is_found_and_the_episode_named(store):
    path = store.folder / "keypoints.npy"
    content = bytearray(path.read_bytes())
    content[-4 * 4 * 4 - 1] ^= 1  # the last byte of episode 1: four rows of four floats lie behind it
    path.write_bytes(content)
    with pytest.raises(UserError, match=r"episode 1 of .* is damaged"):
        EpisodeStore.open(store.folder).verify()


def test_a_truncated_field_is_found(store):
    path = store.folder / "reward.npy"
    path.write_bytes(path.read_bytes()[:-6])
    with pytest.raises(UserError, match=r"reward\.npy is missing or damaged"):
        EpisodeStore.open(store.folder)


def test_a_damaged_recorded_episode_is_named(tmp_path):
    write_episode(tmp_path / "data", 0, episode(3, 1.0))
    part = recording_folder(tmp_path / "data") / "000000.npz"
    part.write_bytes(part.read_bytes()[:50])
    with pytest.raises(UserError, match=r"000000\.npz is missing or damaged"):
        seal(tmp_path / "data", {})
    assert not (tmp_path / "data").exists()


@pytest.mark.parametrize("name", ["000001 (copy).npz", "1.npz", "0000001.npz", "000009.npz", "00000\u0663.npz"])
def test_a_foreign_file_in_a_recording_is_not_joined(tmp_path, name):
    for number in range(2):
        write_episode(tmp_path / "data", number, episode(3, float(number)))
    recording = recording_folder(tmp_path / "data")
    shutil.copy(recording / "000001.npz", recording / name)
    assert recorded(tmp_path / "data") - {9} == {0, 1}
    seal(tmp_path / "data", {}, range(2))
    assert len(EpisodeStore.open(tmp_path / "data")) == 2


def test_an_episode_that_is_wanted_and_not_there_is_named(tmp_path):
    write_episode(tmp_path / "data", 0, episode(3, 0.0))
    (recording_folder(tmp_path / "data") / "000001.npz").mkdir()
    assert recorded(tmp_path / "data") == {0}
    with pytest.raises(UserError, match=r"000001\.npz is missing or damaged"):
        seal(tmp_path / "data", {}, range(2))


def test_a_foreign_index_is_refused(store):
    (store.folder / "index.json").write_text(json.dumps({"format": 99}))
    with pytest.raises(UserError, match="not an episode store of format 1"):
        EpisodeStore.open(store.folder)


def test_a_field_that_the_index_does_not_name_is_named_by_whoever_needs_it(store):
    path = store.folder / "index.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"fields": ["keypoints", "reward", "cont"]}))
    with pytest.raises(UserError, match="holds no 'action', which is needed; found keypoints, reward, cont"):
        Recorded.of(EpisodeStore.open(store.folder), torch.arange(12.0)[:, None])


def test_a_full_disk_leaves_no_half_episode(tmp_path, monkeypatch):
    def full(*_, **__):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(np, "savez", full)
    with pytest.raises(UserError, match=r"no room to write .* run the same command again") as refused:
        write_episode(tmp_path / "data", 0, episode(3, 1.0))
    assert "checkpoint" not in str(refused.value)  # there is none
    assert recorded(tmp_path / "data") == set() and not any(recording_folder(tmp_path / "data").iterdir())


SEALED = """
import sys
from pathlib import Path
import numpy as np
from glocal.data.store import seal, write_episode
from glocal.runtime.files import UserError
folder = Path(sys.argv[1])
for number in range(8):
    write_episode(folder, number, {"action": np.zeros((1000, 2), np.float32), "image": np.zeros((1000, 99), np.uint8)})
try:
    seal(folder, {})
except UserError as error:
    print(error)
"""
SMALL_DISK = "mount -t tmpfs -o size=1300k none {0} && exec {1} -c {2} {0}/data"
OWN_MOUNTS = ["unshare", "--map-root-user", "--mount", "sh", "-c"]
CAN_MOUNT = shutil.which("unshare") is not None and not subprocess.run(
    [*OWN_MOUNTS, "mount -t tmpfs none /tmp"], capture_output=True, check=False
).returncode  # fmt: skip


@pytest.mark.skipif(not CAN_MOUNT, reason="a small disk cannot be made here")
def test_a_disk_that_fills_up_while_episodes_are_joined_is_a_sentence(tmp_path):
    command = SMALL_DISK.format(*map(shlex.quote, (str(tmp_path), sys.executable, SEALED)))
    done = subprocess.run([*OWN_MOUNTS, command], capture_output=True, text=True, check=False)
    assert done.returncode == 0 and "no room to write" in done.stdout, (done.returncode, done.stderr)


def test_a_field_grows_as_it_is_joined_and_takes_no_room_before(tmp_path, monkeypatch):
    for number in range(3):
        write_episode(tmp_path / "data", number, {"action": np.zeros((1000, 2))})
    sizes, read = [], store_module._read_part

    def watched(path: Path, field: str | None = None) -> dict[str, np.ndarray]:
        sizes.extend(file.stat().st_size for file in tmp_path.rglob("action.npy"))
        return read(path, field)

    monkeypatch.setattr(store_module, "_read_part", watched)
    seal(tmp_path / "data", {})
    assert len(sizes) == 3 and max(sizes) <= 3 * 16000 - 16000 + 128


def test_what_is_joined_is_what_numpy_would_save(tmp_path, store):
    for name, array in store.fields.items():
        np.save(tmp_path / "whole.npy", np.concatenate([episode(n, float(i))[name] for i, n in enumerate((3, 5, 4))]))
        assert (store.folder / f"{name}.npy").read_bytes() == (tmp_path / "whole.npy").read_bytes()
        assert array.flags["C_CONTIGUOUS"]


def test_an_episode_of_another_form_than_the_first_is_named(tmp_path):
    write_episode(tmp_path / "data", 0, episode(3, 1.0))
    write_episode(tmp_path / "data", 1, episode(3, 1.0) | {"action": np.zeros((3, 5), np.float32)})
    with pytest.raises(UserError, match=r"action of .*000001\.npz is float32 \(3, 5\), expected float32 \(3, 2\)"):
        seal(tmp_path / "data", {})


def test_windows_that_reach_back_too_far_rest_at_the_beginning(store):
    obs = torch.arange(12.0)[:, None]
    experience = Recorded.of(store, obs)
    window = experience.windows(torch.tensor([4]), 4)  # the second row of episode 1, which begins at row 3
    assert window.obs.flatten().tolist() == [3, 3, 3, 4]
    assert window.action[0, :, 0].tolist() == [0, 0, 0, 1]


def test_drawn_windows_end_with_a_control_step_and_stay_in_their_episode(store):
    obs = torch.arange(12.0)[:, None]
    experience = Recorded.of(store, obs)
    window = experience.draw(500, 2).obs[..., 0]
    assert ((window[:, 1] - window[:, 0]) == 1).all()
    assert set(window[:, 1].tolist()) == {1, 2, 4, 5, 6, 7, 9, 10, 11}


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_numbers_that_are_not_finite_are_named_by_episode(store, bad):
    obs = torch.arange(12.0)[:, None]
    obs[9] = bad  # the second row of episode 2
    with pytest.raises(UserError, match="observations of episode 2"):
        Recorded.of(store, obs)


def test_a_range_of_episodes_is_cut_out(store):
    part = Recorded.of(store, torch.arange(12.0)[:, None], range(1, 3))
    assert len(part) == 9 and part.steps.obs[0, 0] == 3
    pairs = part.pairs()
    assert len(pairs.before) == 7 and (pairs.after - pairs.before == 1).all()
    assert pairs.reward.tolist() == [1.0] * 4 + [2.0] * 3
