"""Between LeRobot's tensors and the runner of an exported policy. Nothing here imports LeRobot."""

import importlib.util
import logging
import time
from collections import deque
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import torch
from torch import Tensor

SPEC, RUNNER = "bundle.json", "runner.py"
ENVIRONMENT = "observation.environment_state"
PACE = 20
"""Calls over which their rate is measured."""

Array = np.ndarray[Any, Any]
log = logging.getLogger(__name__)


class Bridge:
    """One bundle acting on batches, with a runner for each row.

    `step` is called `fps` times per second, by default the rate of the policy's logs. The policy acts once per control
    step; its action is repeated in the `hold` calls of that control step, with deltas divided so that they add up to
    the same. With `careful` no action changes faster than recorded ones did.
    """

    def __init__(self, folder: str | Path, fps: float | None = None, careful: bool = True):
        self.folder, self.careful = Path(folder), careful
        self.runner = load_runner(self.folder)
        first = self.runner.Policy(self.folder, careful)
        self.policies = [first]
        self.needs: dict[str, tuple[int, ...]] = first.needs
        self.fps = first.rate * first.hold if fps is None else float(fps)
        self.hold = calls(self.fps, first.rate)
        self.action = told(first.spec)
        self.share = np.where(first.deltas[self.action], first.hold / self.hold, 1.0)
        """How much of an action each call gets, (a,)."""
        self.paced = False
        self.reset()

    @property
    def width(self) -> int:
        return len(self.share)

    def reset(self) -> None:
        """An episode begins: forget what was observed and what is still to be repeated."""
        for policy in self.policies:
            policy.reset()
        self.rows: int | None = None
        self.waiting: list[Tensor] = []
        self.times: deque[float] = deque(maxlen=PACE)
        self.alarmed = False

    def step(self, batch: Mapping[str, Any]) -> Tensor:
        """The action of this call, (b, a), in the units of the logs."""
        self._pace()
        if not self.waiting:
            self.waiting = list(self.chunk(batch).unbind(1))
        return self.waiting.pop(0)

    def chunk(self, batch: Mapping[str, Any]) -> Tensor:
        """The actions of a whole control step, (b, hold, a); the policy acts once."""
        seen = observations(batch, self.needs)
        self._fit(len(seen))
        acted = [policy.act(row)[self.action] for policy, row in zip(self.policies, seen, strict=True)]
        self._watch()
        actions = torch.from_numpy((np.stack(acted) * self.share).astype(np.float32))
        return actions[:, None].repeat(1, self.hold, 1)

    def _fit(self, rows: int) -> None:
        """A runner for each row; their number is fixed during an episode."""
        if self.rows not in (None, rows):
            raise ValueError(f"the batch has {rows} rows, in this episode it had {self.rows}; call reset() in between")
        if self.rows is None:
            del self.policies[rows:]
            self.policies += [self.runner.Policy(self.folder, self.careful) for _ in range(rows - len(self.policies))]
        self.rows = rows

    def _pace(self) -> None:
        """Warn once where calls come faster or slower than `fps`: a robot would move at another speed than recorded."""
        self.times.append(time.monotonic())
        if self.paced or len(self.times) < PACE:
            return
        rate = (PACE - 1) / max(self.times[-1] - self.times[0], 1e-9)
        if not 0.8 < rate / self.fps < 1.25:
            log.warning(
                "called %.3g times per second, expected %.3g: set --fps=%g, unless this is a simulation",
                rate, self.fps, self.fps,
            )  # fmt: skip
            self.paced = True

    def _watch(self) -> None:
        """Warn once per episode where observations surprise the policy's model more than any recorded episode did."""
        most = max(policy.surprise for policy in self.policies)
        alarm = self.policies[0].alarm
        if most > alarm and not self.alarmed:
            log.warning("observations are unlike the recorded ones: surprise %.3g is above the alarm %.3g", most, alarm)
            self.alarmed = True


def load_runner(folder: Path) -> ModuleType:
    """The runner that lies in a bundle: it always fits the bundle's version."""
    path = folder / RUNNER
    if not path.is_file() or not (folder / SPEC).is_file():
        missing = RUNNER if not path.is_file() else SPEC
        raise FileNotFoundError(f"{folder} has no {missing}; write a bundle with `glocal export RUN --out FOLDER`")
    spec = importlib.util.spec_from_file_location("glocal_bundle_runner", path)
    assert spec is not None and spec.loader is not None, path
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def calls(fps: float, rate: float) -> int:
    """How many calls a control step lasts."""
    hold = round(fps / rate)
    if hold < 1 or abs(fps / rate - hold) > 1e-6:
        raise ValueError(f"fps is {fps:g}, expected a multiple of the policy's {rate:g} control steps per second")
    return hold


def told(spec: Mapping[str, Any]) -> str:
    """The feature that the policy commands; LeRobot has a single one."""
    names = sorted({part["feature"] for part in spec["action"]})
    if len(names) != 1:
        raise ValueError(f"the policy commands {', '.join(names)}; LeRobot's policies command one feature")
    return names[0]


def features(needs: Mapping[str, tuple[int, ...]]) -> dict[str, tuple[str, tuple[int, ...]]]:
    """LeRobot's type and shape of each observed feature; images are (c, h, w) there."""
    found = {}
    for name, shape in needs.items():
        if len(shape) == 3:
            found[name] = ("VISUAL", (shape[2], *shape[:2]))
        else:
            found[name] = ("ENV" if name == ENVIRONMENT else "STATE", shape)
    return found


def observations(batch: Mapping[str, Any], needs: Mapping[str, tuple[int, ...]]) -> list[dict[str, Array]]:
    """What the runner takes, for each row of a batch. Features that are missing are left out: the runner names them."""
    columns = {
        name: images(name, batch[name]) if len(shape) == 3 else batch[name].detach().cpu().numpy()
        for name, shape in needs.items()
        if name in batch
    }
    counts = {name: len(column) for name, column in columns.items()}
    if len(set(counts.values())) > 1:
        raise ValueError(f"features have different numbers of rows: {counts}")
    rows = next(iter(counts.values()), 1)
    return [{name: column[i] for name, column in columns.items()} for i in range(rows)]


def images(name: str, batch: Tensor) -> Array:
    """Bytes (b, h, w, c) of LeRobot's images (b, c, h, w), which are floats from 0 to 1."""
    if batch.ndim != 4:
        raise ValueError(f"{name} has shape {tuple(batch.shape)}, expected (batch, channels, height, width)")
    if batch.dtype != torch.uint8:
        if not (batch.min() >= -1e-3 and batch.max() <= 1 + 1e-3):
            raise ValueError(
                f"{name} ranges from {batch.min():.3g} to {batch.max():.3g}, expected 0 to 1: "
                "a glocal policy normalizes by itself, so no processor may"
            )
        batch = (batch.float() * 255).round().clamp(0, 255).to(torch.uint8)
    return batch.permute(0, 2, 3, 1).cpu().contiguous().numpy()
