"""A run that goes on from another one with new logs: its configuration, and whether it can."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from glocal.core.improve import ImproveConfig
from glocal.data.inside import apart
from glocal.pipeline.changes import changes_in_words, differences, part_of
from glocal.pipeline.config import Config
from glocal.pipeline.plan import KEPT, STAGES
from glocal.pipeline.run import is_finished, open_run
from glocal.pipeline.run_dir import Run
from glocal.runtime.files import UserError, read_json
from glocal.runtime.progress import console, quoted

SHARE = 0.3
"""Of updates and iterations, that such a run takes."""
UNCHANGED = (
    "task", "codec", "codec_fit", "world", "surrogate", "agent", "held_out", "judge", "warm_start", "cloning.chunk",
    "learn._type",
)  # fmt: skip
"""Options that both runs share, or parts of the configuration with all that is in them: what weights fit, which
episodes are seen, and what there is nothing left to do with."""


def continued(folder: Path) -> Config:
    """The configuration of a run that goes on from the one in `folder`, which names no logs yet.

    What is trained takes `SHARE` of the updates and iterations that it took there, unless that run went on from
    another: then as many.
    """
    config = open_run(folder).config
    own = replace(config, after=str(folder.absolute()), logs="")
    if config.after:
        return own
    fits = {name: _less(getattr(own, name), "updates") for name in ("world_fit", "surrogate_fit", "cloning_fit")}
    learn, watch = _less(own.learn, "iterations"), _less(own.watch, "every") if own.watch.every else own.watch
    if isinstance(learn, ImproveConfig):
        learn = replace(learn, critics_first=0)  # they know what they knew
    return replace(own, **fits, learn=learn, watch=watch)


def _less(part: Any, name: str) -> Any:
    return replace(part, **{name: max(1, round(SHARE * getattr(part, name)))})


def check_before(run: Run) -> None:
    """Raise `UserError` where a run cannot go on from the one that it names."""
    folder, own = Path(run.config.after), run.config
    old = open_run(folder)
    if not own.logs:
        raise UserError(f"a run goes on from {folder} with new logs; name them with --logs")
    apart(run.folder, folder)
    if old.config.logs and Path(old.config.logs).resolve() == Path(own.logs).resolve():
        raise UserError(f"{own.logs} is what {folder} was trained on already; name new logs with --logs")
    lacking = [name for name in KEPT if not is_finished(old, name) and not STAGES[name].idle(old.config)]
    if lacking:
        raise UserError(f"{folder} is not finished: it lacks {', '.join(lacking)}; `glocal run {quoted(folder)}` first")
    check_unchanged(old.config, run)
    first, rolled = own.evaluate.first_seed, _seeds(Path(own.logs))
    if set(rolled) & set(range(first, first + own.evaluate.episodes)):
        console.print(
            f"note: {own.logs} begins in initial states from which `glocal evaluate` judges policies; `glocal rollout "
            "--seed` takes others, which keeps those unseen",
            soft_wrap=True,
        )


def check_unchanged(then: Config, run: Run) -> None:
    """Raise `UserError` where a run that goes on from another is given options that cannot change any more."""
    changed = [one for one in differences(then, run.config) if {one[0], part_of(one[0])} & set(UNCHANGED)]
    if changed:
        raise UserError(
            f"a run that goes on from {run.config.after} keeps what its models are, and which episodes they see. "
            f"{changes_in_words(changed)}"
        )


def _seeds(logs: Path) -> Sequence[int]:
    """Of the initial states of rollouts that were logged in an environment; none of other logs."""
    try:
        found = read_json(logs / "rollout.json") if (logs / "rollout.json").is_file() else None
    except UserError:
        return ()
    match found:
        case {"seeds": [int(first), int(last)]}:
            return range(first, last + 1)
    return ()
