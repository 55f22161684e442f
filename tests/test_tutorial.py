"""docs/own_data.md works as it stands there, with everything shrunk."""

import json
import re
import shlex
from pathlib import Path

import pytest

from glocal.cli import main
from glocal.data.formats import open_dataset
from tests.logs import EPISODES, ROOT, STEPS, script

BLOCKS = re.findall(r"^```sh\n(.*?)^```$", (ROOT / "docs" / "own_data.md").read_text(), re.MULTILINE | re.DOTALL)
SHRUNK = {
    "record_logs.py": f"--episodes {EPISODES} --steps {STEPS}",
    "data label": "--preset pusht-debug --threads 1",
    "run pusht": "--held-out 0.3",
    "doctor out/by-goal": "--updates 5",
    "--imagined 6": "--control-steps 10",
}
"""What is added to the commands in which these words stand."""


@pytest.fixture(scope="module")
def walked(tmp_path_factory) -> Path:
    """The folder `out` after every command of the tutorial."""
    out = tmp_path_factory.mktemp("tutorial")
    for line in "".join(BLOCKS).splitlines():
        more = " ".join(options for words, options in SHRUNK.items() if words in line)
        small = f"{line} {more}".replace("run pusht ", "run pusht-debug ").replace("out/", f"{out}/")
        program, *words = shlex.split(small)
        if program == "python":
            script(Path(words[0]).stem, *words[1:])
        else:
            main(words)
    return out


def test_it_leads_to_a_verdict(walked):
    results = json.loads((walked / "mine" / "results.json").read_text())
    assert results["policy"]["pose"]["n"] == 4 and "play" not in results
    found = json.loads((walked / "doctor.json").read_text())["findings"]
    assert all(one["verdict"] != "fail" for one in found)


def test_the_doctors_findings_are_in_the_report_and_say_whether_it_is_enough(walked):
    findings = json.loads((walked / "mine" / "doctor.json").read_text())["findings"]
    assert {"lengths", "camera", "delay", "enough"} <= {one["name"] for one in findings}
    assert "images follow actions" in (walked / "mine" / "report.html").read_text()


def test_labels_and_imagined_episodes_are_datasets(walked):
    for name in ("by-goal", "by-marks"):
        dataset = open_dataset(walked / name)
        assert len(dataset) == EPISODES and "next.success" in dataset.features
        assert (walked / name / "meta" / "labels.html").is_file()
    assert list(open_dataset(walked / "imagined").lengths) == [10] * 6
    assert (walked / "logs.png").stat().st_size > 1000 and (walked / "imagined.png").stat().st_size > 1000
