"""What a run takes from the one before it, with which it goes on: episodes, and the weights that its models begin with.

RUN/before/KIND/    weights of the run before, as they were when its episodes were taken over
"""

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor, nn

from glocal.core.improve import ImproveConfig
from glocal.data.findings import few
from glocal.data.ingest import beside
from glocal.data.store import EpisodeStore, episode_of, recorded, write_episode
from glocal.pipeline.config import Config, RobotConfig, from_dict
from glocal.pipeline.run_dir import RunFolder, split_recorded
from glocal.runtime import checkpoints
from glocal.runtime.checkpoints import Checkpoint
from glocal.runtime.files import UserError, read_json
from glocal.runtime.progress import Ticker

Array = NDArray[Any]
BEFORE = "before"
BEYOND = 1.0
"""Share of the recorded rewards' range by which the median of new ones may lie beyond: a policy that does well earns
more than was ever recorded."""
OLD = 10**8
"""Added to the number of an episode of the run before while it waits beside new ones."""
NEEDED = ("action", "reward", "cont", "pose")
"""Recorded fields that models or gates need beside what codecs read."""


def former(config: Config) -> RunFolder:
    """The run that one with this configuration goes on from."""
    folder = Path(config.after)
    return RunFolder(folder, from_dict(read_json(folder / "config.json"), folder / "config.json"))


def begin_with(run: RunFolder, kind: str, module: nn.Module) -> bool:
    """Give a module the weights of the run before, where there is one; whether there is."""
    found = checkpoints.load(run.folder / BEFORE / kind, kind)
    if found is None:
        return False
    checkpoints.restore(module, found)
    return True


def seen_by(config: Config) -> tuple[str, ...]:
    """The recorded fields that a codec reads."""
    task = config.task
    if isinstance(task, RobotConfig):
        return tuple(one.name for one in (*task.mapping.streams, *task.mapping.cameras))
    return (*(("image",) if task.images else ("keypoints",)), *(("agent",) if task.agent or not task.images else ()))


def take_over(old: RunFolder, folder: Path) -> None:
    """Copy the weights that models begin with from one run into the folder of another.

    The local model begins as policy iteration left it, which is what the actor's beliefs are.
    """
    fitted = isinstance(old.config.task, RobotConfig) or old.config.task.images
    wanted = {"codec": fitted, "global": True, "judge": bool(old.config.judge)}
    for kind in (kind for kind, there in wanted.items() if there):
        found = _trained(old.folder / kind, kind)
        _copy(folder, kind, found, found.model)
    policy, cloning = (_trained(old.kept(kind), kind) for kind in ("policy", "cloning"))
    _copy(folder, "local", policy, _part(policy.model, "surrogate"))
    _copy(folder, "policy", policy, _part(policy.model, "actor"))
    _copy(folder, "cloning", cloning, _part(cloning.model, "actor"))
    if isinstance(old.config.learn, ImproveConfig):
        last = _trained(old.folder / "policy", "policy", training=True)
        _, _, critics, *imitation = last.training["job"]["modules"]
        _copy(folder, "critics", last, critics)
        for weights in imitation:
            _copy(folder, "imitation", last, weights)


def _trained(folder: Path, kind: str, training: bool = False) -> Checkpoint:
    found = checkpoints.load(folder, kind, training)
    if found is None:
        raise UserError(f"there is no trained {kind} in {folder}, which another run is to go on from; train it first")
    return found


def _part(weights: Mapping[str, Tensor], name: str) -> dict[str, Tensor]:
    return {key.removeprefix(f"{name}."): x for key, x in weights.items() if key.startswith(f"{name}.")}


def _copy(folder: Path, kind: str, origin: Checkpoint, weights: Mapping[str, Tensor]) -> None:
    checkpoints.save(folder / BEFORE / kind, kind, origin.iteration, origin.about, weights, {})


def copy_episodes(old: EpisodeStore, folder: Path, names: set[str]) -> None:
    """Add all episodes of a store, those fields of them, to a recording; those that stand there already are kept."""
    standing = recorded(folder)
    with Ticker("take over", len(old), unit="episodes") as tick:
        for number in range(len(old)):
            if OLD + number not in standing:
                episode = old.episode(number)
                write_episode(folder, OLD + number, {name: x for name, x in episode.items() if name in names})
            tick(number + 1)


def shared_fields(old: EpisodeStore, folder: Path, new: int, path: Path, reads: Sequence[str]) -> set[str]:
    """The fields that episodes of a store and a recorded new one both have; raises `UserError` where the new one lacks
    what is needed, by a codec that `reads` some among others, or has it otherwise."""
    known, found = _told(old.fields), _told(episode_of(folder, new))
    missing = [name for name in known if name not in found and name in (*reads, *NEEDED)]
    if missing:
        raise UserError(f"{path} tells no {', '.join(missing)}, which {old.folder} holds of every control step")
    for name, (shape, dtype) in known.items():
        if name in found and found[name] != (shape, dtype):
            raise UserError(
                f"the {name} of {path} is {found[name][1]} {found[name][0]}, that of {old.folder} "
                f"{dtype} {shape}; a run goes on with logs of the same robot alone"
            )
    return set(known) & set(found)


def _told(fields: Mapping[str, Array]) -> dict[str, tuple[tuple[int, ...], Any]]:
    return {name: (x.shape[1:], x.dtype) for name, x in fields.items()}


def check_new(old: EpisodeStore, folder: Path, numbers: Sequence[int], path: Path, seen: Sequence[str]) -> None:
    """Raise `UserError` where recorded new episodes are in a store already, by the numbers that were `seen` and told in
    them, or where their rewards are of another kind. Pictures are not compared: they differ when a video is written
    anew."""
    names = sorted(name for name in (*seen, "action") if old.fields[name].ndim < 4)
    known = {_digest(old.episode(number), names) for number in range(len(old))}
    twice, rewards = [], []
    for number in numbers:
        episode = episode_of(folder, number)
        rewards.append(episode["reward"])
        if _digest(episode, names) in known:
            twice.append(number)
    if twice:
        raise UserError(
            f"{len(twice)} episodes of {path} are among those of {old.folder} already, from which what is held out has "
            f"to stay apart: {few(twice)}. Name them under leave_out in {beside(path)}, or write the new ones alone "
            "(`glocal data split`)"
        )
    then, now = old.fields["reward"], np.concatenate(rewards)
    if _differ_in_kind(then, now):
        raise UserError(
            f"rewards of {path} are of another kind: they go from {now.min():.4g} to {now.max():.4g}, and those of "
            f"{old.folder} from {then.min():.4g} to {then.max():.4g}. Label the new logs as the first were (`glocal "
            "data label`)"
        )


def _differ_in_kind(then: Array, now: Array) -> bool:
    """Whether some rewards are flags and others are not, or the median of new ones is far from all before."""
    were_flags, are_flags = _flags(then), _flags(now)
    if were_flags or (are_flags and len(np.unique(now)) == 2):
        return were_flags != are_flags
    slack = BEYOND * np.ptp(then)
    return not then.min() - slack <= np.median(now) <= then.max() + slack


def _flags(reward: Array) -> bool:
    """Whether rewards are 0 and 1 alone, as they are where success is what is paid for."""
    return bool(np.isin(reward, (0, 1)).all())


def _digest(episode: Mapping[str, Array], names: Sequence[str]) -> str:
    return hashlib.sha256(b"".join(np.ascontiguousarray(episode[name]).tobytes() for name in names)).hexdigest()


def in_order(old: int, new: Sequence[int], config: Config) -> list[int]:
    """The numbers of the run before's so many episodes and of `new` ones, in the order in which none changes sides.

    What no model was trained on stays held out, and what is the judge's remains the judge's alone. Raises `UserError`
    where the new ones are too few for that.
    """
    before, now = split_recorded(config, old), split_recorded(config, old + len(new))
    own, judge, held_out = (len(b) - len(a) for a, b in zip(before, now, strict=True))
    if min(own, judge, held_out) < 0:
        raise UserError(
            f"{len(new)} new episodes are too few to be shared out between what models are trained on, the judge "
            "(--judge) and what is held out (--held-out); record more"
        )
    kept = [[OLD + number for number in part] for part in before]
    parts = (new[:own], new[own : own + judge], new[own + judge :])
    return [number for a, b in zip(kept, parts, strict=True) for number in (*a, *b)]
