"""How many sessions of `glocal play` one machine keeps up with, and what each of them sees of hostile ones.

    python benchmarks/serve.py RUN [--sessions 1 4 16 64] [--fps 10] [--seconds 20] [--hostile] [--real N]

The server is a process of its own, as `glocal play` starts it. Each session sends an action at a random moment
after each frame, as a person would. Latency is from that moment to the one at which the frame comes that shows what the
action did; of a server that takes no time it is between none and one tick of the clock, half of one in the median. A
session is lost where it ends, or sees less than half of the frames.

With `--hostile`, meanwhile: half-open connections, requests that never end, wrong tokens, floods of messages and of
pings, messages that are too long, malformed or in parts, sessions that read nothing, and sessions that come and go.
"""

import argparse
import asyncio
import json
import os
import random
import re
import signal
import socket
import sys
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, field

import numpy as np
import websockets
from websockets.asyncio.client import ClientConnection, connect

QUIET = (OSError, websockets.WebSocketException, asyncio.IncompleteReadError, TimeoutError)


@dataclass
class Seen:
    """What a session saw."""

    waits: list[float] = field(default_factory=list)
    """Seconds from an action to what it did."""
    frames: int = 0
    ended: str = ""


@dataclass(frozen=True)
class Place:
    """Where the server is."""

    port: int
    token: str

    def open(self, token: str | None = None) -> connect:
        """A session."""
        return connect(
            f"ws://127.0.0.1:{self.port}/play?token={token or self.token}",
            origin=f"http://127.0.0.1:{self.port}",  # pyright: ignore[reportArgumentType]
            compression=None,
            ping_interval=None,
            close_timeout=1,
        )


async def started(run: str, arguments: list[str]) -> tuple[asyncio.subprocess.Process, Place]:
    """A server, once it answers."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "glocal", "play", run, "--port", "0", *arguments, stderr=asyncio.subprocess.PIPE
    )
    assert process.stderr is not None
    async for line in process.stderr:
        found = re.search(r":(\d+)/\?token=(\S+)", line.decode())
        if found:
            return process, Place(int(found[1]), found[2])
    raise SystemExit(f"the server of {run} did not start; `glocal play {run}` says why")


async def said(process: asyncio.subprocess.Process) -> None:
    """Show what the server says, of which there is to be nothing."""
    assert process.stderr is not None
    async for line in process.stderr:
        print(f"         server: {line.decode().rstrip()}")


async def honest(place: Place, seconds: float, real: bool) -> Seen:
    """Play as the page does."""
    seen = Seen()
    try:
        async with place.open() as session:
            about = json.loads(await session.recv())["about"]
            await session.send(json.dumps({"n": 1, "start": random.randrange(len(about["starts"])), "real": real}))
            await _played(session, seen, seconds, len(about["actions"]), about["fps"])
    except QUIET as error:
        seen.ended = str(error) or type(error).__name__
    return seen


async def _played(session: ClientConnection, seen: Seen, seconds: float, action_dim: int, fps: float) -> None:
    number, told, end = 1, {}, time.perf_counter() + seconds
    while time.perf_counter() < end:
        frame = json.loads(await asyncio.wait_for(session.recv(), 5))
        seen.frames += 1
        if (sent := told.pop(frame["n"], None)) is not None:
            seen.waits.append(time.perf_counter() - sent)
        number += 1
        await asyncio.sleep(random.uniform(0, 0.9 / fps))
        told[number] = time.perf_counter()
        await session.send(
            json.dumps({"n": number, "action": [round(random.uniform(-1, 1), 3) for _ in range(action_dim)]})
        )


async def half_open(place: Place) -> None:
    """Connections that say nothing, or half of a request."""
    reader, writer = await asyncio.open_connection("127.0.0.1", place.port)
    writer.write(b"GET / HTTP/1.1\r\nHost: "[: 23 * random.randrange(2)])
    await reader.read()
    writer.close()


async def slow_request(place: Place) -> None:
    """A request that never ends."""
    _, writer = await asyncio.open_connection("127.0.0.1", place.port)
    for _ in range(100):
        writer.write(b"GET / HTTP/1.1\r\n" if _ == 0 else b"X-Header: x\r\n")
        await writer.drain()
        await asyncio.sleep(0.2)


async def wrong_token(place: Place) -> None:
    """Somebody who guesses."""
    async with place.open("guessed"):
        pass


async def flood(place: Place) -> None:
    """As many messages as the socket takes."""
    async with place.open() as session:
        while True:
            await session.send('{"n": 1}')


async def pings(place: Place) -> None:
    """As many pings as the socket takes."""
    async with place.open() as session:
        while True:
            await session.ping(os.urandom(100))


async def oversized(place: Place) -> None:
    """A message of a megabyte."""
    async with place.open() as session:
        await session.send("[" * 2**20)
        await session.recv()
        await session.wait_closed()


async def malformed(place: Place) -> None:
    """Words that mean nothing."""
    async with place.open() as session:
        await session.send('{"action": [NaN, 1e999]}')
        await session.wait_closed()


async def in_parts(place: Place) -> None:
    """A message that goes on for ever."""

    async def parts():
        while True:
            yield " "

    async with place.open() as session:
        await session.send(parts())


async def reads_nothing(place: Place) -> None:
    """A session that sends actions and leaves all that is sent to it in the socket."""
    small = socket.socket()
    small.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    small.connect(("127.0.0.1", place.port))
    _, writer = await asyncio.open_connection(sock=small, limit=1)
    host = f"127.0.0.1:{place.port}"
    writer.write(
        f"GET /play?token={place.token} HTTP/1.1\r\nHost: {host}\r\nOrigin: http://{host}\r\nUpgrade: websocket\r\n"
        "Connection: Upgrade\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nSec-WebSocket-Version: 13\r\n"
        "\r\n".encode()
    )
    body = b'{"n": 1}'
    for _ in range(600):
        await asyncio.sleep(0.1)
        writer.write(bytes([0x81, 0x80 | len(body), 0, 0, 0, 0]) + body)
        await writer.drain()


async def comes_and_goes(place: Place) -> None:
    """A session that leaves without a word."""
    async with place.open() as session:
        await session.send('{"start": 0, "real": true}')
        session.transport.abort()


HOSTILE: dict[str, tuple[Callable[[Place], Awaitable[None]], int, float]] = {
    "half-open": (half_open, 30, 0.1),
    "slow request": (slow_request, 10, 0.1),
    "wrong token": (wrong_token, 1, 0.05),
    "flood": (flood, 2, 0.5),
    "pings": (pings, 2, 0.5),
    "oversized": (oversized, 1, 0.2),
    "malformed": (malformed, 1, 0.2),
    "in parts": (in_parts, 1, 0.5),
    "reads nothing": (reads_nothing, 2, 0.5),
    "comes and goes": (comes_and_goes, 1, 0.2),
}
"""By name: what is done, by how many at once, and seconds before each does it again."""
PLACES = sum(count for name, (_, count, _) in HOSTILE.items() if name not in ("half-open", "slow request"))
"""Seats that hostile sessions take beside the honest ones'."""


async def again(place: Place, act: Callable[[Place], Awaitable[None]], pause: float, done: Counter[str]) -> None:
    """Be hostile, over and over."""
    while True:
        with suppress(*QUIET):
            await act(place)
        done[act.__name__] += 1
        await asyncio.sleep(pause)


async def hostile(place: Place, done: Counter[str]) -> None:
    """All of them, until cancelled."""
    async with asyncio.TaskGroup() as group:
        for act, count, pause in HOSTILE.values():
            for _ in range(count):
                group.create_task(again(place, act, pause, done))


async def measured(run: str, sessions: int, chosen: argparse.Namespace) -> None:
    """One row of the table."""
    seats = sessions + (PLACES if chosen.hostile else 0)
    limits = ["--sessions", str(seats), "--fps", str(chosen.fps), "--real", str(chosen.real)]
    process, place = await started(run, [*limits, *chosen.play])
    attackers, saying = None, asyncio.create_task(said(process))
    try:
        if chosen.hostile:
            command = [sys.executable, __file__, run, f"--attack={place.port}:{place.token}"]
            attackers = await asyncio.create_subprocess_exec(*command)
            await asyncio.sleep(2)
        playing = (honest(place, chosen.seconds, i < chosen.real) for i in range(sessions))
        seen = await asyncio.gather(*playing)
    finally:
        for one in (attackers, process):
            if one is not None and one.returncode is None:
                one.send_signal(signal.SIGINT)
                await one.wait()
    await saying
    waits = np.array([wait for one in seen for wait in one.waits] or [np.nan]) * 1e3
    rate = np.mean([one.frames / chosen.seconds for one in seen])
    lost = [one for one in seen if one.ended or one.frames < 0.5 * chosen.fps * chosen.seconds]
    p50, p95, p99 = np.quantile(waits, [0.5, 0.95, 0.99])
    print(f"{sessions:8} {rate:8.2f} {p50:8.0f} {p95:8.0f} {p99:8.0f} {len(lost):6}", flush=True)
    for one in lost[:3]:
        print(f"         lost after {one.frames} frames: {one.ended or 'too few frames'}")


def attack(port: int, token: str) -> None:
    """Be hostile until interrupted, then say how often."""
    done: Counter[str] = Counter()
    with suppress(KeyboardInterrupt):
        asyncio.run(hostile(Place(port, token), done))
    print("         hostile: " + ", ".join(f"{count} {name}" for name, count in done.items()), flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run")
    parser.add_argument("--sessions", nargs="+", type=int, default=[1, 2, 4, 8, 16, 32, 50, 64])
    parser.add_argument("--fps", type=float, default=10.0)
    parser.add_argument("--seconds", type=float, default=20.0)
    parser.add_argument("--hostile", action="store_true")
    parser.add_argument("--real", type=int, default=0, help="sessions that see the real environment, too")
    parser.add_argument("--attack", help=argparse.SUPPRESS)
    parser.add_argument("--play", nargs="*", default=[], help="more options of glocal play")
    chosen = parser.parse_args()
    if chosen.attack:
        port, _, token = chosen.attack.partition(":")
        attack(int(port), token)
        return
    print(f"{'sessions':>8} {'frames/s':>8} {'p50 ms':>8} {'p95 ms':>8} {'p99 ms':>8} {'lost':>6}")
    for sessions in chosen.sessions:
        asyncio.run(measured(chosen.run, sessions, chosen))


if __name__ == "__main__":
    main()
