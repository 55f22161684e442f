"""When a run's `config.json` is damaged: the command that writes it anew, as stages that are done were made."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from glocal.pipeline.config import Config, flat, from_dict, rooted, to_dict, typed
from glocal.pipeline.plan import STAGES
from glocal.pipeline.presets import PRESETS
from glocal.pipeline.stamps import DamagedError, read_stamp
from glocal.runtime.files import UnreadableError, UserError, read_json
from glocal.runtime.progress import quoted


def read_config(folder: Path) -> Config:
    """A run's configuration; raises `UserError` that says how to write it anew where it is damaged."""
    path = folder / "config.json"
    try:
        return rooted(from_dict(_told(path), path))
    except UnreadableError:
        raise
    except UserError as error:
        raise UserError(
            f"{error}. `{again(folder)}` writes it anew: stages that were done with the same options are recognised by "
            "their stamps, and not done again"
        ) from error


def _told(path: Path) -> Mapping[str, Any]:
    try:
        values = read_json(path)
    except UnreadableError:
        raise
    except UserError:
        values = None
    if not isinstance(values, dict) or not {"preset", "seed", "task"} <= set(values):
        raise UserError(f"{path} is damaged: it holds no configuration")
    return values


def again(folder: Path) -> str:
    """The command that goes on with a run as its latest stage was made, as far as a stamp says that."""
    made = _made_with(folder)
    preset = str(made.get("preset"))
    if preset not in PRESETS:
        return f"glocal run PRESET --run {quoted(folder)}"
    usual = dict(flat(json.loads(json.dumps(to_dict(PRESETS[preset])))))
    untold = ("task.mapping.",)  # the logs tell it
    untold += ("after",)  # it stands first
    begins = f"--after {quoted(made['after'])}" if made.get("after") else preset
    told = [
        typed(name, value)
        for name, value in flat(made)
        if name in usual and usual[name] != value and not name.startswith(untold) and not name.endswith("_type")
    ]
    return " ".join([f"glocal run {begins} --run {quoted(folder)}", *told])


def _made_with(folder: Path) -> Mapping[str, Any]:
    """The configuration that the latest stage was made with, or nothing."""
    for name in reversed(STAGES):
        try:
            stamp = read_stamp(folder, name)
        except DamagedError:
            continue
        if stamp is not None:
            return stamp.config
    return {}
