"""The verbs on logs: what they say, what they write, what they refuse, and what is taken in."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image

from glocal.cli import main
from glocal.data.formats import open_dataset
from glocal.data.formats.lerobot_writer import Layout, write_lerobot
from glocal.data.ingest import chosen, ingest
from glocal.data.mapping import Mapping, check, load, save
from glocal.data.reading import PlanarReading
from glocal.data.store import EpisodeStore, seal
from tests.data.test_formats import (
    AFTER,
    EPISODES,
    FEATURES,
    LENGTHS,
    STATE,
    hdf5_file,
    lerobot_v3,
    minari_folder,
    mp4_folder,
    npz_folder,
)


def data(*arguments: object) -> None:
    main(["data", *map(str, arguments)])


def refused(capsys, *arguments: object) -> str:
    with pytest.raises(SystemExit) as stopped:
        data(*arguments)
    assert stopped.value.code == 2
    return " ".join(capsys.readouterr().err.split())


def test_inspect_says_what_is_there_and_proposes_a_mapping(tmp_path, capsys):
    data("inspect", lerobot_v3(tmp_path / "set"), "--write")
    said = capsys.readouterr().err
    assert "LeRobotDataset v3.0" in said and "3 episodes, 18 steps" in said and "missing: success" in said
    assert json.loads((tmp_path / "set" / "glocal.json").read_text())["camera"] == "observation.image"


def mapped(folder: Path, text: str) -> Path:
    path = lerobot_v3(folder / "set")
    (path / "glocal.json").write_text(text)
    return path


def test_a_mapping_made_by_hand_is_kept_by_inspect(tmp_path, capsys):
    """Without --replace where it is, with it under a new name; neither that nor the proposed one is written over."""
    path = mapped(tmp_path, "by hand")
    assert "add --replace" in refused(capsys, "inspect", path, "--write")
    assert (path / "glocal.json").read_text() == "by hand" and not (path / "glocal.json.1").exists()
    data("inspect", path, "--write", "--replace")
    assert f"kept in {path / 'glocal.json.1'}" in " ".join(capsys.readouterr().err.split()).replace("- ", "-")
    proposed = load(path / "glocal.json")
    save(path / "glocal.json", replace(proposed, reach=7.0))
    data("inspect", path, "--write", "--replace")
    assert (path / "glocal.json.1").read_text() == "by hand" and load(path / "glocal.json") == proposed
    assert load(path / "glocal.json.2").reach == 7.0


def test_the_mapping_that_is_proposed_is_written_any_number_of_times(tmp_path):
    path = lerobot_v3(tmp_path / "set")
    for option in ((), (), ("--replace",)):
        data("inspect", path, "--write", *option)
    assert [one.name for one in path.glob("glocal.json*")] == ["glocal.json"]


def test_replace_is_for_write(tmp_path, capsys):
    path = mapped(tmp_path, "by hand")
    assert "add --write" in refused(capsys, "inspect", path, "--replace")
    assert (path / "glocal.json").read_text() == "by hand"


def test_episodes_are_left_out_of_a_mapping_made_by_hand_in_its_place(tmp_path):
    path = lerobot_v3(tmp_path / "set")
    data("inspect", path, "--write")
    save(path / "glocal.json", replace(load(path / "glocal.json"), reach=7.0))
    data("doctor", path, "--leave-out", "--processes", "1")
    assert load(path / "glocal.json").reach == 7.0 and not (path / "glocal.json.1").exists()


def test_a_folder_becomes_a_lerobot_dataset(tmp_path):
    data("convert", mp4_folder(tmp_path / "films"), tmp_path / "set", "--task", "push the T")
    dataset = open_dataset(tmp_path / "set")
    assert dataset.format == "LeRobotDataset v3.0" and tuple(dataset.lengths) == LENGTHS and dataset.fps == 10
    assert np.array_equal(dataset.episode(1, ["action"])["action"], EPISODES[1]["action"])


def test_a_rate_that_the_format_does_not_tell_is_asked_for(tmp_path, capsys):
    assert "say it with --fps" in refused(capsys, "convert", npz_folder(tmp_path / "npz"), tmp_path / "set")
    assert not (tmp_path / "set").exists()


def test_what_is_split_can_be_merged_again(tmp_path):
    whole = lerobot_v3(tmp_path / "set")
    data("split", whole, "--first", tmp_path / "a", "--second", tmp_path / "b", "--share", "0.67")
    assert len(open_dataset(tmp_path / "a")) == 2 and len(open_dataset(tmp_path / "b")) == 1
    data("merge", tmp_path / "a", tmp_path / "b", "--out", tmp_path / "c")
    assert sorted(open_dataset(tmp_path / "c").lengths) == sorted(LENGTHS)


def test_what_episodes_are_of_is_kept(tmp_path):
    for name, task in (("a", "push the T"), ("b", "pull the T")):
        write_lerobot(tmp_path / name, EPISODES, Layout(10, FEATURES, task))
    data("merge", tmp_path / "a", tmp_path / "b", "--out", tmp_path / "c")
    merged = open_dataset(tmp_path / "c")
    assert [merged.task(number) for number in range(6)] == ["push the T"] * 3 + ["pull the T"] * 3
    info = json.loads((tmp_path / "c" / "meta" / "info.json").read_text())
    table = pq.read_table(next((tmp_path / "c" / "data").rglob("*.parquet")))
    assert info["total_tasks"] == 2 and table["task_index"].to_pylist() == [0] * sum(LENGTHS) + [1] * sum(LENGTHS)


def mended(folder, *leave_out, **changes):
    """A dataset of three episodes with a mapping that a person has mended."""
    data("inspect", lerobot_v3(folder), "--write")
    save(
        folder / "glocal.json", replace(load(folder / "glocal.json"), leave_out=leave_out, **{"reach": 7.0, **changes})
    )
    return folder


def test_a_mapping_is_carried_over_with_its_episodes_counted_anew(tmp_path):
    one, other = mended(tmp_path / "one", 1), mended(tmp_path / "other", 0, 2)
    known = load(one / "glocal.json")
    data("convert", one, tmp_path / "converted")
    assert load(tmp_path / "converted" / "glocal.json") == known
    data("merge", one, other, "--out", tmp_path / "merged")
    assert load(tmp_path / "merged" / "glocal.json") == replace(known, leave_out=(1, 3, 5))
    assert check(load(tmp_path / "merged" / "glocal.json"), open_dataset(tmp_path / "merged")) == []
    data("split", one, "--first", tmp_path / "a", "--second", tmp_path / "b", "--share", "0.5")
    for folder in (tmp_path / "a", tmp_path / "b"):
        spoilt = [number for number, length in enumerate(open_dataset(folder).lengths) if length == LENGTHS[1]]
        assert load(folder / "glocal.json") == replace(known, leave_out=tuple(spoilt))


@pytest.mark.parametrize("mappings", ["differ", "lack"])
def test_where_mappings_differ_what_they_leave_out_is_not_written(tmp_path, capsys, mappings):
    one = mended(tmp_path / "one", 1)
    other = mended(tmp_path / "other", 0, reach=8.0) if mappings == "differ" else lerobot_v3(tmp_path / "other")
    data("merge", one, other, "--out", tmp_path / "merged")
    said = " ".join(capsys.readouterr().err.split())
    kept = [LENGTHS[0], LENGTHS[2], *(LENGTHS[1:] if mappings == "differ" else LENGTHS)]
    assert (
        list(open_dataset(tmp_path / "merged").lengths) == kept and not (tmp_path / "merged" / "glocal.json").exists()
    )
    assert (
        "the mappings differ, and none is written" in said and "one: 1 episodes that its mapping leaves out: 1" in said
    )


def test_a_rate_that_is_told_goes_into_the_mapping_too(tmp_path):
    source = npz_folder(tmp_path / "npz")
    data("inspect", source, "--write")
    data("convert", source, tmp_path / "set", "--fps", "20")
    assert check(load(tmp_path / "set" / "glocal.json"), open_dataset(tmp_path / "set")) == []


def test_nothing_is_merged_of_nothing(tmp_path, capsys):
    assert "was given no dataset" in refused(capsys, "merge", "--out", tmp_path / "c")


@pytest.mark.parametrize("second, said", [("a", "are both"), ("there", "exists already"), ("a/b", "is inside")])
def test_a_split_that_cannot_write_both_parts_writes_neither(tmp_path, capsys, second, said):
    whole = lerobot_v3(tmp_path / "set")
    (tmp_path / "there").mkdir()
    places = ("--first", tmp_path / "a", "--second", tmp_path / second)
    assert said in refused(capsys, "split", whole, *places, "--share", "0.67") and not (tmp_path / "a").exists()


def test_logs_without_pictures_are_looked_at_as_streams(tmp_path, capsys):
    features = {name: feature for name, feature in FEATURES.items() if not feature.picture}
    episodes = [{name: one[name] for name in features} for one in EPISODES]
    write_lerobot(tmp_path / "set", episodes, Layout(10, features))
    data("inspect", tmp_path / "set")
    said = " ".join(capsys.readouterr().err.split())
    assert "3 episodes, 18 steps" in said and '"streams": [{"name": ' in said


def test_only_equals_are_merged(tmp_path, capsys):
    others = (lerobot_v3(tmp_path / "set"), mp4_folder(tmp_path / "films"))
    assert "only equals can be merged" in refused(capsys, "merge", *others, "--out", tmp_path / "c")


def test_a_preview_is_a_picture_or_a_film(tmp_path):
    whole = lerobot_v3(tmp_path / "set")
    data("preview", whole, "--out", tmp_path / "sheet.png", "--episodes", "2", "--columns", "4")
    assert Image.open(tmp_path / "sheet.png").size == (4 * 64, 2 * 48)
    data("preview", whole, "--out", tmp_path / "film.mp4")
    assert (tmp_path / "film.mp4").stat().st_size > 500


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


INSIDE, ANOTHERS = "is inside the data set", "is a file of a data set"


@pytest.mark.parametrize(
    "make, out, said",
    [
        (lerobot_v3, "set/videos/observation.image/chunk-000/file-000.mp4", INSIDE),
        (lerobot_v3, "set/new.png", INSIDE),
        (mp4_folder, "set/000.mp4", INSIDE),
        (mp4_folder, "link/000.mp4", INSIDE),
        (npz_folder, "films/000.mp4", ANOTHERS),
        (npz_folder, "another/videos/observation.image/chunk-000/file-000.mp4", ANOTHERS),
    ],
)
def test_a_preview_is_not_drawn_over_recordings(tmp_path, capsys, make, out, said):
    make(tmp_path / "set")
    (tmp_path / "link").symlink_to("set")
    mp4_folder(tmp_path / "films")
    lerobot_v3(tmp_path / "another")
    before = contents(tmp_path)
    assert said in refused(capsys, "preview", tmp_path / "set", "--out", tmp_path / out)
    assert contents(tmp_path) == before


@pytest.mark.parametrize(
    "make, out, said",
    [
        (lerobot_v3, "set/meta/info.json", INSIDE),
        (lerobot_v3, "set/glocal.json", INSIDE),
        (hdf5_file, "set.h5", ANOTHERS),
        (hdf5_file, "glocal.json", ANOTHERS),
        (hdf5_file, "another/meta/info.json", ANOTHERS),
    ],
)
def test_findings_are_not_written_over_a_dataset(tmp_path, capsys, make, out, said):
    path = make(tmp_path / "set")
    data("inspect", path, "--write")
    lerobot_v3(tmp_path / "another")
    before = contents(tmp_path)
    assert said in refused(capsys, "doctor", path, "--out", tmp_path / out)
    assert contents(tmp_path) == before


def test_what_was_said_of_a_dataset_before_is_said_again(tmp_path):
    """In a folder that is full of films and findings, as after the first time."""
    whole = mp4_folder(tmp_path / "films")
    for _ in range(2):
        for name in ("sheet.png", "sheet.jpg", "film.mp4"):
            data("preview", whole, "--out", tmp_path / name)
        data("doctor", whole, "--out", tmp_path / "found.json", "--processes", "1")


def test_the_doctor_writes_what_it_found(tmp_path):
    data("doctor", npz_folder(tmp_path / "npz"), "--out", tmp_path / "found.json", "--processes", "1")
    found = json.loads((tmp_path / "found.json").read_text())["findings"]
    assert {"lengths", "numbers", "camera", "delay"} <= {one["name"] for one in found}


def test_the_doctor_fails_where_logs_are_broken(tmp_path):
    folder = npz_folder(tmp_path / "npz")
    for path in folder.iterdir():
        kept = dict(np.load(path))
        np.savez(path, image=kept["image"], action=np.zeros_like(kept["action"]))
    with pytest.raises(SystemExit) as stopped:
        data("doctor", folder, "--processes", "1")
    assert stopped.value.code == 1


def test_a_folder_that_exists_is_not_overwritten(tmp_path, capsys):
    whole = lerobot_v3(tmp_path / "set")
    assert "exists already" in refused(capsys, "convert", whole, whole)


def test_of_an_episode_whose_last_observation_is_kept_no_control_step_is_lost(tmp_path):
    """Four steps and five observations at stride two are two whole control steps; five and six are two, and a half."""
    path, camera, state = minari_folder(tmp_path / "set"), "observation.image", "observation.state"
    known = Mapping(camera, (48, 64), state, "action", 10, 5, low=(0, 0), high=(512, 512), reward="next.reward",
                    reward_over="sum")  # fmt: skip
    dataset = open_dataset(path)
    assert chosen(PlanarReading(known), dataset.observed) == ([0, 1, 2], []) and list(dataset.lengths) == list(LENGTHS)
    ingest(path, PlanarReading(known), tmp_path / "data", [0, 1, 2], 1, lambda done: None)
    seal(tmp_path / "data", {})
    store = EpisodeStore.open(tmp_path / "data")
    assert np.diff(store.starts).tolist() == [3, 5, 3]
    last, reward = store.episode(2), EPISODES[2]["next.reward"][:, 0]
    assert np.allclose(last["agent"], [*EPISODES[2][STATE][::2], AFTER[2]])
    assert np.allclose(last["reward"][1:], [reward[0] + reward[1], reward[2] + reward[3]])
    assert np.allclose(store.episode(0)["reward"][-1], EPISODES[0]["next.reward"][2:].sum())
