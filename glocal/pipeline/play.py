"""A page from which people drive a run's global model (`glocal play`)."""

import secrets
import socket
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from importlib.util import find_spec
from itertools import chain
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
import tyro
from torch import Tensor

from glocal.core.pictures import packed
from glocal.core.ranges import Count, Many, Range
from glocal.core.types import Segment, cat
from glocal.data.formats.lerobot_writer import Layout, check_new, write_lerobot
from glocal.data.segments import Recorded
from glocal.deploy.controllers import Act, Array, recorded_fields
from glocal.deploy.play.messages import longest_message
from glocal.deploy.play.sessions import Fields, Game, Sessions, Start, Twin
from glocal.deploy.play.spool import Spool
from glocal.deploy.play.twins import PushTTwin, RobotTwin
from glocal.models.worlds.pictures import PictureWorld
from glocal.pipeline import export
from glocal.pipeline.config import EvaluateConfig, RobotConfig
from glocal.pipeline.make_vec import side_by_side
from glocal.pipeline.real import open_robot
from glocal.pipeline.run import is_finished, open_run
from glocal.pipeline.run_dir import Run
from glocal.pipeline.usage import read_verb
from glocal.runtime.files import UserError
from glocal.runtime.progress import console
from glocal.tasks.pusht import GOAL_KEYPOINTS, TABLE, PushT, PushTConfig

RECORDED, OWN = 200, 8
"""Recorded moments to begin from, and initial states of the real environment."""
RANGED = 2000
"""Recorded rows that say how large numbers become."""
SCENE = (192, 192)
"""Pixels of the real environment's picture, where models see none."""
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
    serve(Sessions(made, known.config.seed, real), about(known, made, spool is not None, fps), listening, allowed, token,
          sessions, fps, spool)  # fmt: skip
    if spool is not None and record is not None:
        console.print(written(known, spool, record), soft_wrap=True)


def serve(
    sessions: Sessions,
    told: Mapping[str, Any],
    listening: socket.socket,
    allowed: Sequence[str],
    token: str,
    seats: int,
    fps: float,
    spool: Spool | None = None,
) -> None:
    """Let people play until a signal ends it."""
    from glocal.deploy.play.doors import server
    from glocal.deploy.play.server import PlayConfig, Table, make_app

    table = Table(sessions, PlayConfig(seats, fps), None if spool is None else spool.add)
    made = server(make_app(table, told, allowed, token), longest_message(sessions.game.action_dim))
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
        raise UserError(f"cannot listen at {host}, port {port} ({error}); name others with --host and --port") from error
    own = () if every else (f"[{host}]" if ":" in host else host,)
    return found, [f"{name}:{found.getsockname()[1]}" for name in dict.fromkeys((*names, *own, *LOCAL))]


def game(run: Run, real: int) -> Game:
    """What is played of a run; `real` is how many real environments there may be."""
    world = run.world()
    act, surrogate = _policy(run)
    recorded = run.for_world(run.experience[1])
    rows = recorded.open[torch.linspace(0, len(recorded.open) - 1, min(RECORDED, len(recorded.open))).long()]
    starts = [Start(_moment(recorded, int(row)), row=int(row)) for row in rows]
    windows = [recorded.windows(rows, run.config.learn.warm_up)]
    twin = _twins(run, recorded, rows) if real else None
    if twin is not None:
        own = [Start(f"real environment, seed {seed}", seed=seed) for seed in _seeds()]
        windows.append(_beginnings(run, [one.seed or 0 for one in own]))
        starts += own
    scale = run.config.task.mapping.reward_scale if isinstance(run.config.task, RobotConfig) else 1.0
    return Game(world, cat(windows, dim=0), starts, _showing(run, world), run.codec.decode, surrogate, act, twin, scale)


def _seeds() -> range:
    first = EvaluateConfig.first_seed
    return range(first, first + OWN)


def _moment(recorded: Recorded, row: int) -> str:
    first = recorded.first[row]
    episode = int((recorded.first.unique() < first).sum())
    return f"held-out episode {episode}, control step {row - int(first)}"


def _policy(run: Run) -> tuple[Act | None, Any]:
    """What the run's policy does at beliefs of its own local model; nothing where none is trained."""
    if not is_finished(run, "policy"):
        console.print(f"note: {run.folder} has no finished policy, so that none can take over")
        return None, None
    policy = run.policy("policy")
    return lambda belief: policy.actor(belief).mean, policy.surrogate


def _showing(run: Run, world: Any) -> Callable[[Any, Tensor], tuple[Array | None, Fields]]:
    """What people see of the global model's contexts and of observations: pictures, and numbers."""
    codec = run.codec

    @torch.no_grad()
    def show(context: Any, obs: Tensor) -> tuple[Array | None, Fields]:
        fields = {name: x.cpu().numpy() for name, x in codec.decode(obs).items()}
        drawn = {name: x.cpu().numpy() for name, x in world.pictures(context).items()} if paints else fields
        pictures = [x for x in drawn.values() if x.dtype == np.uint8]
        numbers = {name: x for name, x in fields.items() if x.dtype != np.uint8} or {"observation": obs.cpu().numpy()}
        return side_by_side(pictures) if pictures else None, numbers

    paints = isinstance(world, PictureWorld)
    return show


def _twins(run: Run, recorded: Recorded, rows: Tensor) -> Callable[[], Twin] | None:
    """What makes a real environment; None where there is none."""
    task, env = run.config.task, run.config.env
    if isinstance(task, RobotConfig):
        return (lambda: RobotTwin(open_robot(task, env, filmed=True))) if env.id else None
    states: dict[int, Array] = {}
    if {"agent", "pose"} <= run.store.fields.keys():
        agent, pose = (run.store.fields[name] for name in ("agent", "pose"))
        stored = recorded.stored[rows.to(recorded.stored.device)].tolist()
        states = {row: np.concatenate([agent[k], pose[k]]) for row, k in zip(rows.tolist(), stored, strict=True)}
    picture = run.picture if task.images else SCENE
    return lambda: PushTTwin(PushT(task, picture), states)


def _beginnings(run: Run, seeds: Sequence[int]) -> Segment:
    """Windows (n, T, ...) of the real environment at rest in the initial states of seeds."""
    task = run.config.task
    if isinstance(task, RobotConfig):
        robot = open_robot(task, run.config.env)
        seen: list[Any] = [robot.reset(seed) for seed in seeds]
        robot.env.close()
    else:
        env = PushT(task, run.picture)
        seen = [run.view(env.reset(seed)) for seed in seeds]
    fields = {name: x.to(run.device) for name, x in recorded_fields(seen, run.codec.reads).items()}
    with torch.no_grad():
        obs = run.codec.observe(fields)
    count, length = len(seeds), run.config.learn.warm_up
    film = [fields[name] for name in run.codec.cameras] if run.for_world(run.experience[1]).film else []
    return Segment(
        obs[:, None].repeat(1, length, 1),
        obs.new_zeros(count, length, run.experience[1].steps.action.shape[-1]),
        obs.new_zeros(count, length),
        obs.new_ones(count, length),
        packed(film)[:, None].repeat(1, length, 1) if film else None,
    )


def about(run: Run, made: Game, records: bool, fps: float) -> dict[str, Any]:
    """What the page has to know of a run."""
    task = run.config.task
    planar = isinstance(task, PushTConfig)
    fields = made.decode(run.experience[1].steps.obs[:: max(1, len(run.experience[1]) // RANGED)])
    return {
        "title": run.config.preset,
        "fps": fps,
        "scene": {"size": TABLE, "goal": GOAL_KEYPOINTS.round(1).reshape(-1).tolist(), "reach": task.reach} if planar else None,
        "actions": _actions(run),
        "starts": [one.label for one in made.starts],
        "first": next((i for i, one in enumerate(made.starts) if planar or one.seed is not None), 0),
        "policy": made.act is not None,
        "records": records,
        "real": made.twin is not None,
        "ranges": {name: _range(x) for name, x in fields.items() if x.ndim == 2 and x.dtype != torch.uint8},
    }


def _range(x: Tensor) -> list[list[float]]:
    """The smallest and the largest value of each number of a field (n, d)."""
    return [[round(float(v), 4) for v in ends] for ends in (x.min(0).values, x.max(0).values)]


def _actions(run: Run) -> list[dict[str, Any]]:
    """What each number of an action is called, and what it is when nobody does anything; nothing of a position, which
    stays."""
    task = run.config.task
    if not isinstance(task, RobotConfig):
        return [{"name": name, "rest": 0.0} for name in export.XY]
    found = []
    for part in task.mapping.action:
        for column, low, high in zip(part.columns, part.low, part.high, strict=True):
            rest = float(np.clip(-(high + low) / (high - low), -1, 1))
            name = f"{part.feature} {column}" if part.kind == "absolute" else f"{part.feature} {column} ({part.kind})"
            found.append({"name": name, "rest": None if part.kind == "absolute" else round(rest, 4)})
    return found


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


