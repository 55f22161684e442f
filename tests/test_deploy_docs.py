"""docs/deploy.md works as it stands there, with everything shrunk."""

import re
import shlex
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from glocal.cli import main
from glocal.data.formats import open_dataset
from tests.logs import ROOT

TEXT = (ROOT / "docs" / "deploy.md").read_text()
COMMANDS = "".join(re.findall(r"^```sh\n(.*?)^```$", TEXT, re.MULTILINE | re.DOTALL)).splitlines()
PYTHON = re.findall(r"^```python\n(.*?)^```$", TEXT, re.MULTILINE | re.DOTALL)
SHRUNK = {
    "--episodes 10": "--control-steps 5",
    "--robot logs": "--control-steps 5",
    "--robot my_arm": "--control-steps 3",
    "--steps 200000": "--steps 256 --envs 16",
    "--steps 1000000": "--steps 512 --envs 16",
    "--iterations 200": "--iterations 1 --envs 16",
    "--actor": "--episodes 2",
}
"""What is added to the commands in which these words stand."""
ARM = """
    import numpy as np
    class Arm:
        def __init__(self, port):
            assert port == "/dev/ttyUSB0"
        def observe(self):
            return {"observation.state": np.full(2, 256.0), "observation.environment_state": np.full(16, 200.0)}
        def command(self, told):
            assert told["action"].shape == (2,)
        def stop(self):
            pass
"""


@pytest.fixture(scope="module")
def walked(tmp_path_factory) -> Path:
    """The folder in which every command of the page was typed, after all of them."""
    folder = tmp_path_factory.mktemp("walked")
    (folder / "my_arm.py").write_text(textwrap.dedent(ARM))
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        main(["run", "pusht-keypoints-debug", "--run", "out/mine", "--threads", "1", "--processes", "1"])
        main(["data", "export", "out/mine", "my/logs"])
        for line in COMMANDS:
            _typed(line)
    return folder


def _typed(line: str) -> None:
    more = " ".join(options for words, options in SHRUNK.items() if words in line)
    program, *words = shlex.split(f"{line} {more}")
    if program == "python":
        subprocess.run([sys.executable, str(ROOT / words[0]), *words[1:]], check=True, capture_output=True)
        return
    main(words)


def test_it_leads_to_a_bundle_logs_and_a_verdict(walked):
    assert (walked / "out" / "bundle" / "README.md").is_file()
    assert len(open_dataset(walked / "out" / "first")) == 1
    assert (walked / "out" / "mine" / "actors" / "actor.json").is_file()


def test_its_python_runs(walked, monkeypatch):
    runner, arm, vec = PYTHON
    monkeypatch.chdir(walked)
    monkeypatch.syspath_prepend(str(walked / "out" / "bundle"))
    seen: dict[str, Any] = {"observation.state": np.full(2, 9.0), "observation.environment_state": np.full(16, 9.0)}
    names: dict[str, Any] = {"observation": seen}
    exec(runner, names)
    assert names["told"]["action"].shape == (2,)
    exec(vec, names)
    assert names["reward"].shape == (64,)
    exec(arm, names)
    assert {"observe", "command", "stop"} <= set(dir(names["Arm"]))
