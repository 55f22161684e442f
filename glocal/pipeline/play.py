"""A page from which people drive a run's global model (`glocal play`)."""

import secrets
import socket
from collections.abc import Sequence
from functools import partial
from importlib.util import find_spec
from itertools import chain
from pathlib import Path
from typing import Annotated

import torch
import tyro

from glocal.core.ranges import Count, Many, Range
from glocal.data.formats.lerobot_writer import Layout, check_new, write_lerobot
from glocal.deploy.play.messages import Page, PlayConfig, longest_message
from glocal.deploy.play.sessions import Sessions
from glocal.deploy.play.spool import Spool
from glocal.pipeline import export
from glocal.pipeline.game import about, game
from glocal.pipeline.run import is_finished, open_run
from glocal.pipeline.run_dir import Run
from glocal.pipeline.usage import read_verb
from glocal.runtime.files import UserError
from glocal.runtime.progress import console

LOCAL = ("127.0.0.1", "localhost", "[::1]")
PACKAGES = ("fastapi", "uvicorn", "websockets")


def play(
    run: tyro.conf.Positional[Path],
    host: str = "127.0.0.1",
    port: Annotated[int, Range(0, 65_535)] = 8765,
    sessions: Annotated[int, Range(1, 256)] = 16,
    fps: Annotated[float, Range(0.1, 60)] = 10.0,
    record: Path | None = None,
    real: Many = 4,
    names: tuple[str, ...] = (),
    threads: Count = 1,
) -> None:
    """Drive a run's global model from a web page, by mouse, keys or gamepad, beside the real environment.

    Ctrl-C ends it, and writes what was recorded.

    Args:
        run: The folder of a run whose global model is trained.
        host: The address to listen at; another one than this machine's own lets others in who know the token.
        port: Of the page; 0 for any that is free.
        sessions: People who may play at the same time.
        fps: Control steps a second.
        record: A folder for a LeRobot dataset of what is recorded; it must not exist.
        real: Sessions that may have a real environment at the same time.
        names: What else this machine is called in the addresses that people type; needed with a host of 0.0.0.0.
        threads: Of torch.
    """
    _check_installed()
    known = open_run(run)
    if not is_finished(known, "global"):
        raise UserError(f"{run} has no finished global model yet; `glocal run {run}` trains it")
    torch.set_num_threads(threads)
    spool = None if record is None else _spool(known, record)
    made = game(known, real)
    listening, allowed = _listening(host, port, names)
    token = secrets.token_urlsafe(24)
    console.print(f"play: http://{allowed[0]}/?token={token}", soft_wrap=True)
    page = Page(about(known, made, spool is not None, fps), allowed, token)
    serve(Sessions(made, known.config.seed, real), page, PlayConfig(sessions, fps), listening, spool)
    if spool is not None and record is not None:
        console.print(written(known, spool, record), soft_wrap=True)


def serve(sessions: Sessions, page: Page, cfg: PlayConfig, listening: socket.socket, spool: Spool | None) -> None:
    """Let people play until a signal ends it; raises what the model raises."""
    from glocal.deploy.play.doors import server
    from glocal.deploy.play.server import Table, make_app

    table = Table(sessions, cfg, None if spool is None else spool.add)
    made = server(make_app(table, page), longest_message(sessions.game.action_dim))
    table.stop = partial(setattr, made, "should_exit", True)
    made.run(sockets=[listening])
    if table.failed is not None:
        raise table.failed


def _check_installed() -> None:
    missing = [name for name in PACKAGES if find_spec(name) is None]
    if missing:
        raise UserError(
            f"the page is served with {', '.join(missing)}, which is not installed; `pip install 'glocal[play]'`"
        )


def _listening(host: str, port: int, names: Sequence[str]) -> tuple[socket.socket, list[str]]:
    """A socket, and what the page may be called in addresses, as it is to be told first."""
    every = host in ("0.0.0.0", "::")
    if every and not names:
        raise UserError(f"{host} is every address of this machine; say with --names what people type to reach it")
    try:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        found = socket.create_server((host, port), family=family, backlog=256)
    except (OSError, OverflowError) as error:
        raise UserError(
            f"cannot listen at {host}, port {port} ({error}); name others with --host and --port"
        ) from error
    own = () if every else (f"[{host}]" if ":" in host else host,)
    return found, [f"{name}:{found.getsockname()[1]}" for name in dict.fromkeys((*names, *own, *LOCAL))]


def _spool(run: Run, record: Path) -> Spool:
    """Where recordings are kept until they are written; raises `UserError` where none can be."""
    check_new(record)
    export.check_imagined(run, "leave --record out")
    spool = Spool(record.with_name(f"{record.name}.recordings"))
    if len(spool):
        console.print(f"note: {len(spool)} recordings of an earlier time are in {spool.folder} and are written, too")
    return spool


def written(run: Run, spool: Spool, record: Path) -> str:
    """Write all recordings as one dataset; what was done, in words."""
    count = len(spool)
    if not count:
        spool.clear()
        return "nothing was recorded"

    episodes = (export.episode_rows(run, one.seen, one.action, one.reward, one.cont) for one in spool)
    first = next(episodes)
    write_lerobot(record, chain([first], episodes), Layout(export.rate_of(run), export.features_of(first)))
    export.save_mapping(run, first, record)
    spool.clear()
    return f"{count} recordings are in {record}"


def main(arguments: list[str]) -> None:
    """`glocal play RUN ...`."""
    read_verb({"play": play}, ["play", *arguments], "glocal")
