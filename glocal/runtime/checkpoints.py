"""Checkpoints: a folder of plain files for each, a `last` link to the newest, and nothing pickled anywhere.

FOLDER/last -> 000400/
    model.safetensors     the weights, and with them the statistics of the data they were fitted to
    config.json           what it is: kind, iteration, configuration, hashes of the other files
    README.md             the model card
    training_state/       what it takes to go on: optimisers, random state, buffers
"""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from glocal.runtime.files import UserError, atomic_write, read_json, remove, sha256, write_json, write_text

FORMAT = 1
FILES = ("model.safetensors", "training_state/tensors.safetensors", "training_state/tree.json")
"""What every checkpoint consists of, beside what it says of itself."""
MOST_ITERATIONS = 10**8 - 1
"""Of which a folder's name holds the number."""
Tree = Any
"""Nested mappings, lists and scalars, with tensors as leaves."""


@dataclass(frozen=True)
class Checkpoint:
    """What a checkpoint folder holds; `training` is None where only the model was asked for."""

    iteration: int
    about: Mapping[str, Any]
    model: dict[str, Tensor]
    training: Tree
    path: Path


def save(
    folder: Path, kind: str, iteration: int, about: Mapping[str, Any], weights: Mapping[str, Tensor], training: Tree
) -> None:
    """Write a checkpoint, point `last` at it, and only then remove the one before."""
    name = f"{iteration:08d}"
    with atomic_write(folder / name) as draft:
        (draft / "training_state").mkdir(parents=True)
        kept = {key: tensor.detach().contiguous().clone() for key, tensor in weights.items()}
        tensors: dict[str, Tensor] = {}
        skeleton = _flatten(training, "", tensors)
        _save_tensors(kept, draft / "model.safetensors")
        _save_tensors(tensors, draft / "training_state" / "tensors.safetensors")
        write_json(draft / "training_state" / "tree.json", skeleton)
        write_text(draft / "README.md", _card(kind, iteration, about))
        hashes = {str(path.relative_to(draft)): sha256(path) for path in sorted(draft.rglob("*")) if path.is_file()}
        header = {"format": FORMAT, "kind": kind, "iteration": iteration, "files": hashes, "about": dict(about)}
        write_json(draft / "config.json", header)
        remove(folder / name)
    if (folder / "last").is_dir() and not (folder / "last").is_symlink():  # copied by what follows links
        remove(folder / "last")
    with atomic_write(folder / "last") as link:
        os.symlink(name, link)
    for old in folder.glob("[0-9]" * 8):
        if old.name != name:
            remove(old)


def load(folder: Path, kind: str, training: bool = False) -> Checkpoint | None:
    """The newest checkpoint in a folder, or None where there is none yet.

    Raises `UserError` where it is damaged, or of another kind or format.
    """
    path = folder / "last"
    if not path.exists():
        return None
    header = _header(path, kind)
    for name, digest in header.files.items():
        if not (path / name).is_file() or sha256(path / name) != digest:
            raise UserError(
                f"the checkpoint file {path / name} is damaged or incomplete: its content does not match the hash in "
                f"config.json. Restore it from a copy, or delete {folder} to train this stage again."
            )
    model = _load_tensors(path / "model.safetensors")
    state = _training_state(path / "training_state") if training else None
    return Checkpoint(header.iteration, header.about, model, state, path.resolve())


@dataclass(frozen=True)
class _Header:
    """What a checkpoint's `config.json` says."""

    iteration: int
    files: Mapping[str, str]
    about: Mapping[str, Any]


def _header(path: Path, kind: str) -> _Header:
    """What a checkpoint says of itself; raises `UserError` where it is of another kind or format, or damaged."""
    found = read_json(path / "config.json")
    if not isinstance(found, dict) or found.get("format") != FORMAT or found.get("kind") != kind:
        told = f"format {found.get('format')}, kind {found.get('kind')!r}" if isinstance(found, dict) else "no header"
        raise UserError(f"{path} is no {kind!r} checkpoint of format {FORMAT}: found {told}. Was the folder mixed up?")
    match found:
        case {"iteration": int(iteration), "files": dict(files), "about": dict(about)}:
            if 0 <= iteration <= MOST_ITERATIONS and set(FILES) <= set(files):
                return _Header(iteration, files, about)
    raise UserError(
        f"{path / 'config.json'} is damaged: expected an iteration, its origin, and hashes of {', '.join(FILES)}. "
        "Restore it from a copy, or train this stage again"
    )


def _training_state(folder: Path) -> Tree:
    tensors, tree = _load_tensors(folder / "tensors.safetensors"), folder / "tree.json"
    try:
        return _unflatten(read_json(tree), tensors)
    except (KeyError, TypeError, ValueError, RecursionError) as error:
        raise UserError(f"{tree} is damaged ({error!r}); restore it from a copy or train this stage again") from error


def restore(module: nn.Module, checkpoint: Checkpoint) -> None:
    """Put a checkpoint's weights into a module; raises `UserError` where they do not fit."""
    check_fit(module, checkpoint)
    module.load_state_dict(checkpoint.model)


def check_fit(module: nn.Module, checkpoint: Checkpoint) -> None:
    """Raise `UserError` where a checkpoint's weights have other names or shapes than a module's."""
    found, expected = _shapes(checkpoint.model), _shapes(module.state_dict())
    differ = [name for name in {**expected, **found} if expected.get(name) != found.get(name)]
    if differ:
        first = f"{differ[0]} has {found.get(differ[0], 'none')}, expected {expected.get(differ[0], 'none')}"
        raise UserError(
            f"the weights in {checkpoint.path} do not fit this configuration: {len(differ)} of {len(expected)} tensors "
            f"differ in shape ({first}), as from another architecture or an earlier version. Use the options and the "
            "version that made them, or train this stage again"
        )


def _shapes(weights: Mapping[str, Tensor]) -> dict[str, tuple[int, ...]]:
    return {name: tuple(x.shape) for name, x in weights.items()}


def _save_tensors(tensors: dict[str, Tensor], path: Path) -> None:
    try:
        save_file(tensors, path)
    except SafetensorError as error:
        raise OSError(*_io_error(error)) from error


def _io_error(error: SafetensorError) -> tuple[int, str]:
    """safetensors wraps the system's error in text: `... (os error 28)`."""
    text = str(error)
    number = text.rpartition("os error ")[2].split(")")[0]
    return (int(number), os.strerror(int(number))) if number.isdigit() else (0, text)


def _load_tensors(path: Path) -> dict[str, Tensor]:
    try:
        return load_file(path)
    except (SafetensorError, OSError) as error:
        raise UserError(f"{path} cannot be read ({error}); restore it from a copy or train this stage again") from error


def _flatten(tree: Tree, name: str, tensors: dict[str, Tensor]) -> Any:
    """The tree as JSON; its tensors are put into `tensors` under the name that stands in their place."""
    if isinstance(tree, Tensor):
        tensors[name] = tree.detach().contiguous().clone()
        return {"tensor": name}
    if isinstance(tree, Mapping):
        return {"items": [[key, _flatten(value, f"{name}/{key}", tensors)] for key, value in tree.items()]}
    if isinstance(tree, list | tuple):
        return {"list": [_flatten(value, f"{name}/{i}", tensors) for i, value in enumerate(tree)]}
    assert tree is None or isinstance(tree, bool | int | float | str), f"{name} is a {type(tree)}"
    return tree


def _unflatten(skeleton: Any, tensors: Mapping[str, Tensor]) -> Tree:
    match skeleton:
        case {"tensor": name}:
            return tensors[name]
        case {"items": items}:
            return {key: _unflatten(value, tensors) for key, value in items}
        case {"list": values}:
            return [_unflatten(value, tensors) for value in values]
    return skeleton


def _card(kind: str, iteration: int, about: Mapping[str, Any]) -> str:
    lines = "\n".join(f"- {key}: `{value}`" for key, value in about.items())
    return (
        f"# glocal {kind} model\n\nA checkpoint of the `{kind}` stage after {iteration} iterations, licensed as its "
        f"data are. The weights are in `model.safetensors`, and nothing here is pickled.\n\n{lines}\n"
    )
