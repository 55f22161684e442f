"""A policy as one folder that runs without this library: ONNX, what a robot shows it and is told, a runner, a card."""

import shutil
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from glocal.core.nets import full_precision
from glocal.deploy.card import card
from glocal.deploy.exporting import OPSET, write_onnx
from glocal.deploy.interface import Interface
from glocal.deploy.step import PolicyStep
from glocal.deploy.surprise import MEMORY, Calibration
from glocal.runtime.files import UserError, atomic_write, sha256, write_json, write_text

RUNNER = Path(__file__).with_name("runner.py")
CLOSE = 1e-3
"""Of actions from -1 to 1: what is farther from PyTorch's is refused."""
Fields = dict[str, Tensor]


@dataclass(frozen=True)
class Parity:
    """How far the exported policy's actions, from -1 to 1, are from PyTorch's over recorded episodes."""

    control_steps: int
    exact: float
    """The largest difference where PyTorch computes in float32, as the exported policy does."""
    evaluated: float
    """The largest where PyTorch computes as in evaluations: pictures in bfloat16."""
    surprise: float
    """The largest difference of surprise."""


@dataclass(frozen=True)
class Origin:
    """Where a policy comes from, for its card and for `glocal rollout`."""

    preset: str
    glocal: str
    """The version."""
    data: str
    """Digest of what it was trained on."""
    results: Mapping[str, Any]
    """What the real environment said of it; empty where there was none."""
    logs: Mapping[str, Any]
    """The mapping of the logs that it was made from."""
    real: Mapping[str, Any]
    """The environment that stands for its robot, for `glocal rollout`; empty where there is none."""
    control_steps: int
    """In an episode."""


def write_bundle(
    out: Path,
    step: PolicyStep,
    interface: Interface,
    change: tuple[float, ...],
    calibration: Calibration,
    origin: Origin,
    episodes: Iterable[list[Fields]],
) -> Parity:
    """Write a bundle, whole or not at all; it is compared with PyTorch over recorded `episodes`, of each control step's
    fields (1, ...).

    Raises `UserError` where the exported policy acts otherwise than PyTorch's.
    """
    runner = _runner()
    step = step.cpu().eval().requires_grad_(False)
    recorded = list(episodes)
    state = step.nothing(recorded[0][0])
    with atomic_write(out) as draft:
        draft.mkdir(parents=True)
        fields, begun = recorded[0][0], torch.zeros(1, dtype=torch.bool)
        answers = ["act", "surprise", *(f"next.{name}" for name in state)]
        write_onnx(draft / runner.MODEL, step, (fields, state, begun), [*fields, *state, "begun"], answers)
        spec = {
            **{"format": runner.FORMAT, "version": runner.VERSION, "opset": OPSET},
            **asdict(interface),
            "largest_change": change,
            "alarm": {"above": calibration.alarm, "memory": MEMORY, "episodes": calibration.episodes},
            "state": [{"name": name, "shape": list(x.shape)} for name, x in state.items()],
            "sha256": sha256(draft / runner.MODEL),
            "origin": asdict(origin),
        }
        write_json(draft / runner.SPEC, spec)
        parity = compare(draft, step, recorded)
        if parity.exact > CLOSE:
            raise UserError(
                f"the exported policy's actions are up to {parity.exact:.2g} from PyTorch's over "
                f"{parity.control_steps} recorded control steps, expected at most {CLOSE:g}; nothing was written. "
                "Please report this"
            )
        write_json(draft / runner.SPEC, spec | {"parity": asdict(parity)})
        shutil.copyfile(RUNNER, draft / RUNNER.name)
        write_text(draft / "README.md", card(interface, origin, parity.exact, parity.control_steps))
    return parity


def compare(folder: Path, step: PolicyStep, episodes: list[list[Fields]]) -> Parity:
    """Run a bundle's model and PyTorch's side by side over recorded episodes."""
    policy = _runner().Policy(folder)
    exact = evaluated = apart = 0.0
    for episode in episodes:
        policy.reset()
        ours = {name: torch.from_numpy(x) for name, x in policy.state.items()}
        halves = dict(ours)
        for t, fields in enumerate(episode):
            begun = torch.tensor([t > 0])
            with torch.no_grad():
                half, _, halves = step(fields, halves, begun)
                with full_precision():
                    action, surprise, ours = step(fields, ours, begun)
            theirs = policy.advance({name: x.numpy() for name, x in fields.items()})
            exact = max(exact, float(np.abs(theirs - action[0].numpy()).max()))
            evaluated = max(evaluated, float(np.abs(theirs - half[0].numpy()).max()))
            apart = max(apart, abs(policy.surprising - float(surprise)))
    return Parity(sum(map(len, episodes)), exact, evaluated, apart)


def _runner() -> Any:
    """The runner; raises `UserError` where what exporting needs is not installed."""
    try:
        from glocal.deploy import runner
    except ImportError as error:
        raise UserError(
            "exported policies are compared with PyTorch's by onnxruntime; `pip install 'glocal[deploy]'` installs it"
        ) from error
    return runner
