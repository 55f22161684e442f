"""A first guess at how a dataset maps to a task, from the names and the numbers in it."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from glocal.data.dataset import Array, Dataset
from glocal.data.dimensions import IMPOSSIBLE
from glocal.data.mapping import Mapping, cameras_of, check, moments, motion, numbers, reach_in_pixels, ways
from glocal.data.outcomes import over_which
from glocal.runtime.files import UserError

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
TABLES = ((0.0, 1.0), (-1.0, 1.0), (0.0, 96.0), (0.0, 512.0))
"""Units that positions on a table come in; the last one is taken where nothing can be told."""
OFF = 0.01
"""Share of a table by which positions may be off it."""
USED = 0.2
"""Share of a table that positions have to spread over for it to be that table."""
LOOKED_AT = 50
"""Episodes, evenly spread, that numbers are looked at in."""
FARTHEST = 0.99
"""The reach is to hold this share of what actions ask for."""
USUAL = (0.5, 1.05)
"""Shares of the usual reach between which it is left as it is."""
OUTCOMES = {"reward": ("next.reward", "reward"), "done": ("next.done", "done"), "success": ("next.success", "success")}


def is_planar(dataset: Dataset) -> bool:
    """Whether logs may be of a planar robot that is seen by a camera: two numbers are told, pictures are there."""
    action = named(dataset.features, ACTIONS)
    told = action is not None and numbers(dataset.features[action]) == 2
    return told and bool(cameras_of(dataset.features))


def propose(dataset: Dataset, rate: float = 5.0) -> tuple[Mapping, list[str]]:
    """The likeliest mapping of a dataset to Push-T, and what was guessed or is missing, in words."""
    cameras = cameras_of(dataset.features)
    said = []
    if not cameras:
        raise UserError(f"{dataset.folder} holds no pictures; found {', '.join(dataset.features)}")
    camera = named(cameras, CAMERAS) or cameras[0]
    if len(cameras) > 1:
        said.append(f"of the cameras {', '.join(cameras)} {camera} is used")
    action = named(dataset.features, ACTIONS)
    if action is None:
        raise UserError(f"{dataset.folder} holds no actions; expected one of {', '.join(ACTIONS)}")
    state = named(dataset.features, STATES)
    if state is None:
        said.append("there is no state: the agent has to be found in the images")
    fps = dataset.fps
    if fps is None:
        fps = 2 * rate
        said.append(f"the format does not tell the rate; {fps:g} steps per second are assumed")
    outcomes = {name: named(dataset.features, known) for name, known in OUTCOMES.items()}
    said += [*_columns(dataset, action, state), *conventions(outcomes)]
    representation, why = _representation(dataset, action, state)
    height, width, _ = dataset.features[camera].shape
    proposed = Mapping(
        camera, (height, width), state, action, fps, rate, representation, pose=named(dataset.features, POSES)
    )
    fitted, told = _fitted(replace(proposed, **outcomes), dataset)
    return fitted, [*said, why, *told]


def _columns(dataset: Dataset, action: str, state: str | None) -> Iterator[str]:
    """What is left out of actions and states, in words."""
    for role, name in (("action", action), ("state", state)):
        if name is not None and (count := numbers(dataset.features[name])) > 2:
            yield f"{role} {name} holds {count} numbers, of which the first two are used"


def conventions(outcomes: dict[str, str | None]) -> Iterator[str]:
    """What is taken for granted of outcomes whose names do not say it, in words."""
    plain = [name for name in outcomes.values() if name is not None and not name.startswith("next.")]
    if plain:
        yield (
            f"a row's {', '.join(plain)} is taken for what came of its action; say outcomes_at observation where it "
            "came with its observation"
        )


def _fitted(mapping: Mapping, dataset: Dataset) -> tuple[Mapping, list[str]]:
    """With the table's corners and the reach that the numbers of some episodes tell of, and why, in words."""
    if check(mapping, dataset):
        return mapping, []
    chosen = np.unique(np.linspace(0, len(dataset) - 1, LOOKED_AT).astype(int))
    names = [name for name in (mapping.state, mapping.action, mapping.reward) if name is not None]
    parts = [dataset.episode(int(number), names) for number in chosen]
    said = []
    if mapping.reward is not None:
        over = over_which([part[mapping.reward] for part in parts])
        mapping = replace(mapping, reward_over=over)
        said.append(
            f"rewards change {'little by little' if over == 'last' else 'at once'}: a control step has the {over}"
        )
    moved = [motion(mapping, part) for part in parts]
    if mapping.state is not None:
        low, high = _table(np.concatenate([state for _, state in moved if state is not None]))
        mapping = replace(mapping, low=(low, low), high=(high, high), reach=mapping.reach * (high - low) / 512)
        said.append(f"states are taken for positions on a table from {low:g} to {high:g}")
    far = np.abs(np.concatenate([ways(mapping, *one, moments(mapping, len(one[0]))) for one in moved]))
    reach = float(f"{np.nanquantile(far, FARTHEST):.2g}") if np.isfinite(far).any() else np.nan
    if not reach > 0 or USUAL[0] <= reach / mapping.reach <= USUAL[1]:
        return mapping, said
    mapping = replace(mapping, reach=reach)
    pixels = reach_in_pixels(mapping)[0]
    return mapping, [*said, f"actions go as far as {reach:g}: use --task.reach {pixels:.6g} with these logs"]


def _table(state: Array) -> tuple[float, float]:
    """The narrowest usual table that all positions that can be are on, or else one that just holds them."""
    known = state[np.abs(state) <= IMPOSSIBLE]
    low, high = (float(known.min()), float(known.max())) if len(known) else TABLES[-1]
    if not high > low:
        return TABLES[-1]
    usual = [
        (a, b)
        for a, b in TABLES
        if low >= a - OFF * (b - a) and high <= b + OFF * (b - a) and high - low > USED * (b - a)
    ]
    return usual[0] if usual else (low, high)


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


def named(names: Any, known: Sequence[str]) -> str | None:
    exact = [name for wanted in known for name in names if name == wanted]
    begun = [name for wanted in known for name in names if name.startswith(f"{wanted}.")]
    return next(iter([*exact, *begun]), None)
