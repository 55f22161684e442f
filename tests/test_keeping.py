"""What was trained is not lost by an option: it is set aside only where that is asked for, and kept for good."""

import json
import os
import shutil
import subprocess
import sys
from functools import reduce
from pathlib import Path

import pytest

from glocal.cli import main
from glocal.pipeline.config import from_dict, to_dict
from glocal.pipeline.opening import check_run
from glocal.pipeline.plan import STAGES
from glocal.pipeline.previous import alone, set_aside
from glocal.pipeline.run import open_run
from glocal.pipeline.run_dir import Run
from glocal.pipeline.status import status
from glocal.runtime.files import UserError
from tests.finished import finished_run

PRESET = "pusht-keypoints-debug"
ROOT = Path(__file__).parent.parent


def glocal(*arguments: object) -> None:
    main([str(argument) for argument in arguments])


def fails(capsys, *arguments: object) -> str:
    capsys.readouterr()
    with pytest.raises(SystemExit) as stopped:
        glocal(*arguments)
    assert stopped.value.code == 2
    return " ".join(capsys.readouterr().err.split())


def content(folder: Path) -> dict[str, bytes]:
    """All files of a run but its lock and the hashes that it remembers."""
    aside = ("lock", "digests.cache.json")
    files = (path for path in folder.rglob("*") if path.is_file() and path.name not in aside)
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("kept") / "whole"
    glocal("run", PRESET, "--run", folder, "--seed", "1", "--watch.every", "0")
    return folder


@pytest.fixture
def trained(whole, tmp_path) -> Path:
    """A finished run, to be spoilt."""
    return shutil.copytree(whole, tmp_path / "run", symlinks=True)


@pytest.fixture(scope="module")
def models(tmp_path_factory) -> Path:
    """Data and a global model, and no more."""
    folder = tmp_path_factory.mktemp("models") / "run"
    for verb in (("collect",), ("train", "codec"), ("train", "global")):
        glocal(*verb, PRESET, "--run", folder)
    return folder


@pytest.mark.parametrize(
    "command, differs",
    [
        (("run", PRESET, "--run"), "--seed is 1 there and 0 here"),
        (("run",), "--learn.gamma is 0.97 there and 0.5 here"),
        (("train", "policy"), "--learn.gamma is 0.97 there and 0.5 here"),
    ],
)
def test_other_options_for_what_is_trained_are_refused_before_anything_is_changed(trained, capsys, command, differs):
    before = content(trained)
    options = () if PRESET in command else ("--learn.gamma", "0.5")
    found = fails(capsys, *command, trained, *options)
    assert differs in found and "set aside what is trained" in found and "policy" in found and "--replace" in found
    assert content(trained) == before


def test_what_is_replaced_is_kept_each_time(trained):
    first = (trained / "policy" / "last" / "model.safetensors").read_bytes()
    glocal("train", "policy", trained, "--learn.gamma", "0.5", "--replace")
    second = (trained / "policy" / "last" / "model.safetensors").read_bytes()
    glocal("train", "policy", trained, "--learn.gamma", "0.6", "--replace")
    kept = sorted((trained / "previous").glob("*-policy*"))
    assert [(one / "policy" / "last" / "model.safetensors").read_bytes() for one in kept] == [first, second]
    assert all((one / "stages" / "policy.json").is_file() for one in kept)


def test_a_folder_alone_goes_on_and_a_trained_stage_is_skipped_unless_it_is_to_be_replaced(trained, capsys):
    before = content(trained)
    glocal("run", trained)
    glocal("train", "policy", trained)
    glocal("collect", trained)
    assert content(trained) == before
    assert "policy: done before, skipped; --replace does it again" in " ".join(capsys.readouterr().err.split())


@pytest.mark.parametrize("verb", ["report", "diagnose", "evaluate", "gates"])
def test_verbs_that_do_not_train_take_no_options_of_those_that_do(trained, capsys, verb):
    before = content(trained)
    found = fails(capsys, verb, trained, "--world.size", "1")
    assert f"`glocal {verb}` does not take --world.size" in found and f"`glocal {verb} {trained}` takes" in found
    assert f"`glocal run {trained} --world.size 1 --replace` trains again" in found
    assert "(global, local, policy)" in found and content(trained) == before


def test_status_with_options_says_what_they_would_change_and_keeps_none(trained, capsys):
    before = content(trained)
    glocal("status", trained, "--learn.gamma", "0.5")
    said = capsys.readouterr().out
    assert "policy    stale    the configuration of learn changed" in said and "global    done" in said
    assert content(trained) == before


def test_an_evaluation_with_its_own_options_sets_nothing_aside_that_was_trained(trained):
    glocal("evaluate", trained, "--evaluate.episodes", "2")
    assert json.loads((trained / "results.json").read_text())["episodes"] == 2
    assert status(open_run(trained))["policy"].state == "done"
    assert [path.name.partition("-")[2] for path in (trained / "previous").iterdir()] == ["evaluate"]


def test_options_that_would_make_another_trained_stage_stale_belong_to_that_stage(models, capsys):
    before = content(models)
    found = fails(capsys, "train", "local", models, "--world.size", "1")
    assert "`glocal train local` does not take --world.size" in found and "world.size is 0 there and 1 here" in found
    assert content(models) == before


@pytest.mark.parametrize(
    "command, options, again",
    [
        (("train", "policy"), "--policy-seed 1", "cloning, policy"),
        (("train", "cloning"), "--policy-seed 1", "cloning, policy"),
        (("train", "global"), "--world.size 1", "global, judge, local, policy"),
        (("collect",), "--seed 1", "collect, global, judge, local, cloning, policy"),
    ],
)
def test_an_option_of_several_trained_stages_is_refused_with_commands_that_work(
    tmp_path, capsys, command, options, again
):
    run = finished_run(tmp_path / "run")
    found = fails(capsys, *command, run.folder, *options.split())
    assert f"{options.split()[0]} is 0 there and 1 here" in found
    assert f"`glocal run {run.folder} {options} --replace` trains again what was trained with them ({again})" in found
    assert f"`glocal {' '.join(command)} {run.folder} {options} --replace` {command[-1]} alone" in found
    wanted = run_config(run, options)
    check_run(wanted, tuple(STAGES), replace=True)
    check_run(wanted, command[-1:], replace=True)


def run_config(run: Run, option: str) -> Run:
    """The run with one option, a whole number, that is another."""
    name, value = option.removeprefix("--").replace("-", "_").split()
    told = to_dict(run.config)
    *above, last = name.split(".")
    inner = reduce(lambda part, key: part[key], above, told)
    inner[last] = int(value)
    return Run(run.folder, from_dict(told, "a test"))


def test_an_option_that_nothing_trained_reads_is_asked_for_where_it_is_taken(tmp_path, capsys):
    run = finished_run(tmp_path / "run")
    found = fails(capsys, "report", run.folder, "--evaluate.episodes", "7")
    assert f"`glocal evaluate {run.folder} --evaluate.episodes 7` takes them" in found and "--replace" not in found


def test_a_second_process_with_other_options_changes_nothing(models, capsys):
    before = content(models)
    with alone(models):
        found = fails(capsys, "train", "local", models, "--surrogate.width", "32")
    assert "another glocal is at work" in found and content(models) == before


def test_an_attempt_that_was_begun_is_not_thrown_away_either(models, tmp_path, capsys):
    folder = shutil.copytree(models, tmp_path / "run", symlinks=True)
    stamp = folder / "stages" / "global.json"
    plan = json.loads(stamp.read_text())["plan"]
    stamp.with_name("global.attempt.json").write_text(json.dumps({"plan": plan, "seconds": 1.0}))
    stamp.unlink()  # as if it had been cut off after its last checkpoint
    begun = (folder / "global" / "last" / "model.safetensors").read_bytes()
    assert "trained" in fails(capsys, "train", "global", folder, "--world-fit.updates", "30")
    glocal("train", "global", folder, "--world-fit.updates", "30", "--replace")
    (kept,) = (folder / "previous").iterdir()
    assert (kept / "global" / "last" / "model.safetensors").read_bytes() == begun


def test_what_was_trained_by_other_code_stays_and_is_said_to_be_usable(trained, capsys):
    stamp = trained / "stages" / "policy.json"
    told = json.loads(stamp.read_text())
    stamp.write_text(json.dumps({**told, "plan": {**told["plan"], "code": "of yesterday"}}))
    before = content(trained)
    found = fails(capsys, "run", trained)
    assert "policy: " in found and "code" in found and "it stays usable" in found and "glocal evaluate" in found
    assert content(trained) == before


def test_folders_in_previous_are_never_shared(tmp_path):
    places = []
    for number in range(3):
        (tmp_path / "policy").write_text(str(number))
        places.append(set_aside(tmp_path, "policy", ["policy", "nothing"]))
    assert [(place / "policy").read_text() for place in places if place] == ["0", "1", "2"]


@pytest.mark.parametrize("is_folder", [False, True])
def test_an_output_and_a_record_of_one_name_are_both_kept(tmp_path, is_folder):
    (tmp_path / "stages").mkdir()
    (tmp_path / "stages" / "gates.json").write_text("a stamp")
    output = tmp_path / "gates.json" / "inside" if is_folder else tmp_path / "gates.json"
    output.parent.mkdir(exist_ok=True)
    output.write_text("measured")
    place = set_aside(tmp_path, "gates", ["gates.json", "stages/gates.json"])
    assert place is not None and (place / "stages" / "gates.json").read_text() == "a stamp"
    assert (place / output.relative_to(tmp_path)).read_text() == "measured"


def test_what_a_killed_process_had_half_written_is_removed_and_what_another_writes_is_not(tmp_path):
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    (tmp_path / "link").symlink_to(tmp_path.parent)
    drafts = {
        f"policy/.00000400.{ended.pid}.part/model.safetensors": False,
        f"data.recording/.000001.npz.{ended.pid}.part": False,
        f".config.json.{os.getpid()}.part": False,
        f"policy/.00000400.{os.getppid()}.part": True,
        f"previous/x-policy/.00000400.{ended.pid}.part": True,
        f"policy/00000400.{ended.pid}.part": True,
        f"policy/.{ended.pid}.part": True,
        "policy/.notes.0.part": True,
    }
    for name in drafts:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("half")
    with alone(tmp_path):
        assert {name: (tmp_path / name).exists() for name in drafts} == drafts
    assert not (tmp_path / "policy" / f".00000400.{ended.pid}.part").exists()


def _linked(path: Path) -> None:
    model = path.with_name("model.safetensors")
    model.write_text("weights")
    path.symlink_to(model)


@pytest.mark.parametrize("make", [_linked, os.mkfifo, Path.mkdir, lambda path: path.symlink_to("nowhere")])
def test_what_stands_in_the_place_of_the_lock_is_refused_and_left_as_it_is(tmp_path, make):
    (tmp_path / "stages").mkdir()
    make(tmp_path / "stages" / "lock")
    before = content(tmp_path)
    with pytest.raises(UserError, match=r"stages/lock is no plain file.*remove it"), alone(tmp_path):
        pass
    assert content(tmp_path) == before


@pytest.mark.parametrize("make", [Path.touch, os.mkfifo, lambda path: path.symlink_to("nowhere")])
def test_where_nothing_can_be_set_aside_nothing_is_moved(tmp_path, make):
    (tmp_path / "policy").write_text("trained")
    make(tmp_path / "previous")
    with pytest.raises(UserError, match=r"cannot write to .*previous: (not a directory|file exists)"):
        set_aside(tmp_path, "policy", ["policy"])
    assert (tmp_path / "policy").read_text() == "trained"


BOUND = ["setpriv", "--bounding-set=-dac_override,-dac_read_search"] if os.geteuid() == 0 else []
"""Root may write anywhere; without these capabilities it is bound by the bits as everybody is."""


@pytest.mark.skipif(bool(BOUND) and shutil.which("setpriv") is None, reason="root is not bound by permission bits")
@pytest.mark.parametrize(
    "verb, code, said",
    [("status", 0, "policy    done"), ("run", 0, "done before, skipped"), ("evaluate", 2, "cannot write to")],
)
def test_what_is_finished_can_be_looked_at_where_nothing_can_be_written(trained, verb, code, said):
    folders = [trained, *(path for path in trained.rglob("*") if path.is_dir())]
    for path in (*folders, trained / "stages" / "lock"):
        path.chmod(path.stat().st_mode & ~0o222)
    command = [*BOUND, sys.executable, "-m", "glocal", verb, str(trained)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT)
    for path in folders:
        path.chmod(0o755)
    assert done.returncode == code and said in done.stdout + done.stderr, done.stderr
    assert "Traceback" not in done.stderr


def test_a_stored_configuration_is_what_the_last_accepted_options_say(trained):
    glocal("evaluate", trained, "--evaluate.episodes", "3")
    stored = json.loads((trained / "config.json").read_text())
    assert from_dict(stored, "a test").evaluate.episodes == 3
