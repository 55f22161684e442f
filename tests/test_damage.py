"""Files of a run that hold garbage: each is one sentence that says what to do, and nothing is overwritten unsaid."""

import json
import os
import shutil
import subprocess
import sys

import pytest

from glocal.cli import main
from glocal.data.store import EpisodeStore
from glocal.evaluate.report.run import _doctor_section, _plot_training
from glocal.pipeline.config import typed
from glocal.pipeline.plan import STAGES
from glocal.pipeline.run import open_run, perform
from glocal.pipeline.run_dir import Run
from glocal.pipeline.stamps import Attempt, attempt_path, read_attempt, stage_seconds, stamp_path, write
from glocal.pipeline.status import is_begun, plan_of, status
from glocal.runtime.files import UserError, answered, read_json, sha256
from glocal.runtime.trainer import logged_seconds, read_log
from tests.finished import finished_run

GARBAGE = ["", "[]", "{}", "null", "3", "{", '"text"', "[" * 100_000, '{"plan": 3, "seconds": {}}', "\x00\xff"]


@pytest.fixture
def run(tmp_path) -> Run:
    return finished_run(tmp_path / "run")


def fails(capsys, *arguments: object) -> str:
    with pytest.raises(SystemExit) as stopped:
        main([str(argument) for argument in arguments])
    assert stopped.value.code == 2
    return " ".join(capsys.readouterr().err.split())


@pytest.mark.parametrize("rows", [0, 1])
def test_a_log_that_is_gone_or_short_leaves_a_panel_out(tmp_path, rows):
    (tmp_path / "policy").mkdir()
    (tmp_path / "policy" / "log.jsonl").write_text('{"iteration": 1, "imag/return": 0.5}\n' * rows)
    assert [axes.get_title() for axes in _plot_training(tmp_path).axes if axes.axison] == ["policy: imag/return"] * rows


@pytest.mark.parametrize("garbage", GARBAGE)
def test_a_broken_stamp_makes_its_stage_damaged(run, garbage):
    stamp_path(run.folder, "global").write_text(garbage)
    found = status(run)
    assert found["global"].state == "damaged" and "its stamp, " in found["global"].reasons[0]
    assert "global is damaged" in found["local"].reasons and found["codec"].state == "done"
    with pytest.raises(UserError, match=r"global\.json, is damaged"):
        perform(run, STAGES["local"])
    with pytest.raises(UserError, match=r"global\.json, is damaged"):
        stage_seconds(run.folder)


@pytest.mark.parametrize("name", ["policy (copy).json", "notes.json"])
def test_a_foreign_file_among_the_stamps_does_not_count(run, name):
    (run.folder / "stages" / name).write_text("foreign")
    assert stage_seconds(run.folder) == dict.fromkeys(sorted(STAGES), 1.5)


@pytest.mark.parametrize("garbage", GARBAGE)
def test_a_broken_record_of_what_was_begun_begins_anew(run, garbage):
    stage, plan = STAGES["codec"], plan_of(run, STAGES["codec"], sha256)
    stamp_path(run.folder, "codec").unlink()
    write(attempt_path(run.folder, "codec"), Attempt(plan, 2.0))
    assert is_begun(run, stage, plan) and "will be gone on with" in status(run)["codec"].reasons[0]
    attempt_path(run.folder, "codec").write_text(garbage)
    assert not is_begun(run, stage, plan) and status(run)["codec"].state == "missing"
    perform(run, stage)
    assert list((run.folder / "previous").glob("*-codec/codec")) and read_attempt(run.folder, "codec") is None


def test_a_damaged_stage_is_set_aside_when_it_is_done_again(run, capsys):
    path = run.folder / "codec" / "last" / "model.safetensors"
    path.write_text("cut")
    main(["status", str(run.folder)])
    assert "codec damaged codec/last/model.safetensors is damaged" in " ".join(capsys.readouterr().out.split())
    perform(run, STAGES["codec"])
    (kept,) = (run.folder / "previous").glob("*-codec")
    assert (kept / "codec" / "last" / "model.safetensors").read_text() == "cut"
    assert not path.exists() and status(run)["codec"].state == "done"


@pytest.mark.parametrize("line", ["garbage", "[]", "{}", "3", '{"iteration": "first"}', '{"loss": 1}', "[" * 100_000])
def test_a_line_of_a_log_that_is_no_row_is_named(tmp_path, line):
    (tmp_path / "log.jsonl").write_text('{"iteration": 1, "loss": 2.5}\n' + line + "\n")
    with pytest.raises(UserError, match=r"line 2 of .*log\.jsonl is damaged.*Delete the line"):
        read_log(tmp_path)


def test_the_line_that_was_being_written_does_not_count(tmp_path):
    (tmp_path / "log.jsonl").write_text('{"iteration": 1, "loss": NaN}\n{"iterat')
    assert [row["iteration"] for row in read_log(tmp_path)] == [1]


@pytest.mark.parametrize(
    "text, seconds",
    [
        ('{"iteration": 1, "speed/seconds": 2.0}\n{"iteration": 2, "speed/seconds": 5.5}\n', 5.5),
        ('{"iteration": 1}\n', 0.0),
        ("", 0.0),
        ("broken\n", 0.0),
        (None, 0.0),
    ],
)
def test_the_time_that_a_training_took_is_in_its_log_if_that_is_whole(tmp_path, text, seconds):
    if text is not None:
        (tmp_path / "log.jsonl").write_text(text)
    assert logged_seconds(tmp_path) == seconds


INDEX = {"format": 1, "fields": ["action"], "about": {}, "episodes": [{"rows": 3, "sha256": "ab"}]}


@pytest.mark.parametrize(
    "changes",
    [
        None,
        [],
        {"fields": None},
        {"fields": 3},
        {"fields": ["../../secret"]},
        {"fields": [["action"]]},
        {"about": []},
        {"episodes": {}},
        {"episodes": []},
        {"episodes": [3]},
        {"episodes": [{"rows": 3}]},
        {"episodes": [{"rows": -3, "sha256": "ab"}]},
        {"episodes": [{"rows": "3", "sha256": "ab"}]},
        {"episodes": [{"rows": 3.5, "sha256": "ab"}]},
        {"episodes": [{"rows": 3, "sha256": 5}]},
        {"episodes": [{"rows": 10**30, "sha256": "ab"}]},
        {"format": 2},
    ],
)
def test_an_index_of_recorded_data_that_is_none_is_refused(run, changes):
    index = {**INDEX, **changes} if isinstance(changes, dict) else changes
    (run.folder / "data" / "index.json").write_text(json.dumps(index))
    with pytest.raises(UserError, match="collect again"):
        EpisodeStore.open(run.folder / "data")
    assert status(run)["collect"].state == "damaged"


BOUND = ["setpriv", "--bounding-set=-dac_override,-dac_read_search"] if os.geteuid() == 0 else []
"""Root may read anything; without these capabilities it is bound by the bits as everybody is."""
LOCKED = """
import sys
from pathlib import Path
from glocal.runtime.checkpoints import load
from glocal.cli import main
from glocal.data.store import EpisodeStore
from glocal.runtime.files import UserError, sha256
from glocal.runtime.trainer import read_log
folder = Path(sys.argv[1])
ways = {
    "log": lambda path: read_log(path.parent),
    "load": lambda path: load(path.parent, "toy"),
    "open": lambda path: EpisodeStore.open(path.parent),
    "hash": sha256,
}
for name in sys.argv[2:]:
    path, way = folder / name.partition(":")[0], name.partition(":")[2]
    bits = path.stat().st_mode
    path.chmod(0)
    try:
        ways[way](path) if way in ways else main([way, str(folder)])
    except UserError as error:
        print(error, file=sys.stderr)
    except SystemExit:
        pass
    path.chmod(bits)
"""
ALL_LOCKED = (
    "config.json:status", "config.json:run", "stages/global.json:status", "stages/global.json:run", "stages:status",
    "global/last/model.safetensors:hash", "data/index.json:open", "data/action.npy:open", "results.json:report",
    "policy/log.jsonl:log", "toy/config.json:load",
)  # fmt: skip


@pytest.mark.skipif(bool(BOUND) and shutil.which("setpriv") is None, reason="root is not bound by permission bits")
def test_a_file_that_may_not_be_read_is_one_sentence_and_nothing_is_done_again(run):
    (run.folder / "policy" / "log.jsonl").write_text("")
    (run.folder / "toy").mkdir()
    (run.folder / "toy" / "last").symlink_to(".")
    (run.folder / "toy" / "config.json").write_text("{}")
    command = [*BOUND, sys.executable, "-c", LOCKED, str(run.folder), *ALL_LOCKED]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    lines = done.stderr.splitlines()
    assert done.returncode == 0 and len(lines) == len(ALL_LOCKED), done.stderr
    for line, name in zip(lines, ALL_LOCKED, strict=True):
        assert name.partition(":")[0].rpartition("/")[2] in line and "permission denied" in line.lower(), (name, line)
    assert not (run.folder / "previous").exists()


@pytest.mark.parametrize("name", ["results.json", "policy/log.jsonl", "stages/global.attempt.json"])
def test_a_pipe_in_the_place_of_a_file_is_refused_and_not_waited_for(run, name, capsys):
    path = run.folder / name
    path.unlink(missing_ok=True)
    os.mkfifo(path)
    with pytest.raises(UserError, match="is no plain file"):
        read_log(path.parent) if path.suffix == ".jsonl" else read_json(path)
    main(["status", str(run.folder)])


@pytest.mark.parametrize("garbage", ["[]", "{}", '{"dataset": "x", "findings": [1]}', '{"dataset": 1, "findings": []}'])
def test_findings_of_the_doctor_that_are_garbage_are_named(tmp_path, garbage):
    (tmp_path / "doctor.json").write_text(garbage)
    with pytest.raises(UserError, match=r"doctor\.json is damaged; delete it"):
        _doctor_section(tmp_path)


@pytest.mark.parametrize("name", ["results.json", "gates.json"])
def test_a_report_is_not_written_of_garbage(run, name, capsys):
    (run.folder / name).write_text("{}")
    assert f"{name} is damaged or incomplete" in fails(capsys, "report", run.folder)


@pytest.mark.parametrize("garbage", ["", "[]", "{}", "null", "{", '{"preset": 1, "seed": 0, "task": 0}', "[" * 100_000])
def test_a_damaged_configuration_names_the_command_that_writes_it_anew(tmp_path, capsys, garbage):
    made = finished_run(tmp_path / "run")
    path = made.folder / "config.json"
    path.write_text(garbage)
    found = fails(capsys, "status", made.folder)
    command = f"glocal run pusht-keypoints-debug --run {made.folder} --judge 0.3"
    assert f"`{command}` writes it anew" in found
    main(command.split()[1:])
    assert capsys.readouterr().err.count("done before, skipped") == len(STAGES)
    assert open_run(made.folder).config == made.config


@pytest.mark.parametrize("name", ["my run", "a;b $(c)", "it's", "two\nlines", "é\t'"])
def test_what_is_to_be_typed_reaches_the_folder_whatever_it_is_called(tmp_path, capsys, name):
    folder = tmp_path / name
    folder.mkdir()
    (folder / "config.json").write_text("{")
    with pytest.raises(SystemExit):
        main(["status", str(folder)])
    (line,) = capsys.readouterr().err.splitlines()
    told = line.split("`")[1].removeprefix("glocal run PRESET --run ")
    found = subprocess.run(["bash", "-c", f"printf %s {told}"], capture_output=True, check=True)
    assert found.stdout.decode() == str(folder)


def test_options_that_are_told_can_be_typed():
    assert typed("logs", "my logs") == "--logs 'my logs'" and typed("logs", "") == "--logs ''"
    assert typed("learn.gamma", 0.5) == "--learn.gamma 0.5" and typed("a_b", ["x", "y z"]) == "--a-b x 'y z'"


def test_without_a_stamp_the_command_leaves_the_preset_open(tmp_path, capsys):
    (tmp_path / "config.json").write_text("{")
    assert f"`glocal run PRESET --run {tmp_path}` writes it anew" in fails(capsys, "status", tmp_path)


@pytest.mark.parametrize("garbage", GARBAGE)
def test_an_answer_that_was_kept_is_asked_for_again_where_it_is_broken(tmp_path, garbage):
    path, asked = tmp_path / "verdict.json", {"weights": "abc", "episodes": 4}
    path.write_text(json.dumps({"asked": asked, "pose": 3}))
    assert answered(path, asked) == {"asked": asked, "pose": 3}
    assert answered(path, {**asked, "episodes": 5}) is None
    path.write_text(garbage)
    assert answered(path, asked) is None and answered(tmp_path / "none.json", asked) is None
