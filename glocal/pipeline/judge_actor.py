"""Somebody's actor in the real environment of a run (`glocal evaluate RUN --actor FILE`)."""

from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import tyro

from glocal.core.ranges import Many, Range
from glocal.deploy.actors import OnnxActor, acted_by
from glocal.evaluate.episodes import write_video
from glocal.evaluate.intervals import in_words
from glocal.pipeline import build
from glocal.pipeline.config import EvaluateConfig
from glocal.pipeline.real import real_of
from glocal.pipeline.run import is_finished, open_run
from glocal.pipeline.run_dir import Run
from glocal.pipeline.usage import read_verb
from glocal.runtime.files import UserError, write_json
from glocal.runtime.progress import Ticker, console


def evaluate(
    run: tyro.conf.Positional[Path],
    actor: Path,
    episodes: Annotated[int, Range(1, 100_000)] = EvaluateConfig.episodes,
    first_seed: Many = EvaluateConfig.first_seed,
    filmed: Annotated[int, Range(0, 1000)] = 0,
) -> None:
    """Judge an actor that was trained in a run's imagined environments, in the run's real environment.

    What came of it is in RUN/actors/NAME.json.

    Args:
        run: The folder of the run that the actor was trained in.
        actor: An ONNX file: observations as `glocal.make_vec` shows them, rows or beliefs, to actions from -1 to 1.
        episodes: In the real environment.
        first_seed: Initial states are those of this seed and the following ones: by default of `glocal evaluate`.
        filmed: Episodes shown in a video beside it.
    """
    known = open_run(run)
    known = Run(known.folder, replace(known.config, device="cpu"))
    real = real_of(known)
    if real is None:
        raise UserError(f"{run} has no environment to judge actors in; name one with `glocal run {run} --env ID`")
    network = OnnxActor(actor, build.build_spec(known.config).action_dim)
    surrogate = _surrogate(known, network)
    with Ticker("actor", known.config.task.control_steps, unit="steps", per_iteration=episodes) as tick:
        happened = real(
            lambda _: acted_by(network, known.codec, surrogate, known.view), episodes, first_seed, filmed, tick
        )
    found = {"actor": str(actor), "episodes": episodes, "first_seed": first_seed, **happened.summary()}
    folder = known.folder / "actors"
    folder.mkdir(exist_ok=True)
    write_json(folder / f"{actor.stem}.json", found)
    if happened.frames:
        write_video(folder / f"{actor.stem}.mp4", happened.frames)
    for name in happened.scores:
        if isinstance(found[name], dict):
            console.print(f"{name}: {in_words(found[name])}", soft_wrap=True, highlight=False)
    console.print(f"see {folder / f'{actor.stem}.json'}")


def _surrogate(run: Run, network: OnnxActor) -> Any:
    """The local model whose beliefs an actor sees, or None where it sees rows; raises `UserError` where neither is as
    wide as what it takes."""
    width = build.build_spec(run.config).obs_dim
    if network.width == width:
        return None
    belief = build.build_surrogate(run.config).feat_dim if is_finished(run, "local") else None
    if network.width != belief:
        beliefs = "" if belief is None else f", or {belief} of beliefs"
        raise UserError(
            f"{network.path} takes {network.width} numbers, expected {width} of what models see{beliefs}; was it "
            "trained in the imagined environments of another run?"
        )
    return run.surrogate()


def main(arguments: list[str]) -> None:
    """`glocal evaluate RUN --actor FILE`."""
    read_verb({"evaluate": evaluate}, ["evaluate", *arguments], "glocal")
