"""Small robot logs of Push-T for tests: made by runs/record_logs.py, once in a session."""

import os
import shutil
import subprocess
import sys
from functools import lru_cache
from pathlib import Path
from tempfile import mkdtemp

ROOT = Path(__file__).parent.parent
EPISODES, STEPS = 10, 100


def script(name: str, *arguments: object) -> None:
    """Run a script of runs/."""
    subprocess.run(
        [sys.executable, ROOT / "runs" / f"{name}.py", *map(str, arguments)], check=True, capture_output=True
    )


def bench(*arguments: object, **env: str) -> None:
    """`glocal bench ...`, in a process of its own: how MuJoCo draws is settled when it is imported."""
    command = [sys.executable, "-c", "from glocal.cli import main; main()", "bench", *map(str, arguments)]
    subprocess.run(command, check=True, capture_output=True, env=os.environ | env)


@lru_cache(maxsize=1)
def _made() -> Path:
    folder = Path(mkdtemp(prefix="glocal-logs-"))
    script("record_logs", folder / "logs", "--episodes", EPISODES, "--steps", STEPS)
    script("mark_frames", folder / "logs.truth.csv", folder / "marks.csv", "--episodes", EPISODES, "--each", 6)
    return folder


def small_logs(folder: Path) -> Path:
    """A copy of `logs`, with `logs.truth.csv`, `logs.goals` and `marks.csv` beside it."""
    shutil.copytree(_made(), folder, dirs_exist_ok=True)
    return folder / "logs"
