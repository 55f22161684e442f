"""Runs that look finished, made in a moment: every stage has left files and a stamp, and nothing was trained."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np

from glocal.data.store import seal, write_episode
from glocal.pipeline.config import Config, to_dict
from glocal.pipeline.plan import STAGES
from glocal.pipeline.presets import PRESETS
from glocal.pipeline.run_dir import Run
from glocal.pipeline.stamps import stamp_path, write
from glocal.pipeline.status import plan_of, stamped
from glocal.runtime.files import sha256, write_json

DEBUG = replace(PRESETS["pusht-keypoints-debug"], judge=0.3)

RATE = {"k": 0, "n": 1, "low": 0.0, "high": 1.0}
RESULTS = {"episodes": 1, "imagined_steps": 1, "policy": {"pose": RATE, "coverage95": RATE}}


def finished_run(folder: Path, config: Config = DEBUG) -> Run:
    """A run whose models are files with a few bytes in them."""
    run = Run(folder, config)
    write_json(folder / "config.json", to_dict(config))
    for number in range(4):
        write_episode(folder / "data", number, {"action": np.zeros((3, 2), np.float32)})
    seal(folder / "data", {})
    for stage in STAGES.values():
        for name in stage.leaves:
            if "*" not in name and not name.startswith("data/"):
                (folder / name).parent.mkdir(parents=True, exist_ok=True)
                (folder / name).write_text(json.dumps(RESULTS) if name == "results.json" else f"what {name} holds")
        stamp = stamped(run, stage, plan_of(run, stage, sha256), 1.5, "today", sha256)
        write(stamp_path(folder, stage.name), stamp)
    return run
