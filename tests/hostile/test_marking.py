"""Requests to the marking page that are none of its own: each is told a status and nothing else, and changes nothing."""

import socket
from collections.abc import Iterator
from pathlib import Path
from threading import Thread

import numpy as np
import pytest

from glocal.data.rewards.marking import ANSWER, TOKEN, Marks, Server

MARK = b'{"episode": 0, "frame": 0, "success": true}'
DEEP = b"[" * 50_000


@pytest.fixture
def server(tmp_path) -> Iterator[tuple[Server, Path]]:
    path = tmp_path / "marks.csv"
    with Server(Marks.open(path), (4,), lambda episode, frame: np.zeros((8, 8, 3), np.uint8), 0) as made:
        thread = Thread(target=made.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        yield made, path
        made.shutdown()
        thread.join()


def status(server: Server, request: bytes) -> int:
    """The status of the answer to a request as it stands, within ten seconds."""
    with socket.create_connection(("127.0.0.1", server.server_port), timeout=10) as line:
        line.sendall(request)
        return int(line.recv(4096).split()[1])


def asked(server: Server, verb: str, path: str, body: bytes = b"", **changed: str | None) -> bytes:
    """A request of the page's own, but for what is changed; None leaves a header out."""
    own = {"Host": f"127.0.0.1:{server.server_port}", TOKEN: server.token, "Content-Length": str(len(body))}
    headers = {**own, **{name.replace("_", "-"): value for name, value in changed.items()}}
    lines = [f"{verb} {path} HTTP/1.1", *(f"{k}: {v}" for k, v in headers.items() if v is not None), "", ""]
    return "\r\n".join(lines).encode() + body


def test_its_own_requests_are_answered(server):
    made, path = server
    assert status(made, asked(made, "GET", "/state")) == 200
    assert status(made, asked(made, "GET", f"/?token={made.token}", **{TOKEN: None})) == 200
    assert status(made, asked(made, "POST", "/mark", MARK, Origin=f"http://127.0.0.1:{made.server_port}")) == 200
    assert path.is_file()


@pytest.mark.parametrize(
    "changed, found",
    [
        ({"Host": "evil.example"}, 421),
        ({"Host": "127.0.0.1:1"}, 421),
        ({"Host": "127.0.0.1"}, 421),
        ({"Host": None}, 421),
        ({"Origin": "http://evil.example"}, 403),
        ({"Origin": "null"}, 403),
        ({TOKEN: None}, 403),
        ({TOKEN: ""}, 403),
        ({TOKEN: "x" * 32}, 403),
    ],
    ids=str,
)
@pytest.mark.parametrize(
    "verb, path, body", [("GET", "/state", b""), ("POST", "/mark", MARK), ("POST", "/done", b"{}")]
)
def test_whoever_reaches_it_by_another_name_or_without_the_token_is_told_nothing(
    server, verb, path, body, changed, found
):
    made, marks = server
    assert status(made, asked(made, verb, path, body, **changed)) == found
    assert not marks.exists()
    assert status(made, asked(made, "GET", "/state")) == 200, "it still answers its own page"


def test_a_token_in_an_address_is_none_for_what_changes_something(server):
    made, marks = server
    assert status(made, asked(made, "POST", f"/mark?token={made.token}", MARK, **{TOKEN: None})) == 403
    assert not marks.exists()


@pytest.mark.parametrize(
    "body, length, found",
    [
        (MARK, None, 411),
        (MARK, "-1", 400),
        (MARK, "ten", 400),
        (MARK, "\u0661\u0660".encode().decode("latin-1"), 400),
        (MARK, str(ANSWER + 1), 413),
        (MARK, "9" * 400, 413),
        (DEEP, str(len(DEEP)), 400),
        (b"\xff\xfe", "2", 400),
        (b"[]", "2", 400),
        (b'{"episode": NaN}', "16", 400),
    ],
    ids=["no length", "-1", "a word", "other digits", "too long", "endless", "deep", "no text", "a list", "NaN"],
)
def test_messages_that_make_no_sense_are_refused_at_once(server, capfd, body, length, found):
    made, marks = server
    assert status(made, asked(made, "POST", "/mark", body, Content_Length=length)) == found
    assert not marks.exists() and "Traceback" not in capfd.readouterr().err


def test_a_client_that_never_ends_its_request_keeps_nobody_waiting(server, capfd):
    made, _ = server
    lines = [socket.create_connection(("127.0.0.1", made.server_port)) for _ in range(8)]
    for line in lines:
        line.sendall(b"POST /mark HTTP/1.1\r\nHost: ")
    assert status(made, asked(made, "GET", "/state")) == 200
    for line in lines:
        line.close()
    assert status(made, asked(made, "GET", "/state")) == 200 and "Traceback" not in capfd.readouterr().err
