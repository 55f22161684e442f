"""The server of `glocal play`: who is let in, and that nobody who misbehaves is noticed by those who play."""

import json
import socket
import threading
import time
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from typing import Any
from urllib.error import HTTPError

import pytest
import websockets
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import ClientConnection, connect

from glocal.deploy.play.doors import Doors
from glocal.deploy.play.messages import PlayConfig
from glocal.deploy.play.server import FULL, MALFORMED, SILENT, TOO_MANY
from tests.deploy.served import Serving, pushed_game, serving

CFG = PlayConfig(seats=4, fps=20.0, silence=1.0, burst=20)


@pytest.fixture(scope="module")
def server() -> Iterator[Serving]:
    with serving(pushed_game(), CFG, Doors(patience=0.5, waiting=8), names=("play.example",)) as made:
        yield made


def session(server: Serving, token: str = "the%20token", **more: Any) -> ClientConnection:
    origin = more.pop("origin", f"http://127.0.0.1:{server.port}")
    url = f"ws://127.0.0.1:{server.port}/play?token={token}"
    return connect(url, origin=origin, compression=None, open_timeout=5, close_timeout=1, **more)


def heard(one: ClientConnection) -> dict[str, Any]:
    return json.loads(one.recv(timeout=5))


@contextmanager
def witness(server: Serving) -> Iterator[None]:
    """A session that plays, and sees a frame for every control step, before, during and after what happens."""
    with session(server) as one, ThreadPoolExecutor(1) as pool:
        assert "about" in heard(one)
        over = threading.Event()
        steps = pool.submit(played, one, over)
        try:
            yield
        finally:
            over.set()
        seen = steps.result()
    assert seen == list(range(seen[0], seen[0] + len(seen)))


def played(one: ClientConnection, over: threading.Event) -> list[int]:
    """The control steps that a session sees until something is over, and five more."""
    steps, more = [], 0
    while more < 5:
        more += over.is_set()
        one.send('{"n": 1, "action": [0, 0]}')
        steps.append(heard(one)["step"])
    return steps


def free(server: Serving, seats: int = 0) -> bool:
    """Whether no more seats than these are taken, within a few seconds."""
    end = time.monotonic() + 5
    while len(server.table.clients) > seats and time.monotonic() < end:
        time.sleep(0.02)
    return len(server.table.clients) <= seats


def test_a_session_is_shown_what_its_actions_do(server):
    with session(server) as one:
        assert heard(one)["about"]["title"] == "toy"
        one.send('{"n": 5, "start": 1, "action": [1, 0.5], "real": true}')
        frames = [heard(one) for _ in range(8)]
    moved = [frame for frame in frames if frame["n"] == 5]
    assert [one["numbers"]["agent"] for one in moved[:3]] == [[60, 60], [110, 85], [160, 110]]
    assert moved[1]["real"]["numbers"]["agent"][0] > moved[0]["real"]["numbers"]["agent"][0]
    assert moved[0]["real"]["picture"].startswith("data:image/jpeg")


@pytest.mark.parametrize(
    "wrong", [{"token": "guessed"}, {"token": ""}, {"token": "the%20token&token=the%20token"}, {"origin": None},
              {"origin": "http://elsewhere.example"}, {"origin": "null"}, {"host": "elsewhere.example"},
              {"host": "play.example", "origin": "http://127.0.0.1"}],
)  # fmt: skip
def test_others_get_no_session(server, wrong):
    wrong = dict(wrong)
    headers = {"Host": f"{wrong.pop('host')}:{server.port}"} if "host" in wrong else {}
    with pytest.raises(InvalidStatus, match="403"), hosted(server, headers, **wrong):
        pass
    assert free(server)


def hosted(server: Serving, headers: dict[str, str], **more: Any) -> ClientConnection:
    """A session that calls the server by another name."""
    if not headers:
        return session(server, **more)
    origin = more.pop("origin", f"http://{headers['Host']}")
    url = f"ws://{headers['Host']}/play?token=the%20token"
    return connect(url, sock=socket.create_connection(("127.0.0.1", server.port)), origin=origin, open_timeout=5)


def test_names_that_were_allowed_are_let_in(server):
    with hosted(server, {"Host": f"play.example:{server.port}"}) as one:
        assert "about" in heard(one)


def page(server: Serving, query: str = "?token=the%20token", **headers: str) -> Any:
    request = urllib.request.Request(f"http://127.0.0.1:{server.port}/{query}", headers=headers)
    return urllib.request.urlopen(request, timeout=5)


def test_the_page_is_for_those_who_have_the_token(server):
    with page(server) as answer:
        assert b"<canvas" in answer.read() and "default-src 'none'" in answer.headers["Content-Security-Policy"]
    for query, headers, status in (
        ("", {}, 403), ("?token=x", {}, 403), ("docs?token=the%20token", {}, 404), ("openapi.json", {}, 403),
        ("?token=the%20token", {"Host": "elsewhere.example"}, 421),
        ("?token=the%20token", {"Origin": "http://elsewhere.example"}, 403),
    ):  # fmt: skip
        with pytest.raises(HTTPError, match=str(status)):
            page(server, query, **headers)


def closed(one: ClientConnection) -> tuple[int, str]:
    """With which code and reason the server closes a session."""
    with pytest.raises(ConnectionClosed) as caught:
        while True:
            one.recv(timeout=8)
    assert caught.value.rcvd is not None
    return caught.value.rcvd.code, caught.value.rcvd.reason


@pytest.mark.parametrize("text", ["{", '{"action": [NaN, 0]}', '{"start": 99}', b"\x00\x01"])
def test_words_that_mean_nothing_end_a_session(server, text):
    with witness(server), session(server) as one:
        one.send(text)
        assert closed(one)[0] == MALFORMED


def test_a_session_that_says_nothing_is_closed(server):
    with session(server) as one:
        code, reason = closed(one)
    assert code == SILENT and "nothing was said" in reason


def test_too_many_messages_end_a_session(server):
    with witness(server), session(server) as one:
        with suppress(ConnectionClosed):
            for _ in range(200):
                one.send('{"n": 1}')
        assert closed(one)[0] == TOO_MANY


def test_a_message_that_is_too_long_ends_a_session(server):
    with witness(server), session(server) as one:
        one.send("[" * 1000)
        assert closed(one)[0] == 1009


def test_when_all_places_are_taken_the_next_one_is_told(server):
    assert free(server)
    with session(server), session(server), session(server), session(server), session(server) as fifth:
        assert closed(fifth) == (FULL, "all 4 places are taken")
    assert free(server)
    with session(server) as one:
        assert "about" in heard(one)


def knocked(server: Serving) -> socket.socket:
    return socket.create_connection(("127.0.0.1", server.port), timeout=5)


def gone(one: socket.socket) -> bool:
    """Whether the server hangs up before we lose patience."""
    try:
        while one.recv(2**16):
            pass
    except ConnectionError:
        return True
    except TimeoutError:
        return False
    return True


@pytest.mark.parametrize("said", [b"", b"GET /?tok", b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 9999\r\n\r\nx"])
def test_half_open_connections_are_hung_up_on(server, said):
    with witness(server):
        waiting = [knocked(server) for _ in range(4)]
        for one in waiting:
            one.sendall(said)
        assert all(gone(one) for one in waiting)


def test_however_many_connections_wait_a_session_is_let_in(server):
    waiting = [knocked(server) for _ in range(60)]
    with session(server) as one:
        assert "about" in heard(one)
    assert all(gone(one) for one in waiting)


def upgraded(server: Serving, small: bool = False) -> socket.socket:
    """A session of somebody who keeps to no rules."""
    one = socket.socket()
    if small:
        one.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)
    one.settimeout(8)
    one.connect(("127.0.0.1", server.port))
    host = f"127.0.0.1:{server.port}"
    one.sendall(
        f"GET /play?token=the%20token HTTP/1.1\r\nHost: {host}\r\nOrigin: http://{host}\r\nUpgrade: websocket\r\n"
        "Connection: Upgrade\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nSec-WebSocket-Version: 13\r\n"
        "\r\n".encode()
    )
    return one


def masked(first: int, body: bytes) -> bytes:
    return bytes([first, 0x80 | len(body), 0, 0, 0, 0]) + body


PING, BEGUN, MORE, TEXT = 0x89, 0x01, 0x00, 0x81


@pytest.mark.parametrize(
    "frame", [masked(PING, bytes(range(100))), masked(MORE, b""), b"\xf7" * 64], ids=["pings", "fragments", "noise"]
)
def test_floods_below_the_messages_are_cut_off(server, frame):
    with witness(server):
        one = upgraded(server)
        one.sendall(masked(BEGUN, b"") if frame == masked(MORE, b"") else b"")
        with suppress(ConnectionError):
            for _ in range(2000):
                one.sendall(frame)
        assert gone(one) and free(server, 1)


def test_who_reads_nothing_loses_the_seat_and_holds_up_nobody(server):
    with witness(server):
        one = upgraded(server, small=True)
        one.recv(12)
        one.sendall(masked(TEXT, b'{"start": 0, "real": true}'))
        end = time.monotonic() + 20
        with suppress(ConnectionError):
            while time.monotonic() < end:
                one.sendall(masked(TEXT, b'{"n": 1}'))
                time.sleep(0.1)
        assert time.monotonic() < end and free(server, 1)


def test_sessions_that_vanish_free_their_seats(server):
    with witness(server):
        for _ in range(10):
            one = upgraded(server)
            one.recv(100)
            one.close()
        assert free(server, 1)


def test_recordings_are_kept_when_a_session_leaves():
    with serving(pushed_game(), CFG) as server:
        with session(server) as one:
            heard(one)
            one.send('{"record": true, "action": [1, 0]}')
            for _ in range(6):
                heard(one)
        assert free(server)
    assert len(server.kept) == 1 and len(server.kept[0].reward) >= 3


def test_a_model_that_fails_ends_the_server_and_says_why():
    def show(context: object, obs: object) -> Any:
        raise RuntimeError("no picture")

    with serving(pushed_game(show=show), CFG) as server:
        with pytest.raises(websockets.ConnectionClosed), session(server) as one:
            while True:
                heard(one)
    assert "no picture" in str(server.table.failed)
