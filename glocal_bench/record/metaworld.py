"""Logs of a Meta-World task: demonstrations as World4RL (arXiv 2509.19080) takes them, and play; LeRobotDataset v3.0,
80 steps a second.

    glocal bench record metaworld-push out/push
    MUJOCO_GL=egl glocal bench record metaworld-drawer-open-seen out/drawer

Of the episodes 50 are of the script that comes with Meta-World, made clumsy by noise, 150 of a policy that is cloned
from those, and 30 of random actions, as there; in 250 more somebody plays with the object, with no task in mind: shoves
it from any side, takes it somewhere, misses it. They are mixed, so that the last ones are of all kinds. Each begins
where the environment resets to, in another of a list of 500 tasks, and lasts `--steps`; actions are held for 5 steps,
so that there are 16 control steps a second. The reward is 1 where there is success, and 0 elsewhere; the environment's
own, which tells the way to success, is kept as `next.dense_reward` and used by nothing. A mapping beside the logs names
those of the 39 numbers that change. With `--camera` it names the hand's own four and a camera beside the table, which
takes a picture at each control step, and steps are those (`glocal/MetaWorld-v0`).
"""

import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
import tyro
from torch import nn

from glocal.core.ranges import Many, Range, Seed
from glocal.data.dataset import Array, Feature
from glocal.data.formats.lerobot_writer import Layout, check_new, write_lerobot
from glocal.data.ingest import beside
from glocal.data.streams import ActionPart, Camera, RobotMapping, Stream, to_dict
from glocal.runtime.files import UserError, write_json
from glocal.runtime.progress import Ticker
from glocal.tasks.robot import begin, make

FPS, HOLD = 80, 5
"""Of the environment, and its steps for which actions are held."""
GOALS, SEEDED = 500, 10_000
"""Tasks that initial states are drawn from, and the seed of the first list of them: other lists judge policies."""
STEP = 0.05
"""Metres that an action of 1 moves the hand in a control step."""
NOISE = {"scripted": (0.02, 0.05, 0.1), "cloned": (0.0, 0.1, 0.3), "random": (0.0,), "play": (0.05, 0.2, 0.5)}
"""By kind, standard deviations of the noise on actions; each episode has one of them."""
FEATURES = {
    "observation.state": Feature((39,), "float32"),
    "action": Feature((4,), "float32", names=("dx", "dy", "dz", "gripper")),
    "next.reward": Feature((1,), "float32"),
    "next.dense_reward": Feature((1,), "float32"),
    "next.success": Feature((1,), "bool"),
}
CAMERA, SIDE = "observation.images.front", 96
SEEN = {
    "observation.hand": Feature((4,), "float32", names=("x", "y", "z", "open")),
    CAMERA: Feature((SIDE, SIDE, 3), "uint8", picture=True, names=("height", "width", "channels")),
    **{name: FEATURES[name] for name in ("action", "next.reward", "next.dense_reward", "next.success")},
}
"""What is recorded where a camera shows the object."""
PARTS = {"hand": range(4), "thing": range(4, 18), "before": range(18, 36), "goal": range(36, 39)}
"""What the 39 numbers are; `before` is hand and thing one step of the environment earlier."""
STILL = 1e-4
"""Standard deviation up to which numbers are taken for constant."""

Act = Callable[[Array], Array]
"""An action (4,) for what is observed (39,)."""
Episode = dict[str, Array]


@dataclass(frozen=True)
class Shown:
    """An episode, and what its player was told."""

    episode: Episode
    state: Array
    """(control steps, 39)."""
    action: Array
    """(control steps, 4)."""


def scripted(task: str) -> Act:
    """The policy that comes with Meta-World; it asks for more than the environment takes, and warns of that."""
    policies: Any = import_module("metaworld.policies")  # it is there only with the tasks
    warnings.filterwarnings("ignore", message="Constant")
    return policies.ENV_POLICY_MAP[task]().get_action


def cloned(shown: list[Shown], seed: int, updates: int = 3000) -> Act:
    """A network that is fitted to the control steps of some episodes."""
    torch.manual_seed(seed)
    seen = torch.from_numpy(np.concatenate([one.state for one in shown]))
    told = torch.from_numpy(np.concatenate([one.action for one in shown]))
    mean, std = seen.mean(0), seen.std(0).clamp_min(1e-3)
    net = nn.Sequential(nn.Linear(39, 256), nn.ReLU(), nn.Linear(256, 256), nn.ReLU(), nn.Linear(256, 4))
    optimizer = torch.optim.Adam(net.parameters(), 1e-3)
    for _ in range(updates):
        rows = torch.randint(len(seen), (256,))
        loss = (net((seen[rows] - mean) / std) - told[rows]).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

    @torch.no_grad()
    def act(obs: Array) -> Array:
        return net((torch.from_numpy(obs).float() - mean) / std).numpy()

    return act


def aimless(rng: np.random.Generator) -> Act:
    """Random actions, each for 1 to 3 control steps."""
    action, left = np.zeros(4), 0

    def act(obs: Array) -> Array:
        nonlocal action, left
        if not left:
            action, left = rng.uniform(-1, 1, 4), int(rng.integers(1, 4))
        left -= 1
        return action

    return act


def playful(rng: np.random.Generator) -> Act:
    """One intent after the other, with no task in mind; each for half a second to two seconds."""
    hand, left = wander(rng), 0

    def act(obs: Array) -> Array:
        nonlocal hand, left
        if not left:
            hand, left = (shove, carry, carry, wander)[rng.choice(4)](rng), int(rng.integers(8, 33))
        left -= 1
        return hand(obs)

    return act


def shove(rng: np.random.Generator) -> Act:
    """Through where the object is, or close by, from wherever the hand happens to be, and on."""
    speed, beyond, aside = rng.uniform(0.2, 1), rng.uniform(-0.02, 0.15), rng.uniform(-0.04, 0.04, 2)
    height, width = rng.choice([0.0, 0.02, 0.05]), rng.uniform(-1, 1)

    def act(obs: Array) -> Array:
        way = obs[4:6] - obs[:2]
        through = obs[4:6] + aside + beyond * way / max(float(np.linalg.norm(way)), 1e-3)
        return towards(np.r_[through, obs[6] + height], obs, speed, width)

    return act


def carry(rng: np.random.Generator) -> Act:
    """Above the object, down, shut more or less firmly, and away with it, or without it."""
    speed, miss, grip = rng.uniform(0.2, 1), rng.normal(0, 0.012, 3), rng.uniform(0.1, 1)
    aim, waits = rng.uniform([-0.25, 0.5, 0.02], [0.25, 0.95, 0.3]), int(rng.integers(1, 5))
    aim[2] = 0.02 if rng.random() < 0.5 else aim[2]
    shut = 0

    def act(obs: Array) -> Array:
        nonlocal shut
        apart = obs[4:7] + miss - obs[:3]
        if shut or np.abs(apart).max() < 0.02:
            shut += 1
            return towards(aim if shut > waits else obs[:3], obs, speed, grip)
        above = np.linalg.norm(apart[:2]) > 0.03
        return towards(obs[4:7] + miss + np.r_[0, 0, 0.08 if above else 0.0], obs, speed, -1.0)

    return act


def wander(rng: np.random.Generator) -> Act:
    """To a place somewhere over the table, or jerking the controls."""
    if rng.random() < 0.5:
        return aimless(rng)
    speed, target = rng.uniform(0.2, 1), rng.uniform([-0.2, 0.45, 0.05], [0.2, 0.9, 0.3])
    width = rng.uniform(-1, 1)
    return lambda obs: towards(target, obs, speed, width)


def towards(target: Array, obs: Array, speed: float, width: float) -> Array:
    """The action (4,) that moves the hand to a place, no faster than a share of what it can."""
    return np.r_[np.clip((target - obs[:3]) / STEP, -speed, speed), width]


def elsewhere(env: Any, taken: set[bytes], rng: np.random.Generator) -> Any:
    """What is observed where no episode began before; without noise, others would be copies of those that did."""
    seen = begin(env, int(rng.integers(2**31)))
    while _state(seen).tobytes() in taken:
        seen = begin(env, int(rng.integers(2**31)))
    taken.add(_state(seen).tobytes())
    return seen


def _state(seen: Any) -> Array:
    """All 39 numbers, (39,), of what either environment shows."""
    return seen["state"] if isinstance(seen, dict) else seen


def record_episode(env: Any, seen: Any, act: Act, noise: float, steps: int, rng: np.random.Generator) -> Shown:
    """An episode that begins with what is seen, of so many of the environment's steps."""
    pictured = isinstance(seen, dict)
    features, hold = (SEEN, 1) if pictured else (FEATURES, HOLD)
    rows: dict[str, list[Any]] = {name: [] for name in features}
    states, actions = [], []
    for t in range(steps):
        if t % hold == 0:
            drawn = np.clip(act(_state(seen)) + rng.normal(0, noise, 4), -1, 1).astype(np.float32)
            states.append(np.asarray(_state(seen), np.float32))
            actions.append(drawn)
        after, dense, _, _, info = env.step(actions[-1])
        sensed = (seen["hand"], seen["front"]) if pictured else (seen,)
        told = (*sensed, actions[-1], [info["success"]], [dense], [info["success"]])
        for name, value in zip(features, told, strict=True):
            rows[name].append(value)
        seen = after
    episode = {name: np.array(rows[name], feature.dtype) for name, feature in features.items()}
    return Shown(episode, np.array(states), np.array(actions))


def record(
    task: str, counts: dict[str, int], steps: int, seed: int, camera: bool, tick: Callable[[int], None]
) -> Iterator[tuple[str, Episode]]:
    """Episodes with their kinds, one kind after the other."""
    made, kept = 0, {"env_name": task, "seed": SEEDED + seed, "num_goals": GOALS}
    env = make("glocal/MetaWorld-v0", camera=True, **kept) if camera else make("Meta-World/MT1", **kept)
    players = {
        "scripted": lambda _: scripted(task),
        "cloned": lambda shown: cloned(shown, seed),
        "random": lambda _: aimless(np.random.default_rng([seed, 1])),
        "play": lambda _: playful(np.random.default_rng([seed, 2])),
    }
    shown: list[Shown] = []
    taken: set[bytes] = set()
    for kind in (kind for kind, count in counts.items() if count):
        act = players[kind](shown)
        for _ in range(counts[kind]):
            rng = np.random.default_rng([seed, 0, made])
            seen = elsewhere(env, taken, rng)
            one = record_episode(env, seen, act, float(rng.choice(NOISE[kind])), steps, rng)
            if kind == "scripted":
                shown.append(one)
            made += 1
            tick(made)
            yield kind, one.episode


def mapping_of(episodes: list[Episode]) -> RobotMapping:
    """Those numbers that change, at the rate of control steps; an action of 1 is the environment's own."""
    std = np.concatenate([one["observation.state"] for one in episodes]).std(0, dtype=np.float64)
    columns = {name: tuple(i for i in part if std[i] > STILL) for name, part in PARTS.items()}
    streams = tuple(Stream(name, "observation.state", some) for name, some in columns.items() if some)
    return RobotMapping(streams, _actions(HOLD), FPS, FPS / HOLD, reward="next.reward", success="next.success")


def seen_mapping() -> RobotMapping:
    """The hand's own numbers and the camera's pictures, a row for each control step."""
    hand, eye = Stream("hand", "observation.hand", tuple(range(4))), Camera("front", CAMERA, filmed=True)
    rate = FPS / HOLD
    return RobotMapping((hand,), _actions(1), rate, rate, reward="next.reward", success="next.success", cameras=(eye,))


def _actions(rows: int) -> tuple[ActionPart, ...]:
    """What actions mean, where a control step has so many rows."""
    return (
        ActionPart("action", (0, 1, 2), (-float(rows),) * 3, (float(rows),) * 3, "delta"),
        ActionPart("action", (3,), (-1.0,), (1.0,), "absolute"),
    )


def told(kinds: list[str], episodes: list[Episode]) -> Iterator[str]:
    """What came of the episodes of each kind, in words."""
    for kind in dict.fromkeys(kinds):
        some = [one for one, own in zip(episodes, kinds, strict=True) if own == kind]
        won, still = (np.array([pick(one["next.success"]) for one in some]) for pick in (np.any, lambda x: x[-1, 0]))
        full = np.abs(np.concatenate([one["action"] for one in some])) > 0.99
        yield (
            f"{kind}: {len(some)} episodes, {won.sum()} with success, {still.sum()} with success at the end; "
            f"of dx dy dz gripper {' '.join(f'{share:.0%}' for share in full.mean(0))} are at their limits"
        )


def main(
    out: tyro.conf.Positional[Path],
    task: str = "push-v3",
    scripted: Many = 50,
    cloned: Many = 150,
    random: Many = 30,
    play: Many = 250,
    steps: Annotated[int, Range(2 * HOLD, 500)] = 250,
    seed: Seed = 0,
    camera: bool = False,
) -> None:
    """Record a task.

    Args:
        out: The folder to write; it must not exist.
        task: As Meta-World calls it.
        scripted: Episodes of the script; a policy is cloned from them.
        cloned: Episodes of that.
        random: Episodes of random actions.
        play: Episodes of play with no task in mind.
        steps: Of each, at 80 a second.
        seed: Of everything that is drawn.
        camera: Record the hand's own numbers and pictures, in place of all numbers.
    """
    check_new(out)
    counts = {"scripted": scripted, "cloned": cloned, "random": random, "play": play}
    total = sum(counts.values())
    if not 0 < total <= GOALS or (cloned and not scripted):
        raise UserError(
            f"{counts} cannot be recorded: expected at least one episode and at most {GOALS}, and scripted ones where "
            "others are cloned"
        )
    torch.set_num_threads(1)
    fps, rows, features = (FPS // HOLD, steps // HOLD, SEEN) if camera else (FPS, steps, FEATURES)
    with Ticker("record", total, unit="steps", per_iteration=rows) as tick:
        made = list(record(task, counts, rows, seed, camera, tick))
    mixed = [made[i] for i in np.random.default_rng(seed).permutation(total)]
    kinds, episodes = [kind for kind, _ in mixed], [one for _, one in mixed]
    write_lerobot(out, episodes, Layout(fps, features), [f"{task}, {kind}" for kind in kinds])
    write_json(beside(out), to_dict(seen_mapping() if camera else mapping_of(episodes)))
    print(
        f"{total * steps // HOLD} control steps", *told([kind for kind, _ in made], [one for _, one in made]), sep="\n"
    )
