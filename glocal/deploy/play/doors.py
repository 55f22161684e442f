"""Connections that do not behave: whoever says nothing, reads nothing or sends too much is cut off at the socket.

The web framework sees none of this. It has no time limit for a request that never comes, none for an answer that nobody
reads, and answers as many pings as are sent.
"""

import asyncio
import signal
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol

from glocal.deploy.play.messages import Allowance

UNREAD = 2**16
"""Bytes of frames that wait for a slow reader."""


@dataclass
class Doors:
    """How patient the server is."""

    patience: float = 5.0
    """Seconds for a whole request, and for what is written to be read."""
    waiting: int = 64
    """Connections that have not asked for a session yet; when there are more, the one that has waited longest goes."""
    bytes_per_second: float = 32_000.0
    """That a session may send, however it puts them."""
    knocking: dict[asyncio.BaseTransport, None] = field(default_factory=dict)
    """Those connections, in the order of their coming."""

    def knock(self, transport: asyncio.Transport) -> None:
        """A connection has come."""
        self.knocking[transport] = None
        if len(self.knocking) > self.waiting:
            oldest = next(iter(self.knocking))
            del self.knocking[oldest]
            oldest.abort()  # pyright: ignore[reportAttributeAccessIssue]


class Asking(H11Protocol):
    """A connection that has not asked for a session yet: it has a few seconds to be done with all that it wants."""

    def __init__(self, doors: Doors, *arguments: Any, **options: Any):
        super().__init__(*arguments, **options)
        self.doors = doors

    def connection_made(self, transport: asyncio.Transport) -> None:  # pyright: ignore[reportIncompatibleMethodOverride]
        super().connection_made(transport)
        self.deadline = self.loop.call_later(self.doors.patience, transport.abort)
        self.doors.knock(transport)

    def connection_lost(self, exc: Exception | None) -> None:
        self._leave()
        super().connection_lost(exc)

    def handle_websocket_upgrade(self, event: Any) -> None:
        self._leave()
        super().handle_websocket_upgrade(event)

    def _leave(self) -> None:
        self.deadline.cancel()
        self.doors.knocking.pop(self.transport, None)


class Talking(WebSocketsSansIOProtocol):
    """A session's connection: it is cut off where it sends too much, or where what was written is not read."""

    def __init__(self, doors: Doors, *arguments: Any, **options: Any):
        super().__init__(*arguments, **options)
        self.doors = doors
        self.allowance = Allowance(doors.bytes_per_second, doors.bytes_per_second, self.loop.time())

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        # what waits in the kernel is old when it is read: a slow reader is to see fewer frames, and not later ones
        transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, UNREAD)
        self.transport.set_write_buffer_limits(high=UNREAD)
        self.stuck = False
        self.next_look = self.loop.call_later(self.doors.patience, self._look)

    def connection_lost(self, exc: Exception | None) -> None:
        self.next_look.cancel()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if self.allowance.use(len(data), self.loop.time()):
            super().data_received(data)
        else:
            self.transport.abort()

    def handle_cont(self, event: Any) -> None:
        """Messages in parts, of which there may be any number: no browser sends such short ones so."""
        self.transport.abort()

    def _look(self) -> None:
        """Cut off what is being closed, or has been full, since the last look."""
        stuck = self.transport.is_closing() or not self.writable.is_set()
        if stuck and self.stuck:
            self.transport.abort()
        self.stuck = stuck
        self.next_look = self.loop.call_later(self.doors.patience, self._look)


class Server(uvicorn.Server):
    """Ends at SIGINT and SIGTERM, and says nothing of them afterwards: what was recorded is still to be written."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        before = {one: signal.signal(one, self.handle_exit) for one in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield
        finally:
            for one, handler in before.items():
                signal.signal(one, handler)


def server(app: Any, longest: int, doors: Doors | None = None) -> Server:
    """A server of `app` whose messages have at most `longest` bytes."""
    doors = Doors() if doors is None else doors
    config = uvicorn.Config(
        app,
        http=partial(Asking, doors),  # pyright: ignore[reportArgumentType]
        ws=partial(Talking, doors),  # pyright: ignore[reportArgumentType]
        ws_max_size=longest,
        ws_per_message_deflate=False,
        lifespan="on",
        log_level="error",
        access_log=False,
        server_header=False,
        proxy_headers=False,
        timeout_graceful_shutdown=2,
        h11_max_incomplete_event_size=16_384,
    )
    return Server(config)
