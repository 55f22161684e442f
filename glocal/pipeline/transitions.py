"""What was recorded as rows of transitions, for anybody's offline learning: `glocal.transitions`, `glocal data
transitions`."""

from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
import tyro
from torch import Tensor

from glocal.core.types import Surrogate
from glocal.data.inside import apart
from glocal.data.segments import Recorded
from glocal.pipeline.plan import STAGES
from glocal.pipeline.run import is_finished, open_run
from glocal.pipeline.status import status
from glocal.pipeline.usage import read_verb
from glocal.runtime.files import UserError, atomic_write
from glocal.runtime.progress import console

Observed = Literal["row", "belief"]


def transitions(run: str | Path, *, observe: Observed = "row", held_out: bool = False) -> dict[str, np.ndarray]:
    """The control steps that a run's models are trained on, under D4RL's names (arXiv 2004.07219).

    Args:
        run: The folder of a run that has taken in its logs, and trained its codec where it has one.
        observe: What is observed, as for `glocal.make_vec`: the `row` of numbers that models see, or the `belief` of
            the run's local model.
        held_out: The episodes that no model was trained on, instead.

    Returns `observations` and `next_observations` (n, d), `actions` (n, a) from -1 to 1, and `rewards` (n,), all
    float32, `terminals` (n,), whether the task ended with the step, and `timeouts` (n,), whether the recording did,
    without the task having ended. Episodes stand one behind the other.

    Raises `UserError` where the run cannot be used so.
    """
    known = open_run(Path(run))
    for stage in _needed(observe):
        if not is_finished(known, stage) and not STAGES[stage].idle(known.config):
            raise UserError(f"{run} has no finished {stage} stage yet; `glocal run {run}` makes it")
    known.store.verify()
    recorded = known.experience[1 if held_out else 0]
    seen = recorded.steps.obs if observe == "row" else believed(known.surrogate(), recorded)
    return rows_of(recorded, seen, known.config.reward_scale)


def rows_of(recorded: Recorded, seen: Tensor, scale: float) -> dict[str, np.ndarray]:
    """Recorded control steps under D4RL's names, of what is `seen` at every row (rows, d)."""
    steps, after = recorded.steps, recorded.acted
    last = torch.ones_like(after, dtype=torch.bool)
    last[:-1] = after[1:] != after[:-1] + 1
    ended = steps.cont[after] < 0.5
    found = {
        "observations": seen[after - 1],
        "actions": steps.action[after],
        "rewards": scale * steps.reward[after],
        "next_observations": seen[after],
        "terminals": ended,
        "timeouts": last & ~ended,
    }
    return {name: x.cpu().numpy() for name, x in found.items()}


@torch.no_grad()
def believed(surrogate: Surrogate[Any], recorded: Recorded) -> Tensor:
    """What a local model believes at every row, (rows, f), as where it is told one observation after the other."""
    steps, starts = recorded.steps, recorded.first.unique()
    lengths = torch.diff(starts, append=starts.new_tensor([len(recorded)]))
    order = lengths.argsort(descending=True)
    starts, lengths = starts[order], lengths[order]
    belief = surrogate.initial(steps.obs[starts]).expected()
    found = belief.feat.new_zeros(len(recorded), belief.feat.shape[1])
    found[starts] = belief.feat
    for t in range(1, int(lengths[0])):
        rows = starts[: int((lengths > t).sum())] + t
        belief = belief[: len(rows)]
        belief = surrogate.correct(surrogate.predict(belief, steps.action[rows]), steps.obs[rows]).expected()
        found[rows] = belief.feat
    return found


def write_transitions(
    run: tyro.conf.Positional[Path], out: Path, observe: Observed = "row", held_out: bool = False
) -> None:
    """Write what was recorded as rows of transitions, under D4RL's names: for offline reinforcement learning.

    Args:
        run: The folder of a run that has taken in its logs, and trained its codec where it has one.
        out: The file, FILE.npz.
        observe: The `row` of numbers that models see, or the `belief` of the run's local model.
        held_out: The episodes that no model was trained on, instead.
    """
    _check_out(out, run)
    found = transitions(run, observe=observe, held_out=held_out)
    states = status(open_run(run))
    for stage in _needed(observe):
        if states[stage].state == "stale":
            console.print(f"note: {stage} is stale ({'; '.join(states[stage].reasons)}); it is used as it is")
    with atomic_write(out) as draft, draft.open("wb") as file:
        np.savez_compressed(file, **found)  # pyright: ignore[reportArgumentType]
    count, width = found["observations"].shape
    ends = int(found["terminals"].sum())
    none = "" if ends else "; where the mapping does not say `ends`, no step ends the task"
    console.print(
        f"{out}: {count} transitions, observations of {width} numbers, {ends} ends, "
        f"{int(found['timeouts'].sum())} recordings that stop{none}",
        soft_wrap=True,
        highlight=False,
    )


def _needed(observe: Observed) -> list[str]:
    """The stages that have to be finished."""
    return ["collect", "codec", *(["local"] if observe == "belief" else [])]


def _check_out(out: Path, run: Path) -> None:
    """Raise `UserError` where transitions would be written over what is there, or into data."""
    if out.suffix != ".npz":
        raise UserError(
            f"transitions are written as numpy's arrays, and {out} is no name for these; call it FILE.npz, as "
            f"{out.with_suffix('.npz')}"
        )
    if out.exists():
        raise UserError(f"{out} exists already; name a new file, or remove that one first")
    known = open_run(run)
    for data in (known.folder / "data", known.config.logs):
        if data:
            apart(out, Path(data))


def main(arguments: list[str]) -> None:
    """`glocal data transitions RUN --out FILE.npz`."""
    read_verb({"transitions": write_transitions}, arguments, "glocal data")
