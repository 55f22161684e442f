"""A toy that is played: an agent that pushes a T in an empty world, and a server of it in a thread."""

import socket
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from glocal.core.types import Batched, Segment, Step
from glocal.deploy.play.doors import Doors, server
from glocal.deploy.play.game import Game, Played, Start
from glocal.deploy.play.messages import Page, PlayConfig, longest_message
from glocal.deploy.play.server import Table, make_app
from glocal.deploy.play.sessions import Sessions
from glocal.deploy.play.twins import PushTTwin
from glocal.tasks.pusht import GOAL_KEYPOINTS, PushT, PushTConfig, place

REACH, NEAR = 50.0, 90.0
"""Pixels by which an action of 1 moves the agent, and from which it takes the T with it."""
AGENTS = ((256.0, 460.0), (60.0, 60.0))
POSE = np.array([256.0, 300.0, 0.0])
TOKEN = "the token"


@dataclass(frozen=True)
class Scene(Batched):
    """Corners of the T and the agent, (B, 18), in pixels."""

    obs: Tensor
    key: int = 0


class PushedWorld:
    """The agent moves as it is told, and the T with it where it is near; the reward is the agent's height."""

    def __init__(self) -> None:
        self.steps = 0

    def begin(self, segment: Segment, key: int) -> Scene:
        return Scene(segment.obs[:, -1], key)

    def step(self, context: Scene, action: Tensor) -> tuple[Scene, Step]:
        self.steps += 1
        move = REACH * action
        corners, agent = context.obs[:, :16].unflatten(1, (8, 2)), context.obs[:, 16:]
        near = (corners.mean(1) - agent).norm(dim=1) < NEAR
        corners = corners + (move * near[:, None])[:, None]
        obs = torch.cat([corners.flatten(1), agent + move], dim=1)
        return Scene(obs, context.key + 1), Step(obs, 1 - obs[:, 17] / 512, torch.ones(len(obs)))


def pushed_game(**changes: Any) -> Game:
    """The toy from two starts, beside the real Push-T."""
    rows = np.stack([np.r_[place(POSE).reshape(-1), agent] for agent in AGENTS])
    obs = torch.tensor(rows, dtype=torch.float32)[:, None]
    labels = torch.zeros(len(AGENTS), 1)
    starts = [Start(f"toy {i}", row=i) for i in range(len(AGENTS))]
    states = {i: np.r_[agent, POSE] for i, agent in enumerate(AGENTS)}

    def decode(seen: Tensor) -> dict[str, Tensor]:
        return {"keypoints": seen[:, :16], "agent": seen[:, 16:]}

    made = {
        "world": PushedWorld(),
        "windows": Segment(obs, torch.zeros(len(AGENTS), 1, 2), labels, labels + 1),
        "starts": starts,
        "show": lambda _, seen: (None, {name: x.numpy() for name, x in decode(seen).items()}),
        "decode": decode,
        "twin": lambda: PushTTwin(PushT(PushTConfig(), (96, 96)), states),
    }
    return Game(**{**made, **changes})


ABOUT = {
    "title": "toy", "scene": {"size": 512, "goal": GOAL_KEYPOINTS.reshape(-1).tolist(), "reach": REACH},
    "policy": False, "actions": [{"name": "x", "rest": 0.0}, {"name": "y", "rest": 0.0}], "records": True, "real": True,
    "ranges": {}, "starts": ["toy 0", "toy 1"], "first": 0,
}  # fmt: skip


@dataclass
class Serving:
    """A server that runs."""

    port: int
    table: Table
    kept: list[Played]
    address: str


@contextmanager
def serving(game: Game, cfg: PlayConfig, doors: Doors | None = None, names: Sequence[str] = ()) -> Iterator[Serving]:
    """A server of a game in a thread, on any port that is free."""
    listening, kept = socket.create_server(("127.0.0.1", 0)), list[Played]()
    port = listening.getsockname()[1]
    hosts = [f"{name}:{port}" for name in ("127.0.0.1", "localhost", *names)]
    table = Table(Sessions(game, real=2), cfg, lambda one: kept.append(one) or True)
    app = make_app(table, Page({**ABOUT, "fps": cfg.fps}, hosts, TOKEN))
    made = server(app, longest_message(game.action_dim), doors)
    thread = threading.Thread(target=made.run, kwargs={"sockets": [listening]})
    thread.start()
    try:
        while not made.started:
            assert thread.is_alive()
            time.sleep(0.01)
        yield Serving(port, table, kept, f"http://127.0.0.1:{port}/?token=the%20token")
    finally:
        made.should_exit = True
        thread.join(20)
        assert not thread.is_alive()
