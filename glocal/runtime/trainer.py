"""Training that can be cut off anywhere: a loop around anything that iterates, and gradient descent on a loss."""

import json
import math
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, Protocol

import torch
from torch import Tensor, nn

from glocal.core.nets import Average
from glocal.core.ranges import Amount, Count, Many, Part, Positive, Range, Rate, Share
from glocal.runtime import checkpoints, sharding
from glocal.runtime.checkpoints import Checkpoint, Tree
from glocal.runtime.files import UserError, reading, write_text
from glocal.runtime.progress import Ticker
from glocal.runtime.team import team

Metrics = Mapping[str, Tensor]


class Trainable(Protocol):
    """Something that is trained by iterating; `state` and `restore` carry all that the next iterations depend on."""

    iteration: int

    @property
    def total(self) -> int: ...

    @property
    def per_iteration(self) -> int: ...

    @property
    def model(self) -> nn.Module:
        """What is saved for use."""
        ...

    def iterate(self) -> Metrics: ...

    def state(self) -> Tree: ...

    def restore(self, state: Tree) -> None: ...


@dataclass(frozen=True)
class FitConfig:
    """Choices for fitting a model to data by AdamW, with a warm-up and a cosine decay."""

    updates: Count = 6000
    batch: Annotated[int, Range(1, 100_000)] = 512
    shards: Annotated[int, Range(1, 100_000)] = 1
    """Equal parts that a minibatch is drawn and differentiated in: one after the other, so that its memory is that of
    one, or shared out between processes, of which there may be as many or fewer. Of more than one each has random
    numbers of its own, so that the result does not depend on who works at which."""
    lr: Rate = 1e-3
    final_lr: Share = 0.02
    """Share of the learning rate that is left at the end."""
    warm_up: Count = 200
    clip: Positive = 1.0
    weight_decay: Amount = 1e-3
    average: Part = 0.999
    """Decay of the moving average of the weights, which is what is used; 0 uses the last weights."""
    weights: Literal["whole", "sharded"] = "whole"
    """Whether each of several processes holds all weights, or a share of them, of their gradients and of what the
    optimizer and the average keep (FSDP2): for models that are too large for one GPU. The result is the same."""

    @property
    def parts(self) -> int:
        """Parts of a minibatch: at least one for each process."""
        return self.shards if self.shards > 1 else team().size

    @property
    def drawn(self) -> int:
        """Samples of one part."""
        return self.batch // self.parts


class Fit:
    """Fits `module` by descending `loss()`, which draws one part of a minibatch."""

    def __init__(self, cfg: FitConfig, module: nn.Module, loss: Callable[[], tuple[Tensor, Metrics]]):
        self.cfg, self.module, self.loss = cfg, module, loss
        self.average = Average(module, cfg.average)
        self.team, self.parts = team(), cfg.parts
        self.iteration = 0
        if cfg.batch % self.parts or self.parts % self.team.size:
            raise UserError(
                f"a minibatch of {cfg.batch} in {self.parts} parts cannot be shared out evenly between "
                f"{self.team.size} processes; expected shards (--world-fit.shards, for instance) that divide the "
                "minibatch, and a number of processes that divides the shards"
            )
        self.sharded = cfg.weights == "sharded" and self.team.size > 1
        if self.sharded:
            self.loss = sharding.sharded(module, loss)
            sharding.like(self.average.module, module)
        self.optimizer = torch.optim.AdamW(
            module.parameters(), lr=cfg.lr, betas=(0.9, 0.99), weight_decay=cfg.weight_decay
        )

    @property
    def total(self) -> int:
        return self.cfg.updates

    @property
    def per_iteration(self) -> int:
        return self.cfg.batch

    @property
    def model(self) -> nn.Module:
        return self.average.module

    def iterate(self) -> Metrics:
        """One update."""
        self.optimizer.param_groups[0]["lr"] = self.lr()
        self.optimizer.zero_grad()
        loss, metrics = self._differentiated()
        norm = sharding.whole(nn.utils.clip_grad_norm_(self.module.parameters(), self.cfg.clip))
        self.optimizer.step()
        self.average.update(self.module, self.iteration)
        self.iteration += 1
        return {"train/loss": loss, "train/gradient_norm": norm} | {f"train/{name}": x for name, x in metrics.items()}

    def _differentiated(self) -> tuple[Tensor, dict[str, Tensor]]:
        """The loss of a minibatch and its metrics, after its gradients have been taken."""
        if self.parts == 1:
            loss, metrics = self.loss()
            loss.backward()
            return loss.detach(), {name: value.detach() for name, value in metrics.items()}
        seed, found = int(torch.randint(2**31, ())), []
        for part in self.team.share(self.parts):
            with torch.random.fork_rng():
                torch.manual_seed(seed + part)
                loss, metrics = self.loss()
                (loss / self.parts).backward()
            found.append({"loss": loss.detach(), **{name: value.detach() for name, value in metrics.items()}})
        mean = {name: torch.stack([one[name] for one in found]).sum(0) / self.parts for name in found[0]}
        gradients = [] if self.sharded else [x.grad for x in self.module.parameters() if x.grad is not None]
        self.team.add([*gradients, *mean.values()])  # sharded gradients are sums already
        return mean.pop("loss"), mean

    def lr(self) -> float:
        """The learning rate of the next update."""
        cfg = self.cfg
        fall = 0.5 * (1 + math.cos(math.pi * self.iteration / cfg.updates))
        return cfg.lr * min(1.0, (self.iteration + 1) / max(1, cfg.warm_up)) * max(cfg.final_lr, fall)

    def state(self) -> Tree:
        return {
            "module": self.module.state_dict(),
            "average": self.average.module.state_dict(),
            "optimizer": self.optimizer.state_dict(),
        }

    def restore(self, state: Tree) -> None:
        sharding.load(self.module, state["module"])
        sharding.load(self.average.module, state["average"])
        sharding.load_optimizer(self.optimizer, state["optimizer"])


@dataclass(frozen=True)
class Clock:
    """When a training run looks up from its work."""

    checkpoint_seconds: Amount = 30.0
    log_every: Count = 20
    """Iterations between lines of the log."""
    look_every: Many = 0
    """Iterations between calls of `look`; 0 for none."""


def train(
    job: Trainable,
    folder: Path,
    kind: str,
    about: Mapping[str, Any],
    clock: Clock,
    unit: str = "samples",
    look: Callable[[], Mapping[str, float]] | None = None,
) -> float:
    """Iterate to the end, from the last checkpoint on if there is one; returns the seconds spent, all attempts added.

    The result does not depend on where it was interrupted. `look` is called every `look_every` iterations, and what it
    returns is logged; it must not draw from torch's global random numbers. Of several processes only the leading one
    looks, logs and saves.
    """
    if not team().leads:
        return _follow(job, folder, kind)
    seconds = _resume(job, folder, kind)
    began, saved, sharded = time.monotonic() - seconds, time.monotonic(), sharding.is_sharded(job.model)
    with (
        quiet_full_disk(),
        _Log(folder, job.iteration) as log,
        Ticker(kind, job.total, job.iteration, unit, job.per_iteration) as tick,
    ):
        while job.iteration < job.total:
            metrics = job.iterate()
            row: dict[str, float] = {}
            if job.iteration % clock.log_every == 0 or job.iteration == job.total:
                row = _numbers(metrics, kind, folder)
            if look is not None and clock.look_every and job.iteration % clock.look_every == 0:
                row |= look()
            if row:
                spent = {f"speed/{unit}_per_second": tick.rate, "speed/seconds": time.monotonic() - began}
                log.write(job.iteration, row | spent)
            tick(job.iteration, _note(row) if row else None)
            due = job.iteration == job.total or time.monotonic() - saved > clock.checkpoint_seconds
            if team().tell(due) if sharded else due:
                log.flush()
                _save(job, folder, kind, about, time.monotonic() - began)
                saved = time.monotonic()
    team().wait()
    return time.monotonic() - began


def _follow(job: Trainable, folder: Path, kind: str) -> float:
    """Iterate beside the leading process, from where it goes on to the end, and give it what it saves."""
    _resume(job, folder, kind)
    sharded = sharding.is_sharded(job.model)
    while job.iteration < job.total:
        job.iterate()
        if sharded and team().tell():
            _whole(job)
    team().wait()
    return 0.0


def _save(job: Trainable, folder: Path, kind: str, about: Mapping[str, Any], seconds: float) -> None:
    """Write a checkpoint, unless weights are not finite numbers."""
    weights, own = _whole(job)
    _check_finite(weights, kind, folder)
    state = {"job": own, "random": _random_state(), "seconds": seconds}
    checkpoints.save(folder, kind, job.iteration, about, weights, state)


def _whole(job: Trainable) -> tuple[Mapping[str, Tensor], Tree]:
    """The weights that are used, and what it takes to go on; where they are sharded, all processes have to ask."""
    return sharding.whole(job.model.state_dict()), sharding.whole(job.state())


def _resume(job: Trainable, folder: Path, kind: str) -> float:
    """Go on from the last checkpoint, if there is one; returns the seconds spent before."""
    checkpoint = checkpoints.load(folder, kind, training=True)
    if checkpoint is None:
        return 0.0
    checkpoints.check_fit(job.model, checkpoint)
    try:
        return _restore(job, checkpoint)
    except (KeyError, IndexError, TypeError, ValueError, AttributeError, RuntimeError) as error:
        raise UserError(
            f"the checkpoint in {checkpoint.path} cannot be gone on from ({error!r}); restore it from a copy, or "
            f"delete {folder} to train this stage again"
        ) from error


def _restore(job: Trainable, checkpoint: Checkpoint) -> float:
    if checkpoint.iteration > job.total:
        raise ValueError(f"iteration {checkpoint.iteration} of {job.total}")
    seconds = float(checkpoint.training["seconds"])
    if not math.isfinite(seconds):
        raise ValueError(f"{seconds} seconds")
    job.restore(checkpoint.training["job"])
    job.iteration = checkpoint.iteration
    for restore, state in zip(_RESTORE_RANDOM, checkpoint.training["random"], strict=False):
        restore(state)
    return seconds


def _random_state() -> list[Tensor]:
    """The state of torch's random numbers, and of the GPU's where there is one."""
    return [torch.get_rng_state(), *([torch.cuda.get_rng_state()] if torch.cuda.is_available() else [])]


_RESTORE_RANDOM = (torch.set_rng_state, torch.cuda.set_rng_state)


def _numbers(metrics: Metrics, kind: str, folder: Path) -> dict[str, float]:
    row = {name: float(value) for name, value in metrics.items()}
    broken = [name for name, value in row.items() if not math.isfinite(value)]
    if broken:
        raise UserError(
            f"training of {kind} broke: {', '.join(broken)} is not a finite number. The last checkpoint in {folder} is "
            f"whole and was made before; lower the learning rate, or look for NaNs in the data."
        )
    return row


def _check_finite(weights: Mapping[str, Tensor], kind: str, folder: Path) -> None:
    broken = [name for name, tensor in weights.items() if not torch.isfinite(tensor).all()]
    if broken:
        raise UserError(
            f"training of {kind} broke: weights {broken[0]} are not finite numbers. The last checkpoint in {folder} is "
            f"whole and was made before; lower the learning rate, or look for NaNs in the data."
        )


def _note(row: Mapping[str, float]) -> str:
    shown = ("train/loss", "imag/return", "eval/pose")
    return "  ".join(f"{name.split('/')[-1]} {row[name]:.4g}" for name in shown if name in row)


@contextmanager
def quiet_full_disk() -> Iterator[None]:
    """Let threads that write, TensorBoard's, fail without a traceback; the next checkpoint says what is wrong."""
    before = threading.excepthook

    def hook(failed: threading.ExceptHookArgs) -> None:
        if not isinstance(failed.exc_value, OSError):
            before(failed)

    threading.excepthook = hook
    try:
        yield
    finally:
        threading.excepthook = before


class _Log:
    """`log.jsonl` and TensorBoard; on resuming, what was logged after the checkpoint is dropped."""

    def __init__(self, folder: Path, iteration: int):
        from torch.utils.tensorboard import SummaryWriter

        folder.mkdir(parents=True, exist_ok=True)
        path = folder / "log.jsonl"
        kept = [row for row in read_log(folder) if row["iteration"] <= iteration]
        write_text(path, "".join(json.dumps(row) + "\n" for row in kept))
        self.file = path.open("a", encoding="utf-8")
        self.board = SummaryWriter(str(folder / "tensorboard"), purge_step=iteration + 1)

    def __enter__(self) -> "_Log":
        return self

    def __exit__(self, *_: object) -> None:
        self.file.close()
        self.board.close()

    def write(self, iteration: int, row: Mapping[str, float]) -> None:
        self.file.write(json.dumps({"iteration": iteration, **row}) + "\n")
        for name, value in row.items():
            self.board.add_scalar(name, value, iteration)

    def flush(self) -> None:
        self.file.flush()


def _whole_lines(path: Path) -> list[str]:
    """The lines of a log that may have been cut off in the middle of its last one."""
    try:
        with reading(path) as file:
            text = file.read().decode("utf-8", errors="replace")
    except FileNotFoundError:
        return []
    return text[: text.rfind("\n") + 1].splitlines()


def read_log(folder: Path) -> list[dict[str, float]]:
    """The rows of a training's log; raises `UserError` naming the line that is none."""
    path = folder / "log.jsonl"
    return [_row(line, f"line {number} of {path}") for number, line in enumerate(_whole_lines(path), 1)]


def logged_seconds(folder: Path) -> float:
    """The seconds that a training has taken by the last row of its log, all attempts added; 0 where it does not say."""
    try:
        rows = read_log(folder) if (folder / "log.jsonl").is_file() else []
    except UserError:
        return 0.0
    return rows[-1].get("speed/seconds", 0.0) if rows else 0.0


def _row(line: str, where: str) -> dict[str, float]:
    try:
        row = json.loads(line)
    except (ValueError, RecursionError):
        row = None
    if not isinstance(row, dict) or "iteration" not in row or not all(isinstance(x, int | float) for x in row.values()):
        raise UserError(
            f"{where} is damaged: expected names and numbers, an iteration among them, found {line[:60]!r}. Delete the "
            "line: the log is for the report alone"
        )
    return row


@contextmanager
def threads(count: int) -> Iterator[None]:
    """Let torch use this many threads inside the block."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)
