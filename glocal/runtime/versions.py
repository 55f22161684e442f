"""Versions of code: a hash of all that can be executed in this package from some functions and classes on.

What can be reached is read off the sources, without running them: the names that a definition uses, what defines those,
and so on, through imports and `module.attribute`. Functions, classes and constants count whole, tables with all that
they hold; comments, docstrings, annotations and the layout of the text do not count, and neither do other packages.
"""

import ast
import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

VALUES = ("glocal.pipeline.config", "glocal.pipeline.presets")
"""Modules that hold what is chosen: stages are compared by those values themselves."""


class Symbol(NamedTuple):
    """What a module defines under a name; under no name, what it executes whenever it is imported."""

    module: str
    name: str


@dataclass(frozen=True)
class Module:
    """A module's text, taken apart."""

    defined: Mapping[str, list[ast.stmt]]
    imported: Mapping[str, str]
    """What names that come from elsewhere stand for: `models` for `glocal.pipeline.build`."""


@dataclass(frozen=True)
class Uses:
    """What a definition uses: names, each with the attributes that are asked of it, and what it imports itself."""

    names: frozenset[tuple[str, ...]]
    imported: Mapping[str, str]


@dataclass(frozen=True, eq=False)
class Package:
    """The sources of a package by the names of its modules, as they were at one moment."""

    sources: Mapping[str, str]

    @classmethod
    def read(cls, folder: Path) -> "Package":
        """The package in a folder, as it is on the disk now."""
        return cls({_dotted(file, folder): file.read_text(encoding="utf-8") for file in sorted(folder.rglob("*.py"))})

    def version(self, roots: Iterable[str]) -> str:
        """A hash of what can be reached from definitions, told as `package.module.name`."""
        return _version(self, tuple(roots))

    def reached(self, roots: Iterable[str]) -> set[Symbol]:
        """All definitions that can be executed from these on, themselves included."""
        found: set[Symbol] = set()
        waiting = [symbol for root in roots for symbol in self._resolved(root)]
        while waiting:
            symbol = waiting.pop()
            if symbol not in found:
                found.add(symbol)
                waiting += [*self._used(symbol), Symbol(symbol.module, "")]
        return found

    def _used(self, symbol: Symbol) -> Iterator[Symbol]:
        text = self.sources[symbol.module]
        module, uses = _taken_apart(text), _uses(text, symbol.name)
        for first, *attributes in uses.names:
            if first in uses.imported:
                yield from self._resolved(".".join([uses.imported[first], *attributes]))
            elif first in module.defined:
                yield Symbol(symbol.module, first)
            elif first in module.imported:
                yield from self._resolved(".".join([module.imported[first], *attributes]))

    def _resolved(self, dotted: str) -> list[Symbol]:
        """The definition that `package.module.name` leads to, or all of a module; nothing outside the package."""
        parts = dotted.split(".")
        cuts = (cut for cut in range(len(parts), 0, -1) if ".".join(parts[:cut]) in self.sources)
        cut = next(cuts, 0)
        name, rest = ".".join(parts[:cut]), parts[cut:]
        if not cut or name in VALUES:
            return []
        module = _taken_apart(self.sources[name])
        if not rest:
            return [Symbol(name, each) for each in module.defined]
        if rest[0] in module.defined:
            return [Symbol(name, rest[0])]
        if rest[0] in module.imported:
            return self._resolved(".".join([module.imported[rest[0]], *rest[1:]]))
        assert rest[0].startswith("__"), f"{name} defines no {rest[0]}"
        return []


@lru_cache(maxsize=1024)
def _version(package: Package, roots: tuple[str, ...]) -> str:
    """A package is what it was at one moment, and asked for its stages' versions all the time."""
    texts = [
        f"{module}:{name}\n{_meaning(package.sources[module], name)}" for module, name in sorted(package.reached(roots))
    ]
    return hashlib.sha256("\n".join(texts).encode()).hexdigest()[:16]


def _dotted(file: Path, folder: Path) -> str:
    parts = (folder.name, *file.relative_to(folder).with_suffix("").parts)
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


@lru_cache(maxsize=1024)
def _taken_apart(text: str) -> Module:
    defined: dict[str, list[ast.stmt]] = {"": []}
    imported: dict[str, str] = {}
    for line in ast.parse(text).body:
        if isinstance(line, ast.Import | ast.ImportFrom):
            imported |= _imports(line)
        elif not _is_text(line) and not _is_for_types(line):
            for name in _defines(line):
                defined.setdefault(name, []).append(line)
            if not isinstance(line, ast.FunctionDef | ast.ClassDef):
                imported |= _imports_within(line)
    return Module(defined, imported)


def _defines(line: ast.stmt) -> list[str]:
    """The names that a line of a module gives a meaning to; the empty one for what it does besides."""
    match line:
        case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name) | ast.ClassDef(name=name):
            return [name]
        case ast.Assign(targets=targets) if all(isinstance(target, ast.Name | ast.Tuple) for target in targets):
            return [node.id for target in targets for node in ast.walk(target) if isinstance(node, ast.Name)]
        case ast.AnnAssign(target=ast.Name(id=name)) | ast.AugAssign(target=ast.Name(id=name)):
            return [name]
    stored = [node.id for node in ast.walk(line) if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)]
    return ["", *stored]


def _is_text(line: ast.AST) -> bool:
    return isinstance(line, ast.Expr) and isinstance(line.value, ast.Constant) and isinstance(line.value.value, str)


def _is_for_types(line: ast.stmt) -> bool:
    return isinstance(line, ast.If) and ast.unparse(line.test) in ("TYPE_CHECKING", "typing.TYPE_CHECKING")


def _imports(line: ast.Import | ast.ImportFrom) -> dict[str, str]:
    if isinstance(line, ast.Import):
        return {one.asname or one.name.partition(".")[0]: one.name if one.asname else one.name.partition(".")[0]
                for one in line.names}  # fmt: skip
    assert line.level == 0 and line.module, "imports are told in full"
    assert line.names[0].name != "*", "imports are told by name"
    return {one.asname or one.name: f"{line.module}.{one.name}" for one in line.names}


def _imports_within(line: ast.stmt) -> dict[str, str]:
    found: dict[str, str] = {}
    for node in ast.walk(line):
        if isinstance(node, ast.Import | ast.ImportFrom):
            found |= _imports(node)
    return found


@lru_cache(maxsize=8192)
def _meaning(text: str, name: str) -> str:
    """A definition's code without what is there for readers and for type checkers."""
    lines = [_Bare().visit(_copied(line)) for line in _taken_apart(text).defined[name]]
    return "\n".join(ast.unparse(line) for line in lines)


def _copied(line: ast.stmt) -> ast.stmt:
    return ast.parse(ast.unparse(line)).body[0]


class _Bare(ast.NodeTransformer):
    """Takes docstrings and annotations away; of a class's fields it stays that they are fields."""

    def __init__(self):
        self.in_class = False

    def visit_ClassDef(self, node: ast.ClassDef) -> ast.AST:
        return self._body(node, in_class=True)

    def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.AST:
        node.returns = None
        return self._body(node, in_class=False)

    def visit_arg(self, node: ast.arg) -> ast.AST:
        node.annotation = None
        return node

    def visit_AnnAssign(self, node: ast.AnnAssign) -> ast.AST | None:
        self.generic_visit(node)
        if self.in_class:
            node.annotation = ast.Constant(...)
            return node
        return None if node.value is None else ast.fix_missing_locations(ast.Assign([node.target], node.value))

    def _body(self, node: ast.ClassDef | ast.FunctionDef, in_class: bool) -> ast.AST:
        node.body = [line for line in node.body if not _is_text(line)]
        before, self.in_class = self.in_class, in_class
        self.generic_visit(node)
        self.in_class = before
        return node


@lru_cache(maxsize=8192)
def _uses(text: str, name: str) -> Uses:
    found = _Names()
    for line in _taken_apart(text).defined[name]:
        found.fields_of(line)
        found.visit(_Bare().visit(_copied(line)))
    return Uses(frozenset(found.names), found.imported)


class _Names(ast.NodeVisitor):
    def __init__(self):
        self.names: set[tuple[str, ...]] = set()
        self.imported: dict[str, str] = {}
        self.own: list[set[str]] = []
        """Names that the functions around bind themselves."""

    def fields_of(self, line: ast.stmt) -> None:
        """Classes of a class's fields: they may be made from plain values by what the field says alone."""
        if isinstance(line, ast.ClassDef):
            for field in line.body:
                if isinstance(field, ast.AnnAssign):
                    self.visit(_without_remarks(field.annotation))

    def visit_Attribute(self, node: ast.Attribute) -> None:
        path, inner = [node.attr], node.value
        while isinstance(inner, ast.Attribute):
            path, inner = [inner.attr, *path], inner.value
        if isinstance(inner, ast.Name):
            self._use(inner.id, *path)
        else:
            self.visit(inner)

    def visit_Name(self, node: ast.Name) -> None:
        self._use(node.id)

    def visit_FunctionDef(self, node: ast.FunctionDef) -> None:
        for part in (*node.decorator_list, *node.args.defaults, *node.args.kw_defaults):
            if part is not None:
                self.visit(part)
        self._within(_bound([node.args, *node.body]), node.body)

    def visit_Lambda(self, node: ast.Lambda) -> None:
        for part in (*node.args.defaults, *node.args.kw_defaults):
            if part is not None:
                self.visit(part)
        self._within(_bound([node.args, node.body]), [node.body])

    def visit_Global(self, node: ast.Global) -> None:
        self.names |= {(name,) for name in node.names}

    def _within(self, own: set[str], body: Sequence[ast.AST]) -> None:
        self.own.append(own)
        for part in body:
            self.visit(part)
        self.own.pop()

    def _use(self, name: str, *attributes: str) -> None:
        if not any(name in own for own in self.own):
            self.names.add((name, *attributes))

    def visit_Import(self, node: ast.Import) -> None:
        self.imported |= _imports(node)

    def visit_ImportFrom(self, node: ast.ImportFrom) -> None:
        self.imported |= _imports(node)


def _bound(parts: Iterable[ast.AST]) -> set[str]:
    """The names that a function binds: its arguments, and what it assigns to, but for the functions within it."""
    found: set[str] = set()
    for part in parts:
        match part:
            case ast.arg(arg=name) | ast.Name(id=name, ctx=ast.Store()) | ast.FunctionDef(name=name):
                found.add(name)
            case _:
                pass
        if not isinstance(part, ast.FunctionDef | ast.Lambda | ast.ClassDef | ast.comprehension | ast.expr_context):
            found |= _bound(ast.iter_child_nodes(part))
    return found


def _without_remarks(annotation: ast.expr) -> ast.AST:
    """A field's type, written out where it is a text, without what `Annotated` adds to it."""
    if isinstance(annotation, ast.Constant) and isinstance(annotation.value, str):
        annotation = ast.parse(annotation.value, mode="eval").body
    if isinstance(annotation, ast.Subscript) and ast.unparse(annotation.value) in ("Annotated", "typing.Annotated"):
        return annotation.slice.elts[0] if isinstance(annotation.slice, ast.Tuple) else annotation.slice
    return annotation
