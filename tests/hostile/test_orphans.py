"""Processes that a killed glocal leaves behind: none."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

POOL = """
import os, sys, time
from glocal.data.workers import workers
if __name__ == "__main__":
    pool = workers(2)
    print(*{pool.submit(os.getpid).result() for _ in range(4)}, flush=True)
    busy = [pool.submit(time.sleep, 600) for _ in range(int(sys.argv[1]))]
    time.sleep(600)
"""
ASIDE = """
import sys, time
sys.path.insert(0, sys.argv[1])
from pathlib import Path
from glocal.data.formats.aside import Aside
from slow import opened
if __name__ == "__main__":
    dataset = Aside(opened, Path("."))
    print(dataset.lengths[0], flush=True)
    dataset.episode(0, [])
"""
SLOW = """
import os, time
class Slow:
    format, fps, features, lengths = "slow", None, {}, [os.getpid()]
    observed = lengths
    def episode(self, number, names):
        time.sleep(600)
def opened(path):
    return Slow()
"""


def alive(pid: int) -> bool:
    """Whether a process is there and has not ended (an orphan that has may wait to be buried)."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def left_by(script: str, folder: Path, argument: str, environment: dict[str, str]) -> list[int]:
    """Kill a script when it has told its children's ids; those that are still there when all patience is at an end."""
    (folder / "script.py").write_text(script)
    command = [sys.executable, folder / "script.py", argument]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment)
    assert process.stdout is not None
    children = [int(word) for word in process.stdout.readline().split()]
    assert children and all(map(alive, children))
    process.send_signal(signal.SIGKILL)
    process.wait()
    until = time.monotonic() + 20
    while time.monotonic() < until and any(map(alive, children)):
        time.sleep(0.02)
    return [pid for pid in children if alive(pid)]


@pytest.fixture
def environment(tmp_path) -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": f"{Path(__file__).parent.parent.parent}:{tmp_path}"}


@pytest.mark.parametrize("busy", [0, 2])
def test_workers_end_when_the_process_that_started_them_is_killed(tmp_path, environment, busy):
    assert left_by(POOL, tmp_path, str(busy), environment) == []


def test_a_dataset_that_is_read_aside_is_let_go_when_its_reader_is_killed(tmp_path, environment):
    (tmp_path / "slow.py").write_text(SLOW)
    assert left_by(ASIDE, tmp_path, str(tmp_path), environment) == []
