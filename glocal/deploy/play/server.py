"""The page from which people drive a model, and the sessions behind it: one loop, one model step for all of them.

Whoever else reaches the port (another user, a page of another site that is open in the browser) has no token, and is
told nothing.
"""

import asyncio
import secrets
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

from fastapi import FastAPI, Response, WebSocket
from starlette.websockets import WebSocketDisconnect

from glocal.deploy.play.game import Played, Wish
from glocal.deploy.play.messages import MalformedError, Page, PlayConfig, frame_text, heeded
from glocal.deploy.play.sessions import Sessions
from glocal.runtime.progress import console

PAGE = (Path(__file__).parent / "page.html").read_text(encoding="utf-8")
MALFORMED, SILENT, TOO_MANY, FULL = 4400, 4408, 4429, 4503
"""Codes that sessions are closed with."""
HEADERS = {
    "Cache-Control": "no-store",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "Content-Security-Policy": "default-src 'none'; img-src 'self' data:; connect-src 'self'; "
    "script-src 'unsafe-inline'; style-src 'unsafe-inline'; frame-ancestors 'none'",
}


@dataclass
class Client:
    """A session: what it wants, and the newest that it is told."""

    seat: int
    wish: Wish
    frames: asyncio.Queue[str] = field(default_factory=lambda: asyncio.Queue(1))

    def offer(self, text: str) -> None:
        """The newest frame takes the place of one that was not sent yet."""
        if self.frames.full():
            self.frames.get_nowait()
        self.frames.put_nowait(text)


class Table:
    """Who plays, and the ticks at which all sessions do one control step together."""

    def __init__(
        self,
        sessions: Sessions,
        cfg: PlayConfig,
        keep: Callable[[Played], object] | None = None,
        stop: Callable[[], None] = lambda: None,
    ):
        """`keep` is given every recording, in a thread of its own; `stop` ends the server where the model fails."""
        self.sessions, self.cfg, self.keep, self.stop = sessions, cfg, keep, stop
        self.clients: dict[int, Client] = {}
        self.visits = 0
        self.thread = ThreadPoolExecutor(1)
        """Models and real environments are called in this thread alone: what draws the latter demands it."""
        self.over = asyncio.Event()
        self.failed: Exception | None = None
        """What ended the ticks."""

    def join(self, wish: Wish) -> Client | None:
        """A seat for somebody; None where all are taken."""
        free = next((seat for seat in range(self.cfg.seats) if seat not in self.clients), None)
        if free is None:
            return None
        self.visits += 1
        self.clients[free] = Client(free, replace(wish, visit=self.visits))
        return self.clients[free]

    def leave(self, client: Client) -> None:
        """Free somebody's seat."""
        self.clients.pop(client.seat, None)

    async def run(self) -> None:
        """Tick until `over` is set, then end all recordings."""
        loop = asyncio.get_running_loop()
        due, period = loop.time(), 1 / self.cfg.fps
        try:
            while not self.over.is_set():
                await self._tick({seat: client.wish for seat, client in self.clients.items()})
                due = max(due + period, loop.time())
                await asyncio.sleep(due - loop.time())
            await self._tick({})
        except Exception as error:
            self.failed = error
            self.stop()
        finally:
            self.thread.shutdown()

    async def _tick(self, wishes: Mapping[int, Wish]) -> None:
        work = partial(_stepped, self.sessions, wishes)
        texts, finished = await asyncio.get_running_loop().run_in_executor(self.thread, work)
        for seat, (visit, text) in texts.items():
            client = self.clients.get(seat)
            if client is not None and client.wish.visit == visit:
                client.offer(text)
        for played in finished:
            await self._kept(played)

    async def _kept(self, played: Played) -> None:
        if self.keep is None:
            return
        try:
            if not await asyncio.to_thread(self.keep, played):
                console.print("a recording was not kept: there are as many as one server keeps")
        except Exception as error:  # a full disk ends no session
            console.print(f"a recording could not be kept: {error}")


def _stepped(sessions: Sessions, wishes: Mapping[int, Wish]) -> tuple[dict[int, tuple[int, str]], list[Played]]:
    """A control step, and frames as they are sent, each with whose it is."""
    frames, finished = sessions.step(wishes)
    return {seat: (frame.visit, frame_text(frame)) for seat, frame in frames.items()}, finished


class Guard:
    """Lets in this very page alone: not one that reached this machine by another name (which its own name server may
    turn into this machine's), not one of another site, and nobody without the token."""

    def __init__(self, app: Any, hosts: Sequence[str], token: str):
        self.app, self.hosts, self.token = app, frozenset(hosts), token.encode()

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        status = 200 if scope["type"] == "lifespan" else self._status(scope)
        if status == 200:
            await self.app(scope, receive, send)
        elif scope["type"] == "websocket":
            await send({"type": "websocket.close"})
        else:
            await Response("refused", status, HEADERS, "text/plain")(scope, receive, send)

    def _status(self, scope: Any) -> int:
        """The HTTP status that says what is wrong with a request."""
        hosts, origins = ([value for name, value in scope["headers"] if name == key] for key in (b"host", b"origin"))
        if len(hosts) != 1 or hosts[0].decode("latin-1") not in self.hosts:
            return 421
        own = [b"http://" + hosts[0]]
        if origins != own and (origins or scope["type"] == "websocket"):
            return 403
        told = parse_qs(scope["query_string"]).get(b"token", [b""])
        return 200 if len(told) == 1 and secrets.compare_digest(told[0], self.token) else 403


def make_app(table: Table, told: Page) -> Guard:
    """The page, and its sessions."""

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        ticking = asyncio.create_task(table.run())
        yield
        table.over.set()
        await ticking

    app = FastAPI(lifespan=lifespan, docs_url=None, redoc_url=None, openapi_url=None)

    @app.get("/")
    def page() -> Response:
        return Response(PAGE, 200, HEADERS, "text/html; charset=utf-8")

    @app.websocket("/play")
    async def play(socket: WebSocket) -> None:
        await socket.accept()
        client = table.join(Wish(0))
        if client is None:
            await socket.close(FULL, f"all {table.cfg.seats} places are taken")
            return
        with suppress(WebSocketDisconnect):
            await _serve(socket, client, table, told.about)

    return Guard(app, told.hosts, told.token)


async def _serve(socket: WebSocket, client: Client, table: Table, about: Mapping[str, Any]) -> None:
    """A session, until either side has enough."""
    sending = asyncio.create_task(_send(socket, client, about))
    try:
        code, reason = await _listen(socket, client, table)
    finally:
        table.leave(client)
        sending.cancel()
    if code:
        with suppress(RuntimeError):  # closed already, for what followed
            await socket.close(code, reason)


async def _send(socket: WebSocket, client: Client, about: Mapping[str, Any]) -> None:
    with suppress(WebSocketDisconnect, RuntimeError):  # the listener is told of it, too
        await socket.send_json({"about": about})
        while True:
            await socket.send_text(await client.frames.get())


async def _listen(socket: WebSocket, client: Client, table: Table) -> tuple[int, str]:
    """Heed what a session wants; the code and the reason to close it with, or 0 where it has gone."""
    game, allowance, loop = table.sessions.game, table.cfg.messages, asyncio.get_running_loop()
    allowance.since = loop.time()
    while True:
        try:
            async with asyncio.timeout(table.cfg.silence):
                message = await socket.receive()
        except TimeoutError:
            return SILENT, f"nothing was said for {table.cfg.silence:g} s"
        if message["type"] == "websocket.disconnect":
            return 0, ""
        if not allowance.use(1, loop.time()):
            return TOO_MANY, f"more than {allowance.rate:g} messages a second"
        try:
            client.wish = heeded(client.wish, message.get("text") or "", game.action_dim, len(game.starts))
        except MalformedError as error:
            return MALFORMED, str(error)
