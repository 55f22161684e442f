"""Anybody's actors: networks that were trained in imagined environments, as ONNX files, for `glocal evaluate`."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from glocal.core.types import Codec, Surrogate
from glocal.deploy.controllers import Array, Controller, recorded_fields
from glocal.deploy.exporting import write_onnx
from glocal.deploy.preprocess import View, plain
from glocal.runtime.files import UserError


def save_actor(path: str | Path, actor: nn.Module, width: int) -> None:
    """Write a network that makes actions (n, a), from -1 to 1, of observations (n, width) as an ONNX file."""
    example, rows = torch.zeros(2, width), torch.export.Dim("rows")
    write_onnx(Path(path), actor.cpu().eval(), (example,), ["obs"], ["action"], dynamic_shapes=({0: rows},))


class OnnxActor:
    """A network in an ONNX file with one input (n, `width`), from -1 to 1 in its first output (n, a)."""

    def __init__(self, path: Path):
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
        if len(entries) != 1 or len(entries[0].shape) != 2 or not isinstance(entries[0].shape[1], int):
            shapes = ", ".join(f"{one.name} {one.shape}" for one in entries)
            raise UserError(f"{path} takes {shapes}, expected one input of observations (n, d)")
        self.name, (self.rows, self.width), self.path = entries[0].name, entries[0].shape, path

    def __call__(self, seen: Tensor) -> Array:
        """Actions (n, a) for observations (n, width)."""
        rows = seen.cpu().numpy().astype(np.float32)
        together = [rows] if not isinstance(self.rows, int) else [rows[i : i + 1] for i in range(len(rows))]
        found = np.concatenate([np.asarray(self.session.run(None, {self.name: some})[0]) for some in together])
        if not np.isfinite(found).all():
            raise UserError(f"{self.path} answers with numbers that are not finite; train it again, or for less long")
        return found.clip(-1, 1)


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
