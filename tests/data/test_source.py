"""What a data set is recognised by: what its files hold, not where they lie, nor when they were touched."""

import os
from dataclasses import replace
from pathlib import Path

import pytest

from glocal.data.ingest import source_digest
from glocal.data.mapping import NAME
from glocal.pipeline.plan import STAGES
from glocal.pipeline.run_dir import Run
from glocal.pipeline.stamps import stamp_path, write
from glocal.pipeline.status import digests_of, plan_of, stamped, status
from glocal.runtime.files import UserError, sha256
from tests.finished import DEBUG, finished_run


@pytest.fixture
def logs(tmp_path) -> Path:
    folder = tmp_path / "logs"
    (folder / "videos").mkdir(parents=True)
    (folder / "videos" / "0.mp4").write_text("film")
    (folder / "0.npz").write_text("numbers")
    (folder / ".zarray").write_text("shape")
    (folder / NAME).write_text('{"camera": "wrist", "fps": 10}')
    return folder


def touch(logs: Path) -> None:
    for path in logs.rglob("*"):
        os.utime(path, (1e9, 1e9))


def add(name: str):
    def adding(logs: Path) -> None:
        (logs / name).parent.mkdir(parents=True, exist_ok=True)
        (logs / name).write_text("by the way")

    return adding


def rewrite(name: str, text: str):
    return lambda logs: (logs / name).write_text(text)


@pytest.mark.parametrize(
    "change",
    [
        touch,
        *map(
            add,
            [
                "README.md",
                "readme.txt",
                "LICENSE",
                "notes.md",
                ".gitattributes",
                ".cache/huggingface/x.lock",
                f"{NAME}.1",
            ],
        ),
        rewrite(NAME, '{\n  "fps": 10,\n  "camera": "wrist"\n}'),
    ],
)
def test_what_does_not_change_the_data_does_not_change_the_digest(logs, change):
    before = source_digest(logs)
    change(logs)
    assert source_digest(logs) == before


@pytest.mark.parametrize(
    "change",
    [
        rewrite("0.npz", "Numbers"),
        rewrite("videos/0.mp4", "longer film"),
        rewrite(".zarray", "shapes"),
        rewrite(NAME, '{"camera": "wrist", "fps": 20}'),
        add("1.npz"),
        lambda logs: (logs / "0.npz").unlink(),
        lambda logs: (logs / "0.npz").rename(logs / "1.npz"),
        lambda logs: (logs / NAME).unlink(),
    ],
)
def test_what_changes_the_data_or_their_mapping_changes_the_digest(logs, change):
    before = source_digest(logs)
    change(logs)
    assert source_digest(logs) != before


def test_the_same_data_by_another_path_are_the_same(logs, tmp_path, monkeypatch):
    (tmp_path / "link").symlink_to(logs)
    monkeypatch.chdir(tmp_path)
    whole = source_digest(logs)
    assert whole == source_digest(Path("logs")) == source_digest(tmp_path / "link") is not None
    logs.rename(tmp_path / "moved")
    assert source_digest(tmp_path / "moved") == whole and source_digest(logs) is None


def test_of_a_single_file_its_content_counts(tmp_path):
    (tmp_path / "a.hdf5").write_text("numbers")
    (tmp_path / "b.hdf5").write_text("numbers")
    assert source_digest(tmp_path / "a.hdf5") == source_digest(tmp_path / "b.hdf5")
    (tmp_path / "b.hdf5").write_text("others")
    assert source_digest(tmp_path / "a.hdf5") != source_digest(tmp_path / "b.hdf5")


def test_only_files_that_changed_are_read_again(logs, tmp_path):
    touch(logs)
    read: list[str] = []
    for change in (None, "0.npz"):
        if change:
            (logs / change).write_text("Numbers")
        with digests_of(tmp_path) as digests:
            known = set(digests.kept)
            source_digest(logs, digests)
            read += [Path(path).name for path in set(digests.kept) - known]
    assert sorted(read) == [".zarray", "0.mp4", "0.npz"]


def unread(file: Path) -> str:
    pytest.fail(f"{file} was read")


def test_nothing_is_read_where_a_link_leads_out(logs, tmp_path):
    (tmp_path / "secret").write_text("outside")
    (logs / "z.npz").symlink_to(tmp_path / "secret")
    with pytest.raises(UserError, match="is a symbolic link"):
        source_digest(logs, unread)


@pytest.mark.parametrize("text", ["{", "[" * 100_000, '{"fps": ' + "1" * 5000 + "}"])
def test_of_a_mapping_that_is_damaged_it_is_said_what_proposes_another(logs, text):
    (logs / NAME).write_text(text)
    with pytest.raises(UserError, match=r"does not read as JSON.*`glocal data inspect` proposes one"):
        source_digest(logs)


def test_a_mapping_without_end_is_not_read(logs):
    os.truncate(logs / NAME, 2**28 + 1)
    with pytest.raises(UserError, match=f"has {2**28 + 1} bytes; .* are read at most"):
        source_digest(logs)


def test_what_is_hidden_is_not_read(logs, tmp_path):
    """Whatever a hidden folder is called; its links are not looked for."""
    before = source_digest(logs)
    (logs / ".zz").mkdir()
    (logs / ".zz" / "z.npz").symlink_to(logs / "0.npz")
    assert source_digest(logs) == before


def test_nothing_is_read_where_that_would_take_too_long(logs):
    (logs / "hole.npz").touch()
    os.truncate(logs / "hole.npz", 2**40)
    with pytest.raises(UserError, match=f"have {2**40 + 16} bytes, {2**38} are read at most"):
        source_digest(logs, unread)


def test_a_run_whose_logs_can_no_longer_be_read_says_so_and_stands(logs, tmp_path):
    run = collected(tmp_path / "run", logs)
    (logs / "z.npz").symlink_to(tmp_path / "elsewhere")
    found = status(run)
    assert found["collect"].state == "stale" and "is a symbolic link" in found["collect"].reasons[0]
    assert found["policy"].own == ()


def collected(folder: Path, logs: Path | str) -> Run:
    run = finished_run(folder, replace(DEBUG, logs=str(logs)))
    stage = STAGES["collect"]
    write(stamp_path(folder, "collect"), stamped(run, stage, plan_of(run, stage, sha256), 1.0, "", sha256))
    return run


def with_logs(run: Run, logs: object) -> Run:
    return Run(run.folder, replace(run.config, logs=str(logs)))


def test_logs_named_by_another_path_are_not_collected_again_but_others_are(logs, tmp_path, monkeypatch):
    run = collected(tmp_path / "run", logs)
    monkeypatch.chdir(tmp_path)
    assert status(run)["collect"].state == status(with_logs(run, "logs"))["collect"].state == "done"
    for other in ("", "nowhere"):
        assert status(with_logs(run, other))["collect"].reasons == ("the logs or their mapping changed",)
    (logs / "0.npz").write_text("Numbers")
    assert status(run)["collect"].reasons == ("the logs or their mapping changed",)
    logs.rename(tmp_path / "gone")
    assert status(run)["collect"].state == "done"
    assert status(with_logs(run, tmp_path / "gone"))["collect"].reasons == ("the logs or their mapping changed",)


def test_played_data_are_not_the_logs(logs, tmp_path):
    run = finished_run(tmp_path / "run")
    assert status(run)["collect"].state == "done"
    assert status(with_logs(run, logs))["collect"].reasons == ("the logs or their mapping changed",)
