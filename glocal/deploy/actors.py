"""Anybody's actors: networks that were trained in imagined environments, as ONNX files, for `glocal evaluate`."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from glocal.core.types import Codec, Surrogate
from glocal.deploy.controllers import Array, Controller, recorded_fields
from glocal.deploy.exporting import write_onnx
from glocal.deploy.preprocess import View, plain
from glocal.runtime.files import UserError

KINDS = {"tensor(float)": np.float32, "tensor(double)": np.float64, "tensor(float16)": np.float16}
"""Numbers that observations may be told in, as ONNX calls them."""


def save_actor(path: str | Path, actor: nn.Module, width: int) -> None:
    """Write a network that makes actions (n, a), from -1 to 1, of observations (n, width) as an ONNX file.

    The network stays as it is. Raises `ValueError` where it does not take such observations.
    """
    device = next((x.device for x in actor.parameters()), torch.device("cpu"))
    example, training = torch.zeros(2, width, device=device), actor.training
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    actor.eval()
    try:
        _check_actor(actor, example)
        rows = torch.export.Dim("rows")
        write_onnx(Path(path), actor, (example,), ["obs"], ["action"], dynamic_shapes=({0: rows},))
    finally:
        actor.train(training)


def _check_actor(actor: nn.Module, example: Float[Tensor, "2 d"]) -> None:
    """Raise `ValueError` where a network does not make actions (2, a) of observations (2, width)."""
    width = example.shape[1]
    try:
        with torch.no_grad():
            answer = actor(example)
    except Exception as error:  # of whatever it is made of
        raise ValueError(f"the actor does not take observations (n, {width}): {error}") from error
    if not isinstance(answer, Tensor) or answer.ndim != 2 or len(answer) != 2:
        shape = tuple(answer.shape) if isinstance(answer, Tensor) else type(answer).__name__
        raise ValueError(f"the actor makes {shape} of observations (2, {width}), expected actions (2, a)")


class OnnxActor:
    """A network in an ONNX file with one input (n, `width`), and actions (n, a), from -1 to 1, first in its output."""

    def __init__(self, path: Path, action_dim: int):
        """Raises `UserError` where the file is none, or its network is of another kind."""
        try:
            import onnxruntime
        except ImportError as error:
            raise UserError("actors are run with onnxruntime; `pip install 'glocal[deploy]'` installs it") from error
        if not path.is_file():
            raise UserError(f"there is no file {path}; `glocal.save_actor` writes one of a network")
        try:
            self.session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
        except Exception as error:  # onnxruntime has a class of its own for each thing that can be wrong
            said = " ".join(str(error).split())
            raise UserError(f"{path} is no network that onnxruntime can run: {said}") from error
        entries = self.session.get_inputs()
        shape = entries[0].shape
        fits = (
            len(entries) == 1
            and len(shape) == 2
            and isinstance(shape[1], int)
            and (shape[0] == 1 or not isinstance(shape[0], int))
        )
        if not fits or entries[0].type not in KINDS:
            shapes = ", ".join(f"{one.name} {one.type} {one.shape}" for one in entries)
            raise UserError(f"{path} takes {shapes}, expected one input of observations (n, d), or (1, d)")
        self.name, self.alone, self.width, self.path = entries[0].name, shape[0] == 1, int(shape[1]), path
        self.kind, self.action_dim = KINDS[entries[0].type], action_dim

    def __call__(self, seen: Tensor) -> Array:
        """Actions (n, a) for observations (n, width)."""
        rows = seen.cpu().numpy().astype(self.kind)
        together = [rows[i : i + 1] for i in range(len(rows))] if self.alone else [rows]
        found = [np.asarray(self.session.run(None, {self.name: some})[0]) for some in together]
        if any(one.shape != (len(some), self.action_dim) for one, some in zip(found, together, strict=True)):
            raise UserError(
                f"{self.path} makes {found[0].shape} of {len(together[0])} observations, expected "
                f"{(len(together[0]), self.action_dim)}"
            )
        action = np.concatenate(found).astype(np.float32)
        if not np.isfinite(action).all():
            raise UserError(f"{self.path} answers with numbers that are not finite; train it again, or for less long")
        return action.clip(-1, 1)


@torch.no_grad()
def acted_by(actor: OnnxActor, codec: Codec, surrogate: Surrogate[Any] | None = None, view: View = plain) -> Controller:
    """A controller of what models see, or where a `surrogate` is given, of what it believes."""

    def look(seen: Sequence[Any], before: Tensor | None = None) -> Tensor:
        return codec.observe(recorded_fields([view(one) for one in seen], codec.reads), before)

    seen = yield np.zeros((0, 2))
    obs = look(seen)
    belief = None if surrogate is None else surrogate.initial(obs).expected()
    while True:
        action = actor(obs if belief is None else belief.feat)
        seen = yield action
        obs = look(seen, obs)
        if belief is not None and surrogate is not None:
            belief = surrogate.correct(surrogate.predict(belief, torch.from_numpy(action)), obs).expected()
