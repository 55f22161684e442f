"""Hostile inputs, all of a table in one process of its own; tests ask what came of each."""

import json
import os
import re
import subprocess
import sys
from functools import lru_cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from tests.hostile.attempt import ROOM, SECONDS
from tests.hostile.case import Case

ROOT = Path(__file__).parent.parent.parent


@lru_cache
def tried(module: str) -> dict[str, Any]:
    """What came of the cases of a module, by name."""
    with TemporaryDirectory(prefix="glocal-hostile-") as folder:
        done = subprocess.run(
            [sys.executable, "-m", "tests.hostile.attempt", module, folder],
            cwd=ROOT, env={**os.environ, "OMP_NUM_THREADS": "1"}, stdout=subprocess.PIPE, check=True, timeout=600,
        )  # fmt: skip
    return json.loads(done.stdout)


def holds(case: Case, found: dict[str, Any]) -> None:
    """Assert that each verb refused a case in the sentence that was expected, and changed nothing; or read it."""
    for verb, one in found["verbs"].items():
        if case.words is None:
            assert one["status"] == 0, (verb, one)
            continue
        assert one["status"] == 2, (verb, one)
        sentence = one["said"].strip().splitlines()[-1]
        assert sentence.startswith("glocal: ") and re.search(case.words, sentence), (verb, sentence)
        assert len(sentence) < 1500 and sentence.isprintable()
        assert one["seconds"] < SECONDS
    if case.words is not None:
        assert found["changed"] == []
    assert all(name.startswith("out ") for name in found["changed"])
    assert found["taken"] < ROOM
