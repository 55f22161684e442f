"""Small tensors are fastest on one thread; shapes in signatures are checked while testing.

Fuzzing takes the same few examples every time, so that a run that passed passes again. To look for new damage:
`pytest tests/data/test_formats.py -k damage --hypothesis-profile long`.
"""

import os
from pathlib import Path

os.environ["OMP_NUM_THREADS"] = "1"  # of what tests start, too: beside another worker two threads are slower than one

import pytest
import torch
from hypothesis import HealthCheck, settings
from jaxtyping import config, install_import_hook

settings.register_profile(
    "few", max_examples=16, derandomize=True, deadline=None, suppress_health_check=list(HealthCheck)
)
settings.register_profile("long", settings.get_profile("few"), max_examples=2000, derandomize=False)
settings.load_profile("few")
torch.set_num_threads(1)
install_import_hook(["glocal.core", "glocal.models"], "beartype.beartype").__enter__()

BY_HAND = ("core", "models", "test_contracts.py", "test_golden.py", "test_devices.py")
"""Where shapes are checked: tests of single parts. Whole runs call the same parts ten thousand times."""
LONGEST = (
    "test_run.py",
    "test_robot_images.py",
    "test_compare.py",
    "test_benchmarks.py",
    "test_devices.py",
    "test_team.py",
)
"""Begun first, so that no worker is left with one of them at the end, when the others have nothing to do."""
LONG = ("test_improve.py",)
"""Of these, what learns for minutes; `test_devices.py` runs it for every preset."""


def pytest_collection_modifyitems(items):
    """The files that take longest first; all else stays in its order."""
    items.sort(key=lambda item: item.path.name not in LONGEST)


@pytest.fixture(autouse=True, scope="module")
def shapes(request):
    """Check shapes, or spare a whole run the fifth of its time that this takes."""
    names = request.path.relative_to(Path(__file__).parent).parts
    config.update("jaxtyping_disable", names[-1] in LONG or not set(BY_HAND) & set(names))
