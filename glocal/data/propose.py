"""A first guess at how a dataset maps to a task, from the names and the numbers in it."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from glocal.data.dataset import Dataset
from glocal.data.mapping import Mapping
from glocal.files import UserError

CAMERAS = (
    "observation.image",
    "observation.images",
    "observation.pixels",
    "observation",
    "image",
    "images",
    "img",
    "pixels",
)
STATES = ("observation.state", "state", "observation.agent_pos", "agent_pos", "observation.environment_state")
ACTIONS = ("action", "actions")
POSES = ("observation.pose",)
OUTCOMES = {"reward": ("next.reward", "reward"), "done": ("next.done", "done"), "success": ("next.success", "success")}


def propose(dataset: Dataset, rate: float = 5.0) -> tuple[Mapping, list[str]]:
    """The likeliest mapping of a dataset to Push-T, and what was guessed or is missing, in words."""
    cameras = [name for name, feature in dataset.features.items() if feature.picture]
    said = []
    if not cameras:
        raise UserError(f"{dataset.folder} holds no pictures; found {', '.join(dataset.features)}")
    camera = _named(cameras, CAMERAS) or cameras[0]
    if len(cameras) > 1:
        said.append(f"of the cameras {', '.join(cameras)} {camera} is used")
    action = _named(dataset.features, ACTIONS)
    if action is None:
        raise UserError(f"{dataset.folder} holds no actions; expected one of {', '.join(ACTIONS)}")
    state = _named(dataset.features, STATES)
    if state is None:
        said.append("there is no state: the agent has to be found in the images")
    fps = dataset.fps
    if fps is None:
        fps = 2 * rate
        said.append(f"the format does not tell the rate; {fps:g} steps per second are assumed")
    outcomes = {name: _named(dataset.features, known) for name, known in OUTCOMES.items()}
    representation, why = _representation(dataset, action, state)
    height, width, _ = dataset.features[camera].shape
    proposed = Mapping(
        camera, (height, width), state, action, fps, rate, representation, pose=_named(dataset.features, POSES)
    )
    return replace(proposed, **outcomes), [*said, why]


def _representation(dataset: Dataset, action: str, state: str | None) -> tuple[Any, str]:
    """Absolute where actions are nearer to the state than to zero."""
    if state is None:
        return "delta", "without a state actions are taken for deltas"
    part = dataset.episode(0, [action, state])
    here = part[state][:, :2].astype(np.float64)
    told = part[action][:, :2].astype(np.float64)
    near = np.abs(told - here).mean()
    if near < np.abs(told).mean():
        return "absolute", f"actions are on average {near:.3g} from the state: they are taken for absolute targets"
    return "delta", f"actions are on average {near:.3g} from the state: they are taken for deltas"


def _named(names: Any, known: Sequence[str]) -> str | None:
    exact = [name for wanted in known for name in names if name == wanted]
    begun = [name for wanted in known for name in names if name.startswith(f"{wanted}.")]
    return next(iter([*exact, *begun]), None)
