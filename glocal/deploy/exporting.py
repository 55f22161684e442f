"""Networks as ONNX files."""

import logging
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.distributions import Distribution

from glocal.core.nets import full_precision
from glocal.runtime.files import UserError

OPSET = 20


def write_onnx(
    path: Path, network: nn.Module, inputs: tuple[Any, ...], names: Sequence[str], answers: Sequence[str], **more: Any
) -> None:
    """Write what a network makes of some inputs, in float32; `names` are those of inputs and outputs in order.

    Raises `UserError` where what that takes is not installed.
    """
    try:
        import onnxscript  # noqa: F401  (PyTorch's exporter is written in it)
    except ImportError as error:
        raise UserError(
            "ONNX files are written with onnx and onnxscript; `pip install 'glocal[deploy]'` installs them"
        ) from error
    with _quiet(), _unchecked(), full_precision():
        program = torch.onnx.export(
            network,
            inputs,
            input_names=names,
            output_names=answers,
            opset_version=OPSET,
            dynamo=True,
            verbose=False,
            **more,
        )
    assert program is not None
    program.save(str(path))


@contextmanager
def _quiet() -> Iterator[None]:
    """Without what the exporter says of itself."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)


@contextmanager
def _unchecked() -> Iterator[None]:
    """Distributions do not check what they are given, which cannot be written down."""
    before = Distribution._validate_args
    Distribution.set_default_validate_args(False)
    try:
        yield
    finally:
        Distribution.set_default_validate_args(before)
