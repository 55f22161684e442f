"""Marking frames by hand: a page on this machine alone, driven by the keyboard, that shows one frame after another."""

import csv
import io
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Lock
from typing import Any
from urllib.parse import parse_qs, urlsplit

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from glocal.files import UserError, appearing

COLUMNS = ("episode", "frame", "success")
PAGE = (Path(__file__).parent / "marking.html").read_text(encoding="utf-8")
ANSWER = 64_000
"""Bytes of the longest message that is read."""


@dataclass
class Marks:
    """Which frames are a success and which are none: a csv file that is whole after every mark."""

    path: Path
    found: dict[tuple[int, int], bool] = field(default_factory=dict)
    lock: Lock = field(default_factory=Lock)

    @classmethod
    def open(cls, path: Path) -> "Marks":
        """The marks in a file; none where there is no file yet."""
        return cls(path, read_marks(path) if path.is_file() else {})

    def mark(self, episode: int, frame: int, success: bool | None) -> None:
        """Mark a frame, or with None take its mark back."""
        with self.lock:
            self.found.pop((episode, frame), None)
            if success is not None:
                self.found[episode, frame] = success
            with appearing(self.path) as draft, draft.open("w", newline="", encoding="utf-8") as file:
                rows = [(*where, int(good)) for where, good in sorted(self.found.items())]
                csv.writer(file).writerows([COLUMNS, *rows])


def read_marks(path: Path) -> dict[tuple[int, int], bool]:
    """Marked frames: (episode, frame) to whether it is a success."""
    try:
        with path.open(newline="", encoding="utf-8") as file:
            rows = list(csv.DictReader(file, strict=True))
        return {(int(row["episode"]), int(row["frame"])): bool(int(row["success"])) for row in rows}
    except (OSError, ValueError, KeyError, TypeError, csv.Error) as error:
        raise UserError(
            f"{path} does not read as marks ({error!r}); expected a csv with {', '.join(COLUMNS)}"
        ) from error


class Server(ThreadingHTTPServer):
    """Serves the page to this machine alone: `serve_forever`, until its `q` ends that. Port 0 is any that is free."""

    def __init__(self, marks: Marks, lengths: Sequence[int], frame: Callable[[int, int], NDArray[np.uint8]], port: int):
        super().__init__(("127.0.0.1", port), Answers)
        self.marks, self.lengths, self.frame = marks, lengths, frame

    def state(self) -> dict[str, Any]:
        """What the page shows: the lengths of all episodes, and every mark."""
        found = [[*where, good] for where, good in sorted(self.marks.found.items())]
        return {"lengths": list(self.lengths), "marks": found}

    def holds(self, told: Mapping[str, Any]) -> bool:
        """Whether there is such a frame."""
        episode, frame = told.get("episode"), told.get("frame")
        if type(episode) is not int or type(frame) is not int:
            return False
        return 0 <= episode < len(self.lengths) and 0 <= frame < self.lengths[episode]


class Answers(BaseHTTPRequestHandler):
    """Answers the page."""

    server: Server  # pyright: ignore[reportIncompatibleVariableOverride]

    def do_GET(self) -> None:
        place = urlsplit(self.path)
        if place.path == "/":
            self._answer("text/html; charset=utf-8", PAGE.encode())
        elif place.path == "/state":
            self._answer_json(self.server.state())
        elif place.path == "/frame":
            self._show(parse_qs(place.query))
        else:
            self.send_error(404)

    def do_POST(self) -> None:
        told = self._told()
        if told is None or not self._is_own_page():
            self.send_error(400)
        elif self.path == "/done":
            self._answer_json({})
            self.server.shutdown()
        elif self.path == "/mark" and self.server.holds(told) and told.get("success") in (True, False, None):
            self.server.marks.mark(told["episode"], told["frame"], told.get("success"))
            self._answer_json(self.server.state())
        else:
            self.send_error(400)

    def _is_own_page(self) -> bool:
        """Whether this page asks, and not another one that is open in the same browser."""
        host = self.headers.get("Host", "")
        return self.headers.get("Origin", f"http://{host}") == f"http://{host}"

    def _told(self) -> dict[str, Any] | None:
        try:
            told = json.loads(self.rfile.read(min(ANSWER, int(self.headers.get("Content-Length", 0)))))
        except ValueError:
            return None
        return told if isinstance(told, dict) else None

    def _show(self, query: Mapping[str, list[str]]) -> None:
        try:
            where = {name: int(query[name][0]) for name in ("episode", "frame")}
        except (KeyError, ValueError):
            return self.send_error(400)
        if not self.server.holds(where):
            return self.send_error(404)
        picture = io.BytesIO()
        Image.fromarray(self.server.frame(where["episode"], where["frame"])).save(picture, "PNG")
        self._answer("image/png", picture.getvalue())

    def _answer_json(self, value: Any) -> None:
        self._answer("application/json", json.dumps(value).encode())

    def _answer(self, kind: str, body: bytes) -> None:
        self.send_response(200)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Cache-Control", "no-store")
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing is said of requests."""
