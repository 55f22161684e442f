"""The mapping beside a dataset, of whichever kind: of a planar robot with a camera, or of any robot's streams."""

import json
from pathlib import Path
from typing import Any

from glocal.data import mapping, streams
from glocal.data.mapping import Mapping
from glocal.data.streams import RobotMapping
from glocal.runtime.files import write_json

AnyMapping = Mapping | RobotMapping


def load(path: Path) -> AnyMapping:
    """The mapping in a file; raises `UserError` where it is none."""
    values = mapping.values_in(path)
    return streams.from_dict(values, path) if tells_streams(values) else mapping.from_dict(values, path)


def tells_streams(values: Any) -> bool:
    """Whether a file's values are of a mapping of streams, right or wrong."""
    return isinstance(values, dict) and "streams" in values and "camera" not in values


def save(path: Path, known: AnyMapping) -> None:
    """Write a mapping."""
    write_json(path, _plain(known))


def text(known: AnyMapping) -> str:
    """A mapping as its file holds it, each of its entries in a line."""
    entries = (f"  {json.dumps(name)}: {json.dumps(value)}" for name, value in _plain(known).items())
    return "{\n" + ",\n".join(entries) + "\n}"


def _plain(known: AnyMapping) -> dict[str, Any]:
    return streams.to_dict(known) if isinstance(known, RobotMapping) else mapping.to_dict(known)
