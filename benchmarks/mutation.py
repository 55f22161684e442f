"""Mutation: how many small wrong edits of the code that decides results are noticed by the tests, without golden files.

    python benchmarks/mutation.py --out FOLDER [--sample N] [--seed N] [--all]

mutmut (3.8) makes the edits, of the functions in `PLACES`; as by mutmut itself, code outside functions is left out, and
with it what draws pictures or lays out pages (`PAGES`, `DRAWING`). Tests run once with coverage; then each edit is made
in a copy of the package, and the tests that reach its line run on it, the fastest first, until one fails, each time in
a process forked from one that has imported torch and pytest already. Tests that take longer than `SLOW` seconds are
not asked.

A random sample by default. FOLDER/mutants.jsonl keeps what was found, and an interrupted run goes on; edits of files or
tests that have changed since are tried again.
"""

import ast
import hashlib
import json
import os
import random
import re
import shutil
import signal
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import tyro

ROOT = Path(__file__).parent.parent
PLACES = (
    "glocal/core/*.py",
    "glocal/models/surrogates/*.py",
    "glocal/models/rigid2d/*.py",
    "glocal/data/streams.py",
    "glocal/data/mapping.py",
    "glocal/data/outcomes.py",
    "glocal/deploy/*.py",
    "glocal/evaluate/*.py",
    "glocal/evaluate/report/*.py",
)
TESTS = ("core", "data", "deploy", "evaluate", "models", "test_contracts.py", "test_diagnose.py", "test_monitor.py")
PAGES = ("glocal/evaluate/report/run.py", "glocal/evaluate/report/page.py", "glocal/evaluate/labels.py")
DRAWING = re.compile(r"_?(plot|draw|write|page|table_html|figure_html)|_(cells|table|against)$|\w+_(section|table)$")
SLOW = 10.0
PATIENCE = 60.0
"""Seconds of tests an edit is given; one that keeps them busy three times as long is noticed, too."""


@dataclass(frozen=True)
class Options:
    """Which edits are tried."""

    out: Path
    sample: int = 150
    seed: int = 0
    all: bool = False


@dataclass(frozen=True)
class Edit:
    """One wrong edit of a file."""

    file: str
    line: int
    words: str
    """The line that goes and the line that comes."""
    source: str
    """The file as it is with the edit."""


@dataclass(frozen=True)
class Covered:
    """What tests reach: tests by file and line, and how long each takes (s)."""

    reached: dict[str, dict[int, list[str]]]
    seconds: dict[str, float]

    def tests(self, edit: Edit) -> list[str]:
        """Tests that come to an edit's line, the fastest first, as many as there is patience for."""
        lines = self.reached.get(edit.file, {})
        before = [line for line in lines if line <= edit.line]
        found = {test for test in lines[max(before)] if test in self.seconds} if before else set()
        chosen, spent = [], 0.0
        for test in sorted(found, key=self.seconds.__getitem__):
            spent += self.seconds[test]
            if self.seconds[test] <= SLOW and spent <= PATIENCE:
                chosen.append(test)
        return chosen


class Durations:
    """A plug-in of pytest that keeps how long each test took, and what it came to."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self.failed: list[str] = []

    def pytest_runtest_logreport(self, report: Any) -> None:
        self.seconds[report.nodeid] = self.seconds.get(report.nodeid, 0.0) + report.duration
        if report.failed:
            self.failed.append(report.nodeid)


def forked(copy: Path, arguments: Sequence[str], seconds: float, keep: Path | None = None) -> int | None:
    """The exit status of pytest in a copy of the package, or None where it does not end in time."""
    child = os.fork()
    if not child:
        os.setsid()
        os.chdir(copy)
        sys.path.insert(0, str(copy))
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, 1)
        os.dup2(nowhere, 2)
        import pytest

        durations = Durations()
        status = int(pytest.main(["-q", "-p", "no:cacheprovider", *arguments], plugins=[durations]))
        if keep:
            keep.write_text(json.dumps(vars(durations)))
        os._exit(status)
    try:
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            ended, status = os.waitpid(child, os.WNOHANG)
            if ended:
                return os.waitstatus_to_exitcode(status)
            time.sleep(0.02)
        return None
    finally:
        if not _ended(child):
            os.killpg(child, signal.SIGKILL)
            os.waitpid(child, 0)


def _ended(child: int) -> bool:
    try:
        return os.waitpid(child, os.WNOHANG)[0] == child
    except ChildProcessError:
        return True


def coverage(copy: Path, out: Path) -> Covered:
    """Run all tests once, which must pass, and keep what they reach."""
    from coverage import CoverageData

    kept, data = out.resolve() / "seconds.json", copy / ".coverage"
    known = out / "covered.json"
    digest = _digest(copy)
    if known.is_file() and (found := json.loads(known.read_text()))["digest"] == digest:
        reached = {
            name: {int(line): tests for line, tests in lines.items()} for name, lines in found["reached"].items()
        }
        return Covered(reached, found["seconds"])
    tests = [f"tests/{name}" for name in TESTS]
    status = forked(copy, ["--cov=glocal", "--cov-context=test", "--cov-report=", *tests], 7200.0, kept)
    ran = json.loads(kept.read_text())
    if status:
        raise SystemExit(f"the tests do not pass as they are: {', '.join(ran['failed']) or status}")
    measured = CoverageData(str(data))
    measured.read()
    reached: dict[str, dict[int, list[str]]] = {}
    for name in measured.measured_files():
        lines = measured.contexts_by_lineno(name)
        by_line = {line: sorted({c.split("|")[0] for c in found if c}) for line, found in lines.items()}
        reached[str(Path(name).relative_to(copy))] = {line: tests for line, tests in by_line.items() if tests}
    known.write_text(json.dumps({"digest": digest, "reached": reached, "seconds": ran["seconds"]}))
    return Covered(reached, ran["seconds"])


def _digest(copy: Path) -> str:
    files = sorted([*(copy / "glocal").rglob("*.py"), *(copy / "tests").rglob("*.py")])
    return hashlib.sha256(b"".join(file.read_bytes() for file in files)).hexdigest()


class Source:
    """A file whose edits are made by mutmut, decorated functions included (which mutmut itself passes over)."""

    def __init__(self, file: Path) -> None:
        self.name = str(file.relative_to(ROOT))
        self.code = file.read_text()

    @cached_property
    def edits(self) -> dict[int, Edit]:
        """By number in the file, of all that change what a function does that does not draw."""
        from mutmut.mutation.file_mutation import create_mutations, deep_replace

        bare = re.sub(r"^( *)@", r"\1#@", self.code, flags=re.MULTILINE)
        module, mutations, _, _ = create_mutations(self.name, bare)
        deciding = lines_that_decide(self.code)
        found = {}
        for number, mutation in enumerate(mutations):
            mutated = deep_replace(module, mutation.original_node, mutation.mutated_node).code  # pyright: ignore
            mutated = re.sub(r"^( *)#@", r"\1@", mutated, flags=re.MULTILINE)
            if mutated == self.code:
                continue
            old, new = self.code.splitlines(), mutated.splitlines()
            at = next((i for i, (a, b) in enumerate(zip(old, new, strict=False)) if a != b), 0)
            if at + 1 in deciding:
                words = f"{old[at].strip()} -> {new[at].strip()}"
                found[number] = Edit(self.name, at + 1, words, mutated)
        return found


def lines_that_decide(code: str) -> set[int]:
    """Lines in functions that do not draw."""
    functions = [node for node in ast.walk(ast.parse(code)) if isinstance(node, ast.FunctionDef)]
    drawing = [node for node in functions if DRAWING.match(node.name)]
    return _lines(functions) - _lines(drawing)


def _lines(functions: Sequence[ast.FunctionDef]) -> set[int]:
    return {line for node in functions for line in range(node.lineno, (node.end_lineno or node.lineno) + 1)}


def run(options: Options) -> None:
    import hypothesis  # noqa: F401  (imported once, for all forks)
    import pytest  # noqa: F401
    import torch

    torch.set_num_threads(1)
    sys.dont_write_bytecode = True
    options.out.mkdir(parents=True, exist_ok=True)
    copy, log = (options.out / "copy").resolve(), options.out / "mutants.jsonl"
    shutil.rmtree(copy, ignore_errors=True)
    for name in ("glocal", "tests", "benchmarks"):
        shutil.copytree(ROOT / name, copy / name, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", copy)
    covered = coverage(copy, options.out)

    sources = {s.name: s for s in (Source(path) for place in PLACES for path in sorted(ROOT.glob(place)))}
    sources = {name: source for name, source in sources.items() if name not in PAGES}
    every = [(file, number) for file, source in sources.items() for number in source.edits]
    random.Random(options.seed).shuffle(every)
    wanted = every if options.all else every[: options.sample]
    rows = [json.loads(line) for line in log.read_text().splitlines()] if log.is_file() else []
    done = {(row["file"], row["words"], row["number"], row["tests"]): row for row in rows}
    found, began = [], time.monotonic()
    for count, (file, number) in enumerate(wanted, 1):
        edit = sources[file].edits[number]
        tests = covered.tests(edit)
        key = (file, edit.words, number, _tests_digest(copy, tests))
        if key not in done:
            (copy / file).write_text(edit.source)
            seconds = 3 * PATIENCE
            noticed = bool(tests) and forked(copy, ["-x", *tests], seconds) != 0
            (copy / file).write_text(sources[file].code)
            row = {k: v for k, v in asdict(edit).items() if k != "source"}
            done[key] = row | {"number": number, "tests": key[-1], "reached": len(tests), "noticed": noticed}
            with log.open("a") as kept:
                kept.write(json.dumps(done[key]) + "\n")
        found.append(done[key])
        if count % 10 == 0:
            left = (time.monotonic() - began) / count * (len(wanted) - count) / 60
            print(f"{count}/{len(wanted)}  {left:.0f} min left", file=sys.stderr, flush=True)
    tell(found, len(every))


def _tests_digest(copy: Path, tests: Sequence[str]) -> str:
    files = sorted({test.split("::")[0] for test in tests})
    return hashlib.sha256(b"".join((copy / file).read_bytes() for file in files)).hexdigest()[:16]


def tell(rows: Sequence[Mapping[str, Any]], total: int) -> None:
    """Print the score, by file and in all, and what was not noticed."""
    from glocal.evaluate.intervals import in_words, wilson

    for file in sorted({row["file"] for row in rows}):
        own = [row["noticed"] for row in rows if row["file"] == file]
        print(f"{file}: {sum(own)}/{len(own)}")
    for row in rows:
        if not row["noticed"]:
            print(f"survived {row['file']}:{row['line']}: {row['words']} ({row['reached']} tests)")
    score = wilson(sum(row["noticed"] for row in rows), len(rows))
    print(f"{in_words(score)} noticed, of {total} possible edits")


if __name__ == "__main__":
    run(tyro.cli(Options, description=__doc__))
