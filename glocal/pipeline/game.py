"""What people play of a run: its models, where episodes begin, and what the page has to know."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from glocal.core.pictures import packed
from glocal.core.types import Segment, cat
from glocal.data.segments import Recorded
from glocal.deploy.controllers import Act, Array, recorded_fields
from glocal.deploy.play.game import Fields, Game, Start, Twin
from glocal.deploy.play.twins import PushTTwin, RobotTwin
from glocal.models.worlds.pictures import PictureWorld
from glocal.pipeline.config import EvaluateConfig, RobotConfig
from glocal.pipeline.export import XY
from glocal.pipeline.make_vec import side_by_side
from glocal.pipeline.real import open_robot
from glocal.pipeline.run import is_finished
from glocal.pipeline.run_dir import Run
from glocal.runtime.progress import console
from glocal.tasks.pusht import GOAL_KEYPOINTS, TABLE, PushT, PushTConfig

RECORDED, OWN = 200, 8
"""Recorded moments to begin from, and initial states of the real environment."""
RANGED = 2000
"""Recorded rows that say how large numbers become."""
SCENE = (192, 192)
"""Pixels of the real environment's picture, where models see none."""


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
    scale = run.config.reward_scale
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
        numbers = {name: x for name, x in fields.items() if x.dtype != np.uint8}
        if not codec.draws or not fields:  # what else models see is in their observation alone
            numbers |= {"observation": obs.cpu().numpy()}
        return side_by_side(pictures) if pictures else None, numbers

    paints = isinstance(world, PictureWorld)
    return show


def _twins(run: Run, recorded: Recorded, rows: Tensor) -> Callable[[], Twin] | None:
    """What makes a real environment; None where there is none."""
    task, env = run.config.task, run.config.env
    if isinstance(task, RobotConfig):
        return (lambda: RobotTwin(open_robot(task, env, filmed=True))) if env.id else None
    states: dict[int, Array] = {}
    if _placed(run):
        agent, pose = (run.store.fields[name] for name in ("agent", "pose"))
        stored = recorded.stored[rows.to(recorded.stored.device)].tolist()
        states = {row: np.concatenate([agent[k], pose[k]]) for row, k in zip(rows.tolist(), stored, strict=True)}
    picture = run.picture if task.images else SCENE
    return lambda: PushTTwin(PushT(task, picture), states)


def _placed(run: Run) -> bool:
    """Whether the real environment can begin at recorded moments."""
    return isinstance(run.config.task, PushTConfig) and {"agent", "pose"} <= run.store.fields.keys()


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
    train = run.experience[0].steps.obs
    fields = made.decode(train[:: max(1, len(train) // RANGED)])
    goal = GOAL_KEYPOINTS.round(1).reshape(-1).tolist()
    return {
        "title": run.config.preset,
        "fps": fps,
        "scene": {"size": TABLE, "goal": goal, "reach": task.reach} if planar else None,
        "actions": _actions(run),
        "starts": [one.label for one in made.starts],
        "first": 0 if _placed(run) else next((i for i, one in enumerate(made.starts) if one.seed is not None), 0),
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
        return [{"name": name, "rest": 0.0} for name in XY]
    found = []
    for part in task.mapping.action:
        for column, low, high in zip(part.columns, part.low, part.high, strict=True):
            rest = float(np.clip(-(high + low) / (high - low), -1, 1))
            name = f"{part.feature} {column}" if part.kind == "absolute" else f"{part.feature} {column} ({part.kind})"
            found.append({"name": name, "rest": None if part.kind == "absolute" else round(rest, 4)})
    return found
