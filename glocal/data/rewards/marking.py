"""Marking frames by hand: a page on this machine alone, driven by the keyboard, that shows one frame after another.

Whoever else reaches the port (another user, a page of another site that is open in the browser) has no token, and is
told nothing.
"""

import csv
import hmac
import io
import json
import secrets
import sys
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

from glocal.runtime.files import UserError, atomic_write
from glocal.runtime.progress import console, printable

COLUMNS = ("episode", "frame", "success")
PAGE = (Path(__file__).parent / "marking.html").read_text(encoding="utf-8")
ANSWER = 64_000
"""Bytes of the longest message that is read."""
TOKEN = "X-Glocal-Token"
"""The header in which the page's own script tells the token; addresses tell it as `?token=`."""
PATIENCE = 10.0
"""Seconds that a connection may keep still."""
HEADERS = {
    "Cache-Control": "no-store",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "Content-Security-Policy": "default-src 'none'; img-src 'self'; connect-src 'self'; script-src 'unsafe-inline'; "
    "style-src 'unsafe-inline'; frame-ancestors 'none'",
}
"""Of every answer: nothing of it is kept, or shown within another page."""


class RequestError(Exception):
    """A request that is not answered: the HTTP status that says why."""

    def __init__(self, status: int):
        super().__init__(status)
        self.status = status


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
            with atomic_write(self.path) as draft, draft.open("w", newline="", encoding="utf-8") as file:
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
        self.token, self.reading = secrets.token_urlsafe(24), Lock()

    @property
    def address(self) -> str:
        """Where the page is, with the token that every request has to tell."""
        return f"http://127.0.0.1:{self.server_port}/?token={self.token}"

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

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A browser that goes away is no news; anything else is, in a line."""
        error = sys.exc_info()[1]
        if not isinstance(error, OSError):
            console.print(f"the marking page failed to answer ({error!r})")


class Answers(BaseHTTPRequestHandler):
    """Answers the page."""

    server: Server  # pyright: ignore[reportIncompatibleVariableOverride]

    timeout = PATIENCE

    def do_GET(self) -> None:
        self._answered(self._get)

    def do_POST(self) -> None:
        self._answered(self._post)

    def _answered(self, answer: Callable[[], None]) -> None:
        try:
            self._check_asker()
            answer()
        except RequestError as refusal:
            self.send_error(refusal.status)
        except UserError as error:
            self.send_error(500, explain=printable(str(error)))

    def _get(self) -> None:
        place = urlsplit(self.path)
        if place.path == "/":
            self._answer("text/html; charset=utf-8", PAGE.encode())
        elif place.path == "/state":
            self._answer_json(self.server.state())
        elif place.path == "/frame":
            self._show(parse_qs(place.query))
        else:
            raise RequestError(404)

    def _post(self) -> None:
        told = self._told()
        if self.path == "/done":
            self._answer_json({})
            self.server.shutdown()
        elif self.path == "/mark" and self.server.holds(told) and told.get("success") in (True, False, None):
            self.server.marks.mark(told["episode"], told["frame"], told.get("success"))
            self._answer_json(self.server.state())
        else:
            raise RequestError(400)

    def _check_asker(self) -> None:
        """Raise `RequestError` unless this very page asks: not one that reached this machine by another name (which its
        own name server may turn into 127.0.0.1), not one of another site, and nobody without the token."""
        hosts = self.headers.get_all("Host", [])
        if len(hosts) != 1 or hosts[0] not in {
            f"{name}:{self.server.server_port}" for name in ("127.0.0.1", "localhost")
        }:
            raise RequestError(421)
        if self.headers.get("Origin", f"http://{hosts[0]}") != f"http://{hosts[0]}":
            raise RequestError(403)
        in_address = parse_qs(urlsplit(self.path).query).get("token", [""])[0] if self.command == "GET" else ""
        told = self.headers.get(TOKEN, in_address)
        if not hmac.compare_digest(told.encode("utf-8", "replace"), self.server.token.encode()):
            raise RequestError(403)

    def _told(self) -> dict[str, Any]:
        """The message of a request; raises `RequestError` where it is too long, of no told length, or no object."""
        length = self.headers.get("Content-Length")
        if length is None:
            raise RequestError(411)
        if not length.isascii() or not length.isdigit():
            raise RequestError(400)
        if len(length) > len(str(ANSWER)) or int(length) > ANSWER:
            raise RequestError(413)
        try:
            told = json.loads(self.rfile.read(int(length)))
        except (ValueError, RecursionError):
            raise RequestError(400) from None
        if not isinstance(told, dict):
            raise RequestError(400)
        return told

    def _show(self, query: Mapping[str, list[str]]) -> None:
        try:
            where = {name: int(query[name][0]) for name in ("episode", "frame")}
        except (KeyError, ValueError):
            raise RequestError(400) from None
        if not self.server.holds(where):
            raise RequestError(404)
        with self.server.reading:
            frame = self.server.frame(where["episode"], where["frame"])
        picture = io.BytesIO()
        Image.fromarray(frame).save(picture, "PNG")
        self._answer("image/png", picture.getvalue())

    def _answer_json(self, value: Any) -> None:
        self._answer("application/json", json.dumps(value).encode())

    def _answer(self, kind: str, body: bytes) -> None:
        self.send_response(200)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        for name, value in HEADERS.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing is said of requests."""
