"""Mutation: how many small wrong edits of the code that decides results are noticed by the tests, without golden files.

    python benchmarks/mutation.py --out FOLDER [--sample N] [--seed N] [--all]

mutmut (3.8) makes the edits, of `core`, the mapping of logs, `deploy` and `evaluate`. Each is made in a copy of the
package, and the tests beside that file (`TESTS`) run on it until one fails, in a process forked from one that has
imported torch and pytest already. A random sample by default; FOLDER/mutants.jsonl keeps what was found, and an
interrupted run goes on.
"""

import json
import os
import random
import shutil
import signal
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path

import tyro
from mutmut.mutation.file_mutation import create_mutations, deep_replace

ROOT = Path(__file__).parent.parent
CONTRACTS = "tests/test_contracts.py"
TESTS = {
    "glocal/surrogates": ("tests/surrogates", CONTRACTS),
    "glocal/core": ("tests/core", "tests/surrogates", CONTRACTS, "tests/evaluate/test_gates.py", "tests/agents"),
    "glocal/data/mapping.py": ("tests/data/test_mapping.py", "tests/data/test_propose.py", "tests/data/test_logs.py"),
    "glocal/data/outcomes.py": ("tests/data/test_outcomes.py", "tests/data/test_mapping.py"),
    "glocal/deploy": ("tests/deploy", "tests/evaluate/test_real.py", "tests/test_watch.py"),
    "glocal/evaluate": ("tests/evaluate", "tests/test_diagnose.py"),
}
SECONDS = 240.0
"""A mutant that keeps its tests busy for longer is noticed too."""


@dataclass(frozen=True)
class Options:
    """Which mutants are tried."""

    out: Path
    sample: int = 150
    seed: int = 0
    all: bool = False


@dataclass(frozen=True)
class Mutant:
    """One wrong edit: the `number`-th that mutmut makes of a file."""

    file: str
    number: int
    line: str
    """The edit, as a line that went and a line that came."""


def mutants(file: Path) -> dict[int, tuple[str, str]]:
    """Sources of a file's mutants, by number, each with its edit in words."""
    code = file.read_text()
    module, edits, _, _ = create_mutations(str(file), code)
    found = {}
    for number, edit in enumerate(edits):
        mutated = deep_replace(module, edit.original_node, edit.mutated_node).code  # pyright: ignore
        if mutated != code:
            found[number] = (mutated, _edit(code, mutated))
    return found


def _edit(before: str, after: str) -> str:
    old, new = before.splitlines(), after.splitlines()
    at = next((i for i, (a, b) in enumerate(zip(old, new, strict=False)) if a != b), 0)
    return f"{at + 1}: {old[at].strip()} -> {new[at].strip()}"


def noticed(copy: Path, tests: tuple[str, ...]) -> bool:
    """Whether the tests fail, or do not end, on the package as it stands in the copy."""
    child = os.fork()
    if not child:
        os.setsid()
        os.chdir(copy)
        sys.path.insert(0, str(copy))
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, 1)
        os.dup2(nowhere, 2)
        import pytest

        os._exit(int(pytest.main(["-x", "-q", "-p", "no:cacheprovider", *tests])))
    until = time.monotonic() + SECONDS
    while time.monotonic() < until:
        ended, status = os.waitpid(child, os.WNOHANG)
        if ended:
            return os.waitstatus_to_exitcode(status) != 0
        time.sleep(0.02)
    os.killpg(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return True


def tests_of(file: str) -> tuple[str, ...]:
    return next(tests for place, tests in TESTS.items() if file.startswith(place))


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
    places = [
        path for place in TESTS for path in ([ROOT / place] if place.endswith(".py") else (ROOT / place).glob("*.py"))
    ]
    sources = {str(path.relative_to(ROOT)): mutants(path) for path in sorted(places)}
    every = [(file, number) for file, known in sources.items() for number in known]
    random.Random(options.seed).shuffle(every)
    wanted = every if options.all else every[: options.sample]
    for tests in TESTS.values():
        assert not noticed(copy, tests), f"the tests fail as they are: {tests}"
    known = [json.loads(line) for line in log.read_text().splitlines()] if log.is_file() else []
    done = {(row["file"], row["number"]): row for row in known}
    for count, (file, number) in enumerate(wanted, 1):
        if (file, number) not in done:
            source, line = sources[file][number]
            (copy / file).write_text(source)
            row = asdict(Mutant(file, number, line)) | {"noticed": noticed(copy, tests_of(file))}
            shutil.copy(ROOT / file, copy / file)
            done[file, number] = row
            with log.open("a") as kept:
                kept.write(json.dumps(row) + "\n")
        if count % 10 == 0:
            print(f"{count}/{len(wanted)}", file=sys.stderr, flush=True)
    tell([done[one] for one in wanted], len(every))


def tell(rows: list[dict], total: int) -> None:
    """Print the score, by file and in all, and what was not noticed."""
    from glocal.evaluate.intervals import wilson

    for file in sorted({row["file"] for row in rows}):
        own = [row["noticed"] for row in rows if row["file"] == file]
        print(f"{file}: {sum(own)}/{len(own)}")
    for row in rows:
        if not row["noticed"]:
            print(f"survived {row['file']}:{row['line']}")
    found = wilson(sum(row["noticed"] for row in rows), len(rows))
    print(f"{found['k']}/{found['n']} [{found['low']:.2f}, {found['high']:.2f}] of {total} possible mutants noticed")


if __name__ == "__main__":
    run(tyro.cli(Options, description=__doc__))
