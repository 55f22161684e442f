"""Versions of code: what a stage's work can execute changes its version, and nothing else does."""

import ast
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import glocal
from glocal.pipeline.plan import LOADED, STAGES, code_version
from glocal.pipeline.stamps import read_stamp
from glocal.runtime.versions import Package

SOURCES = {
    "toy": "",
    "toy.work": '''
"""What is done."""
from typing import TYPE_CHECKING, Annotated
import numpy as np
from toy import parts
from toy.parts import Base, halved as half, decorated
if TYPE_CHECKING:
    from toy.types import Plan

STEPS = 3
WAYS = {"one": parts.one, "two": half}

class Choice(Base):
    part: "parts.Piece"
    other: Annotated[int, parts.Remark(1)] = 1

@decorated
def work(plan: "Plan", length=parts.LENGTH):
    """Works."""
    def inner(unused):
        unused = 1
        return np.zeros(STEPS) + length
    return WAYS["one"](inner), Choice

def idle():
    return parts.unused()
''',
    "toy.parts": """
from toy.deep import depth
LENGTH = 2
def one(x):
    from toy.late import late
    return late(x)
def halved(x):
    return x / depth()
def decorated(f):
    return f
def unused():
    return "unused"
class Base:
    def method(self):
        return "base"
class Piece:
    size = 4
class Remark:
    low = 5
print("on import")
""",
    "toy.deep": "def depth():\n    return 7\ndef shallow():\n    return 8\n",
    "toy.late": "def late(x):\n    return x + 9\n",
    "toy.types": "class Plan:\n    size = 10\n",
}


def version(edits: dict[str, tuple[str, str]], root: str = "toy.work.work") -> str:
    sources = dict(SOURCES)
    for module, (old, new) in edits.items():
        assert old in sources[module]
        sources[module] = sources[module].replace(old, new)
    return Package(sources).version([root])


@pytest.mark.parametrize(
    "module, old, new",
    [
        ("toy.work", "STEPS = 3", "STEPS = 4"),
        ("toy.work", '"two": half', '"two": parts.one'),
        ("toy.work", "return np.zeros", "return np.ones"),
        ("toy.work", "other: Annotated[int, parts.Remark(1)] = 1", "other: Annotated[int, parts.Remark(1)] = 2"),
        ("toy.work", '    part: "parts.Piece"\n', ""),
        ("toy.parts", "LENGTH = 2", "LENGTH = 3"),
        ("toy.parts", "return f", "return None"),
        ("toy.parts", '"base"', '"other"'),
        ("toy.parts", "size = 4", "size = 5"),
        ("toy.parts", '"on import"', '"otherwise"'),
        ("toy.parts", "x / depth()", "x * depth()"),
        ("toy.deep", "return 7", "return 8"),
        ("toy.late", "x + 9", "x - 9"),
    ],
)
def test_what_can_be_executed_changes_the_version(module, old, new):
    assert version({module: (old, new)}) != version({})


@pytest.mark.parametrize(
    "module, old, new",
    [
        ("toy.work", '    """Works."""\n', ""),
        ("toy.work", '"""What is done."""', "# Something is done."),
        ("toy.work", 'plan: "Plan", length=', 'plan: "parts.Piece | None", length : int = '),
        ("toy.work", "STEPS = 3", "STEPS: int = (\n    3  # of them\n)"),
        ("toy.work", "return parts.unused()", "return None"),
        ("toy.parts", '"unused"', '"not used"'),
        ("toy.parts", "low = 5", "low = 6"),
        ("toy.deep", "return 8", "return 9"),
        ("toy.types", "size = 10", "size = 11"),
    ],
)
def test_what_is_not_executed_or_is_no_code_does_not(module, old, new):
    assert version({module: (old, new)}) == version({})


def test_a_name_that_a_function_binds_itself_is_not_the_modules():
    shadowed = {"toy": "", "toy.a": "def helper():\n    return 1\ndef work(helper):\n    return helper()\n"}
    assert Package(shadowed).reached(["toy.a.work"]) == {("toy.a", "work"), ("toy.a", "")}


MODELS = {"global", "judge", "local", "gates", "cloning", "policy", "evaluate"}
"""Stages that see what was recorded, as models see it."""
BELIEFS = {"local", "gates", "cloning", "policy", "evaluate"}
"""Stages with a local model."""
POLICIES = {"cloning", "policy", "evaluate"}
EDITS = {
    "pipeline.collect.take_in": {"collect"},
    "data.formats.lerobot._records": {"collect"},
    "data.mapping.apply": {"collect"},
    "data.store.seal": {"collect"},
    "tasks.collect.record_episode": {"collect"},
    "tasks.play.best_stroke": {"collect", "evaluate"},
    "pipeline.stages.train_codec": {"codec"},
    "models.codecs.keypoints.KeypointCodec": {"codec", *MODELS},
    "pipeline.run_dir.split_recorded": {"collect", "codec", *MODELS},  # what goes on with a run keeps its sides
    "pipeline.run_dir.encode_store": MODELS,
    "pipeline.run_dir.Recordings": MODELS,
    "data.segments.Recorded": MODELS,
    "pipeline.build.build_scene": MODELS,
    "core.features.Standard": MODELS,
    "models.rigid2d.scene.Scene": MODELS,
    "models.worlds.ensemble.EnsembleWorld": MODELS,
    "pipeline.real.real_of": {"policy", "evaluate"},
    "pipeline.build.build_world": MODELS,
    "models.worlds.vectors.VectorWorld": MODELS,
    "core.nets.Residual": MODELS,
    "pipeline.stages._fit_world": {"global", "judge"},
    "pipeline.stages.train_judge": {"judge"},
    "runtime.trainer.Fit": {"codec", *MODELS} - {"evaluate"},
    "pipeline.stages.local_loss": {"local"},
    "models.surrogates.rssm.GaussianSpace": BELIEFS,
    "pipeline.run_dir.Modelled": BELIEFS,
    "core.matching.Matching": BELIEFS,
    "pipeline.validate.gate_windows": {"gates"},
    "pipeline.validate.FAR": {"gates"},
    "evaluate.probe.Probe": {"gates"},
    "evaluate.gradients.Question": {"gates", "policy"},
    "core.gradients.LINKS": {"gates", "policy"},
    "pipeline.run_dir.Run": {"policy", "evaluate"},
    "pipeline.build.build_policy": POLICIES,
    "models.policies.cloning.cloning_loss": {"cloning", "policy"},
    "core.imitation.Imitation": {"policy"},
    "models.policies.ppo.PPOIteration": {"policy"},
    "core.improve.PolicyIteration": {"policy"},
    "core.returns.lambda_return": {"policy"},
    "pipeline.monitor.Watch": {"policy"},
    "evaluate.trust.alarm": {"policy"},
    "evaluate.episodes.run_episodes": {"policy", "evaluate"},
    "pipeline.stages.evaluate": {"evaluate"},
    "evaluate.report.run.write_report": {"report"},
    "evaluate.report.diagnosis.trust_section": {"report"},
    "pipeline.plan.seed_of": set(STAGES),
    "cli.main": set(),
    "pipeline.run.perform": set(),
    "pipeline.compare.compare": set(),
    "pipeline.presets.PRESETS": set(),
    "pipeline.logs.doctor": set(),
}


class Edit(ast.NodeTransformer):
    """Changes what one function, class or constant of a module does."""

    def __init__(self, name: str):
        self.name, self.done = name, False

    def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.AST:
        return self._longer(node)

    def visit_ClassDef(self, node: ast.ClassDef) -> ast.AST:
        return self._longer(node)

    def visit_Assign(self, node: ast.Assign | ast.AnnAssign) -> ast.AST:
        targets = node.targets if isinstance(node, ast.Assign) else [node.target]
        if any(isinstance(target, ast.Name) and target.id == self.name for target in targets):
            node.value, self.done = ast.Tuple([node.value], ast.Load()), True
        return node

    def visit_AnnAssign(self, node: ast.AnnAssign) -> ast.AST:
        return self.visit_Assign(node)

    def _longer(self, node: ast.FunctionDef | ast.ClassDef) -> ast.AST:
        if node.name == self.name:
            node.body, self.done = [*node.body, *ast.parse("assert True").body], True
        return node


def edited(place: str) -> Package:
    """The package with one definition changed."""
    module, _, name = f"glocal.{place}".rpartition(".")
    edit = Edit(name)
    tree = edit.visit(ast.parse(LOADED.sources[module]))
    assert edit.done, f"{module} has no {name}"
    return Package({**LOADED.sources, module: ast.unparse(ast.fix_missing_locations(tree))})


@pytest.mark.parametrize("place, stale", EDITS.items(), ids=EDITS)
def test_an_edit_makes_those_stages_stale_that_can_execute_it_and_no_others(place, stale):
    package = edited(place)
    assert {name for name, stage in STAGES.items() if code_version(stage, package) != code_version(stage)} == stale


def test_every_stage_is_told_apart_by_its_code():
    versions = [code_version(stage) for stage in STAGES.values()]
    assert len(set(versions)) == len(STAGES)


COLLECT = """
from pathlib import Path
import glocal.pipeline.run
from glocal.cli import main

if __name__ == "__main__":
    place = Path(glocal.pipeline.run.__file__).with_name("collect.py")
    place.write_text(place.read_text().replace("def record(", "LATER = 1\\n\\n\\ndef record(").replace(
        "    count = ", "    assert LATER\\n    count = "))
    options = ["--processes", "1", "--play.control-steps", "300"]
    main(["collect", "pusht-keypoints-debug", "--run", "run", *options])
"""


def test_code_that_is_edited_while_a_stage_runs_is_not_what_its_stamp_says(tmp_path):
    package = tmp_path / "glocal"
    shutil.copytree(Path(glocal.__file__).parent, package, ignore=shutil.ignore_patterns("__pycache__"))
    loaded, stage = Package.read(package), STAGES["collect"]
    (tmp_path / "work.py").write_text(COLLECT)
    environment = {**os.environ, "PYTHONPATH": str(tmp_path), "OMP_NUM_THREADS": "1"}
    subprocess.run([sys.executable, "work.py"], check=True, env=environment, cwd=tmp_path)
    stamp = read_stamp(tmp_path / "run", "collect")
    assert stamp is not None and stamp.plan.code == code_version(stage, loaded)
    assert stamp.plan.code != code_version(stage, Package.read(package))
