"""The model card of an exported policy."""

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from glocal.deploy.interface import Interface, Told

HOW = """```python
from runner import Policy  # this folder's runner.py needs numpy and onnxruntime alone

policy = Policy("{folder}")
policy.reset()
told = policy.act(observation)  # {rate:g} times a second; `told` holds for {hold} of the robot's {fps:g} steps a second
```"""

CARE = """Limits of actions are enforced; `Policy(folder, careful=True)` also lets no action change faster than recorded
ones did. What is not like the recordings (another camera, light, robot, task) was never tried: begin with the robot out
of reach of anything that it could harm, and a hand on its stop."""


class HasOrigin(Protocol):
    """What is told of where a policy comes from."""

    @property
    def preset(self) -> str: ...

    @property
    def glocal(self) -> str: ...

    @property
    def data(self) -> str: ...

    @property
    def results(self) -> Mapping[str, Any]: ...


def card(interface: Interface, origin: HasOrigin, exact: float, compared: int) -> str:
    """The card, as Markdown."""
    how = HOW.format(folder=".", rate=interface.rate, hold=interface.hold, fps=interface.rate * interface.hold)
    sections = [
        "# A policy trained in imagination",
        f"Exported by glocal {origin.glocal} from a run of the preset `{origin.preset}`, trained on data with the "
        f"digest `{origin.data[:16]}`.",
        how,
        "## What it is shown",
        _table(("feature", "shape", "what is read"), _shown(interface)),
        "## What it tells the robot",
        _table(("feature", "numbers", "kind", "from", "to"), [_told(part) for part in interface.action]),
        "## What is known of it",
        *_results(origin.results),
        f"Actions, from -1 to 1, differ from PyTorch's by at most {exact:.1e} over {compared} recorded control steps.",
        CARE,
    ]
    return "\n\n".join(sections) + "\n"


def _shown(interface: Interface) -> list[tuple[str, ...]]:
    rows = []
    for name, shape in interface.needs.items():
        parts = [f"{one.name}: numbers {_few(one.columns)}" for one in interface.streams if one.feature == name]
        parts += [
            f"{one.name}: {_part(one.crop)} at {one.size} x {one.size}"
            for one in interface.cameras
            if one.feature == name
        ]
        parts += ["what actions are added to" for one in interface.action if one.about and one.about.feature == name]
        rows.append((f"`{name}`", " x ".join(map(str, shape)), "; ".join(parts)))
    return rows


def _told(part: Told) -> tuple[str, ...]:
    each = f" in {part.steps} steps" if part.steps > 1 else ""
    kind = f"{part.kind}{each}" if part.about is None else f"{part.kind}, about `{part.about.feature}`"
    return (f"`{part.feature}`", _few(part.columns), kind, _values(part.low), _values(part.high))


def _results(results: Mapping[str, Any]) -> list[str]:
    counts = {name: x for name, x in results.items() if isinstance(x, Mapping) and {"k", "n", "low", "high"} <= set(x)}
    if not counts:
        return ["It was not asked in any real environment."]
    rows = [(name, f"{x['k']}/{x['n']}", f"[{x['low']:.2f}, {x['high']:.2f}]") for name, x in counts.items()]
    return [_table(("in the real environment", "episodes", "95 % Wilson interval"), rows)]


def _table(head: tuple[str, ...], rows: list[tuple[str, ...]]) -> str:
    lines = [head, ("---",) * len(head), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def _few(columns: Sequence[int]) -> str:
    whole = len(columns) > 2 and list(columns) == list(range(columns[0], columns[-1] + 1))
    return f"{columns[0]} to {columns[-1]}" if whole else ", ".join(map(str, columns))


def _part(crop: tuple[int, int, int, int] | None) -> str:
    return "all of it" if crop is None else f"rows from {crop[0]}, columns from {crop[1]}, {crop[2]} x {crop[3]} pixels"


def _values(values: tuple[float, ...]) -> str:
    return ", ".join(f"{x:.4g}" for x in values)
