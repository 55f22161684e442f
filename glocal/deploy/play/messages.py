"""What the page and the server tell each other, as JSON, how much of it is heeded, and by whom it may be said."""

import base64
import io
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from PIL import Image

from glocal.deploy.controllers import Array
from glocal.deploy.play.game import Frame, Side, Wish

FLAGS = ("policy", "record", "real")
QUALITY = 90
"""Of JPEG pictures."""
SHOWN = 256
"""Numbers of one field that are shown at most."""


class MalformedError(ValueError):
    """A message that says nothing that can be done."""


def longest_message(action_dim: int) -> int:
    """Bytes of the longest message that is read."""
    return 256 + 32 * action_dim


def heeded(wish: Wish, text: str, action_dim: int, starts: int) -> Wish:
    """What a session wants after a message: an object with any of `n`, its number, `action`, numbers that are clipped
    to -1 and 1, `start`, where to begin an episode, and the flags; raises `MalformedError` where it is none."""
    try:
        told = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise MalformedError("expected JSON") from error
    if not isinstance(told, dict) or not told.keys() <= {"n", "action", "start", *FLAGS}:
        raise MalformedError("expected an object of n, action, start, policy, record and real")
    changes: dict[str, Any] = {name: _flag(told[name]) for name in FLAGS if name in told}
    if "n" in told:
        changes["number"] = _whole(told["n"], 2**53)
    if "action" in told:
        changes["action"] = _action(told["action"], action_dim)
    if "start" in told:
        changes |= {"start": _whole(told["start"], starts), "begun": wish.begun + 1}
        changes.setdefault("action", None)
    return replace(wish, **changes)


def _flag(value: Any) -> bool:
    if not isinstance(value, bool):
        raise MalformedError(f"expected true or false for {', '.join(FLAGS)}")
    return value


def _whole(value: Any, end: int) -> int:
    if type(value) is not int or not 0 <= value < end:
        raise MalformedError(f"expected a whole number from 0 to {end - 1}")
    return value


def _action(value: Any, action_dim: int) -> tuple[float, ...]:
    if not isinstance(value, list) or len(value) != action_dim or not all(type(x) in (int, float) for x in value):
        raise MalformedError(f"expected {action_dim} numbers for an action")
    try:
        found = [float(x) for x in value]
    except OverflowError:
        found = [math.inf]
    if not all(map(math.isfinite, found)):
        raise MalformedError("expected finite numbers for an action")
    return tuple(min(1.0, max(-1.0, x)) for x in found)


@dataclass
class Allowance:
    """So much a second may be used, and as much again as `burst` at once."""

    rate: float
    burst: float
    left: float = field(init=False)
    since: float = 0.0

    def __post_init__(self) -> None:
        self.left = self.burst

    def use(self, amount: float, now: float) -> bool:
        """Whether there was enough left at a time in seconds."""
        self.left = min(self.burst, self.left + self.rate * (now - self.since))
        self.since = now
        self.left -= amount
        return self.left >= 0


@dataclass(frozen=True)
class PlayConfig:
    """Limits of the sessions."""

    seats: int = 16
    fps: float = 10.0
    """Control steps a second, which are also frames."""
    silence: float = 10.0
    """Seconds after which a session that says nothing is closed."""
    burst: int = 40
    """Messages beyond five for each frame that a session may send at once."""

    @property
    def messages(self) -> Allowance:
        """That a session may send."""
        return Allowance(5 * self.fps, self.burst)


@dataclass(frozen=True)
class Page:
    """What the page is, and who may see it."""

    about: Mapping[str, Any]
    """What it is told first."""
    hosts: Sequence[str]
    """What it may be called in addresses, HOST:PORT."""
    token: str


def frame_text(frame: Frame) -> str:
    """A frame as the page reads it."""
    told: dict[str, Any] = {
        "n": frame.number,
        "step": frame.step,
        "start": frame.start,
        "action": _numbers(frame.action),
        "reward": round(frame.reward, 4),
        "total": round(frame.total, 3),
        "policy": frame.policy,
        "recorded": frame.recorded,
        "alone": frame.alone,
        "note": frame.note,
        **_side(frame.picture, frame.numbers),
    }
    if frame.real is not None:
        told["real"] = _real(frame.real)
    return json.dumps(told)


def _real(side: Side) -> dict[str, Any]:
    reward = None if side.reward is None else round(side.reward, 4)
    return {**_side(side.picture, side.numbers), "reward": reward, "success": side.success}


def _side(picture: Array | None, numbers: Mapping[str, Array]) -> dict[str, Any]:
    told = {name: _numbers(x) for name, x in numbers.items()}
    return {"picture": None if picture is None else data_url(picture), "numbers": told}


def _numbers(x: Array) -> list[float | None]:
    """At most `SHOWN` of them, to four digits; what is not finite is null, as JSON has no word for it."""
    flat = np.asarray(x, np.float64).reshape(-1)[:SHOWN].tolist()
    return [float(f"{one:.4g}") if math.isfinite(one) else None for one in flat]


def data_url(picture: Array) -> str:
    """A picture (h, w, 3) as an address that holds it."""
    file = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(picture)).save(file, "JPEG", quality=QUALITY, subsampling=0)
    return "data:image/jpeg;base64," + base64.b64encode(file.getvalue()).decode()
