"""The stages of a run: what each does, what it reads, and what it has to be done again for."""

import ast
import hashlib
import inspect
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import glocal
from glocal import collecting, gating, stages
from glocal.config import Config
from glocal.data.ingest import source_digest
from glocal.workspace import Run

PACKAGE = Path(glocal.__file__).parent
_SCENES = ("core/types.py", "core/geometry.py", "core/nets.py", "data/segments.py", "data/store.py", "training.py")
_LEARNING = ("core", "data/segments.py", "data/store.py", "training.py")


@dataclass(frozen=True)
class Stage:
    """One step of a run: what it does, what it leaves, and what it has to be done again for."""

    name: str
    work: Callable[[Run], None]
    output: str
    """File or folder within the run that it makes, and that is recognised by its content."""
    needs: tuple[str, ...]
    """Stages whose output it reads."""
    config: tuple[str, ...]
    """Parts of the configuration that it depends on."""
    code: tuple[str, ...]
    """Files or folders of the package that make its version."""
    beside: str | None = None
    """A further folder that it makes."""
    idle: Callable[[Config], bool] = lambda config: False
    """Whether it has nothing to do; then it need not be asked for."""
    source: Callable[[Config], str | None] = lambda config: None
    """What files outside the run that it reads are recognised by."""


STAGES = {
    stage.name: stage
    for stage in (
        Stage(
            "collect", collecting.collect, "data", (), ("seed", "task", "play", "logs"),
            ("collecting.py", "tasks", "data/store.py", "data/mapping.py", "data/propose.py", "data/ingest.py"),
            source=lambda config: source_digest(Path(config.logs)) if config.logs else None,
        ),
        Stage(
            "codec", stages.train_codec, "codec", ("collect",),
            ("seed", "held_out", "judge", "task", "codec", "codec_fit"), (*_SCENES, "codecs"),
            idle=lambda config: not config.task.images,
        ),
        Stage(
            "global", stages.train_global, "global", ("collect", "codec"),
            ("seed", "held_out", "judge", "task", "codec", "world", "world_fit"), (*_SCENES, "worlds"),
        ),
        Stage(
            "judge", stages.train_judge, "judge", ("collect", "codec"),
            ("seed", "held_out", "judge", "task", "codec", "world", "world_fit"), (*_SCENES, "worlds"),
            idle=lambda config: not config.judge,
        ),
        Stage(
            "local", stages.train_local, "local", ("collect", "codec", "global"),
            ("seed", "held_out", "judge", "task", "codec", "surrogate", "surrogate_fit", "surrogate_length",
             "matching"),
            (*_SCENES, "core/matching.py", "surrogates"),
        ),
        Stage(
            "gates", gating.check_gates, "gates.json", ("collect", "codec", "global", "local"),
            ("seed", "held_out", "judge", "gates", "probe", "probe_fit"),
            ("evaluate/gates.py", "evaluate/probe.py", "evaluate/gradients.py", "core/rollout.py"),
            beside="gates",
        ),
        Stage(
            "cloning", stages.train_cloning, "cloning", ("collect", "codec", "local"),
            ("seed", "policy_seed", "held_out", "judge", "agent", "cloning", "cloning_fit"), (*_LEARNING, "agents"),
        ),
        Stage(
            "policy", stages.train_policy, "policy", ("collect", "codec", "global", "judge", "local"),
            ("seed", "policy_seed", "held_out", "judge", "agent", "learn", "watch", "warm_start", "matching"),
            (*_LEARNING, "agents", "deploy", "watch.py", "evaluate/trust.py"),
        ),
        Stage(
            "evaluate", stages.evaluate, "results.json", ("codec", "cloning", "policy"),
            ("seed", "task", "play", "evaluate"), ("evaluate/real.py", "deploy", "tasks"),
            beside="evaluation",
        ),
        Stage(
            "report", stages.report, "report.html",
            ("collect", "gates", "cloning", "policy", "evaluate"), (),
            ("evaluate/report.py", "evaluate/page.py", "evaluate/diagnosis.py"),
        ),
    )
}  # fmt: skip


def code_version(stage: Stage) -> str:
    """A hash of what a stage's code does: comments and docstrings do not count."""
    files = [file for part in stage.code for file in _files(PACKAGE / part)]
    sources = [inspect.getsource(stage.work), *(file.read_text(encoding="utf-8") for file in files)]
    return hashlib.sha256("".join(_meaning(source) for source in sources).encode()).hexdigest()[:16]


def _files(path: Path) -> list[Path]:
    return sorted(path.rglob("*.py")) if path.is_dir() else [path]


def _meaning(source: str) -> str:
    tree = ast.parse(source)
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef):
            node.body = [line for line in node.body if not _is_text(line)]
    return ast.dump(tree)


def _is_text(line: ast.AST) -> bool:
    return isinstance(line, ast.Expr) and isinstance(line.value, ast.Constant) and isinstance(line.value.value, str)
