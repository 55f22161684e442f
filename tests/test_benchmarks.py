"""The benchmarks run and print their figures."""

import subprocess
import sys
from pathlib import Path


def test_speed_prints_its_shares():
    script = Path(__file__).parent.parent / "benchmarks" / "speed.py"
    command = [sys.executable, str(script), "pusht-keypoints-debug", "--iterations", "2", "--learn.horizon", "3"]
    printed = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    assert "iteration / global rollout" in printed and "critics" in printed and "horizon 3" in printed
