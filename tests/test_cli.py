"""The command line itself: its help fits a screen, and it says what it is."""

import errno
import re
import shlex
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import pytest

from glocal import cli
from glocal.cli import LOGS, TRAINED, VERBS, main
from glocal.pipeline.presets import PRESETS
from glocal.pipeline.usage import CHOSEN, MEANT
from glocal.tasks.pusht import PushTConfig

ROOT = Path(__file__).parent.parent
TRAINING = [f"train {stage}" for stage in TRAINED]
ASKED = [verb for verb in VERBS if verb not in ("train", "bench", "data", "export", "rollout", "play")] + TRAINING


def printed(capsys, line: str) -> str:
    with pytest.raises(SystemExit) as stopped:
        main(line.split())
    assert stopped.value.code == 0
    return capsys.readouterr().out


@pytest.mark.parametrize("preset", ["pusht-keypoints", "pusht-grid"])
@pytest.mark.parametrize("verb", ASKED)
def test_help_fits_a_screen_and_names_options_with_their_defaults(capsys, verb, preset):
    lines = printed(capsys, f"{verb} {preset} --help").splitlines()
    assert len(lines) <= 60 and max(map(len, lines)) <= 120 and any("--help-all" in line for line in lines)
    shown = CHOSEN[verb.removeprefix("train ")]
    assert all(
        any(f"--{name.replace('_', '-')} " in line for line in lines)
        for name in shown
        if name in ("seed", "learn.gamma")
    )


def test_chosen_options_are_options_and_all_are_explained():
    for names in CHOSEN.values():
        assert set(names) <= set(MEANT)
    for name in MEANT:
        found: object = PRESETS["pusht-keypoints"]
        for part in name.split("."):
            found = vars(found)[part]


def test_help_says_of_a_flag_what_it_does_as_it_is_typed(capsys):
    pusht = {name: config for name, config in PRESETS.items() if isinstance(config.task, PushTConfig)}
    for preset, config in pusht.items():
        lines = printed(capsys, f"collect {preset} --help").splitlines()
        (agent,) = [line for line in lines if "task.agent" in line or "task.no-agent" in line]
        (images,) = [line for line in lines if "task.images" in line or "task.no-images" in line]
        assert ("--task.no-agent" in agent) == ("do not observe" in agent) == config.task.agent
        assert ("--task.no-images" in images) == ("observe tracked keypoints" in images) == config.task.images


@pytest.mark.parametrize("option", ["--surrogate.smoothing", "--learn.final-target-entropy", "--replace"])
def test_help_all_lists_every_option(capsys, option):
    assert option in printed(capsys, "train policy pusht-keypoints --help-all")


@pytest.mark.parametrize("verb", ["inspect", "preview", "doctor", "convert", "merge", "split", "export"])
def test_help_for_data_fits_a_screen_too(capsys, verb):
    assert len(printed(capsys, f"data {verb} --help").splitlines()) <= 60


@pytest.mark.parametrize("line, found", [("data", "found nothing"), ("data bogus", "found 'bogus'")])
def test_without_a_verb_data_says_which_there_are(capsys, line, found):
    with pytest.raises(SystemExit) as stopped:
        main(line.split())
    said = " ".join(capsys.readouterr().err.split())
    assert stopped.value.code == 2 and found in said and all(verb in said for verb in LOGS)


def test_all_verbs_of_data_have_a_help(capsys):
    for verb in LOGS:
        assert verb in printed(capsys, f"data {verb} --help")


@pytest.mark.parametrize("way", ["column", "table", "function", "goal", "classifier", "tracker"])
def test_help_for_labels_fits_a_screen_too(capsys, way):
    assert len(printed(capsys, f"data label {way} --help").splitlines()) <= 60


def test_as_a_module_it_tells_its_version():
    command = [sys.executable, "-m", "glocal", "--version"]
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT)
    assert done.stdout == f"glocal {version('glocal')}\n"


def test_flags_are_spelt_in_pages_and_scripts_as_they_are_taken():
    pages = [*ROOT.glob("*.md"), *ROOT.glob("docs/*.md"), *ROOT.glob("runs/*.sh"), *ROOT.glob("glocal/**/*.py")]
    for page in pages:
        assert not re.search(r"--[\w.-]+ (True|False)\b", page.read_text()), page


def test_a_flag_is_taken_by_itself(tmp_path, capsys):
    main(shlex.split(f"collect pusht-keypoints-debug --run {tmp_path}/run --task.no-agent"))
    main(["status", f"{tmp_path}/run"])
    assert "collect   done" in capsys.readouterr().out


@pytest.mark.parametrize(
    "error, said",
    [
        (OSError(errno.ENOSPC, "No space left on device"), "no room to write (No space left on device); free some"),
        (PermissionError(errno.EACCES, "Permission denied", "some/file"), "cannot use some/file: permission denied"),
    ],
)
def test_what_the_system_refuses_is_a_sentence(monkeypatch, capsys, error, said):
    def refused(arguments: list[str]) -> None:
        raise error

    monkeypatch.setattr(cli, "_main", refused)
    with pytest.raises(SystemExit) as stopped:
        cli.main([])
    assert stopped.value.code == 2 and said in " ".join(capsys.readouterr().err.split())


def test_training_loads_no_reader_of_data_sets():
    """Their libraries would take 50 MiB of every training process."""
    said = "import sys, glocal.pipeline.presets, glocal.pipeline.build; print({'pyarrow', 'av'} & set(sys.modules))"
    found = subprocess.run([sys.executable, "-c", said], check=True, capture_output=True, text=True)
    assert found.stdout.strip() == "set()"
