"""docs/own_robot.md works as it stands there, with everything shrunk."""

import json
import re
import shlex
from pathlib import Path

import pytest

from glocal.cli import main
from glocal.data.formats import open_dataset
from tests.logs import ROOT, script

BLOCKS = re.findall(r"^```sh\n(.*?)^```$", (ROOT / "docs" / "own_robot.md").read_text(), re.MULTILINE | re.DOTALL)
SHRUNK = {
    "record_arms.py": "--episodes 12 --steps 160",
    "doctor out/arms --run": "--updates 3",
    "data doctor": "--processes 1",
    "run robot": "--threads 1 --processes 1 --held-out 0.3",
    "--imagined 6": "--control-steps 10",
}
"""What is added to the commands in which these words stand."""


@pytest.fixture(scope="module")
def walked(tmp_path_factory) -> Path:
    """The folder `out` after every command of the page."""
    out = tmp_path_factory.mktemp("arms")
    for line in "".join(BLOCKS).splitlines():
        more = " ".join(options for words, options in SHRUNK.items() if words in line)
        small = re.sub(r"run (robot\S*) ", r"run \1-debug ", f"{line} {more}")
        program, *words = shlex.split(small.replace("out/", f"{out}/"))
        script(Path(words[0]).stem, *words[1:]) if program == "python" else main(words)
    return out


def test_the_mapping_has_all_joints_as_targets_at_a_divisor_of_the_rate(walked):
    mapping = json.loads((walked / "arms" / "glocal.json").read_text())
    assert [stream["name"] for stream in mapping["streams"]] == ["state"] and mapping["rate"] == 12.5
    (part,) = mapping["action"]
    assert part["kind"] == "absolute" and part["columns"] == list(range(14))
    assert all(-1.7 < low < high < 1.7 for low, high in zip(part["low"], part["high"], strict=True))


def test_the_report_says_that_nobody_was_asked_and_what_is_not_used(walked):
    page = (walked / "arms-run" / "report.html").read_text()
    assert "not asked: there is no environment" in page and "nothing moves: state" in page
    findings = json.loads((walked / "arms-run" / "doctor.json").read_text())["findings"]
    assert all(one["verdict"] != "fail" for one in findings)
    unused = [one["found"] for one in findings if one["name"] == "unused"]
    assert unused == [f"observation.images.{name} is not used (pictures)" for name in ("top", "wrist")]


def test_imagined_episodes_are_of_the_robots_own_features(walked):
    dataset = open_dataset(walked / "arms-imagined")
    assert list(dataset.lengths) == [10] * 6 and dataset.fps == 12.5
    assert {name: dataset.features[name].shape for name in ("observation.state", "action")} == {
        "observation.state": (14,), "action": (14,)
    }  # fmt: skip


def test_labels_are_read_by_the_mapping_beside_them(walked):
    for name, success in (("posture", "next.success"), ("gripper", None), ("seen", "next.success")):
        mapping = json.loads((walked / f"arms-{name}" / "glocal.json").read_text())
        assert (mapping["reward"], mapping["success"]) == ("next.reward", success) and mapping["rate"] == 12.5
    best = open_dataset(walked / "arms-posture").episode(0, ["next.reward"])["next.reward"]
    assert best[23, 0] == max(best) == 1


def test_the_doctor_says_whether_logs_are_enough(walked):
    findings = json.loads((walked / "arms-run" / "doctor.json").read_text())["findings"]
    assert "is forecast with 16" in next(one["found"] for one in findings if one["name"] == "enough")


def test_both_cameras_are_seen_where_pictures_are(walked):
    gates = json.loads((walked / "arms-seen-run" / "gates.json").read_text())
    assert set(gates["cameras"]) == {"top", "wrist"}
    findings = json.loads((walked / "arms-seen-run" / "doctor.json").read_text())["findings"]
    assert not [one for one in findings if one["name"] == "unused"]
