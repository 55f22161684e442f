"""Imagined environments of a run, for anybody's agents: `glocal.make_vec`."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from gymnasium.vector import AutoresetMode
from torch import Tensor

from glocal.deploy.vector_env import Frames, ImaginedVectorEnv, Imagining, Starts
from glocal.models.worlds.pictures import PictureWorld
from glocal.pipeline.run import is_finished, open_run
from glocal.pipeline.run_dir import Run
from glocal.runtime.files import UserError


def make_vec(
    run: str | Path,
    num_envs: int = 64,
    *,
    horizon: int | np.ndarray | None = None,
    starts: Starts = "anywhere",
    held_out: bool = False,
    observe: Literal["row", "belief"] = "row",
    autoreset_mode: AutoresetMode | str = AutoresetMode.NEXT_STEP,
    tensors: bool = False,
    device: str | None = None,
    render_mode: str | None = None,
) -> ImaginedVectorEnv:
    """The global model of a run as a `gymnasium.vector.VectorEnv`.

    Args:
        run: The folder of a run whose global model is trained.
        num_envs: Environments that are imagined together.
        horizon: Control steps after which an episode is truncated; by default as many as the run's own policy imagines.
        starts: Begin from `anywhere` in the recordings, or from the `beginnings` of episodes.
        held_out: Begin from recordings that no model was trained on.
        observe: What is observed: the `row` of numbers that models see (what of the past matters has to be remembered
            by the agent), or the `belief` of the run's local model, which its own policy sees.
        autoreset_mode: One of Gymnasium's.
        tensors: Take and give tensors on the model's device, and not numpy arrays.
        device: Where the model computes; by default as the run is configured.
        render_mode: `rgb_array` for pictures, where the run's observations hold some.

    Raises `UserError` where the run cannot be used so.
    """
    known = open_run(Path(run))
    for stage in ("global", *(("local",) if observe == "belief" else ())):
        if not is_finished(known, stage):
            raise UserError(f"{run} has no finished {stage} model yet; `glocal run {run}` trains it")
    if device is not None:
        known = Run(known.folder, replace(known.config, device=device))  # pyright: ignore[reportArgumentType]
    draw = _drawing(known)
    if render_mode is not None and draw is None:
        raise UserError(f"{run} observes what no pictures are drawn of; leave render_mode out")
    train, aside = known.experience
    world = known.world()
    imagining = Imagining(
        world,
        known.for_world(aside if held_out else train),
        known.config.learn.warm_up,
        known.surrogate() if observe == "belief" else None,
        draw,
        known.config.reward_scale,
    )
    return ImaginedVectorEnv(
        imagining,
        num_envs,
        known.config.learn.episode if horizon is None else horizon,
        starts=starts,
        observe=observe,
        autoreset_mode=AutoresetMode(autoreset_mode),
        tensors=tensors,
        render_mode=render_mode,
    )


def _drawing(run: Run) -> Callable[[Any, Tensor], Frames] | None:
    """What draws pictures of observations, the cameras side by side; None where these hold none."""
    if not run.config.task.images or not run.codec.draws:
        return None
    world, codec = run.world(), run.codec

    @torch.no_grad()
    def draw(context: Any, obs: Tensor) -> Frames:
        drawn = world.pictures(context) if isinstance(world, PictureWorld) else codec.decode(obs)
        return side_by_side([x.cpu().numpy() for x in drawn.values() if x.dtype == torch.uint8])

    return draw


def side_by_side(frames: Sequence[Frames]) -> Frames:
    """The pictures of several cameras in one, (n, h, w, 3)."""
    height = max(frame.shape[1] for frame in frames)
    return np.concatenate([_padded(frame, height) for frame in frames], axis=2)


def _padded(frames: Frames, height: int) -> Frames:
    return np.pad(frames, ((0, 0), (0, height - frames.shape[1]), (0, 0), (0, 0)))
