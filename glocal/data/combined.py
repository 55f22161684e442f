"""Datasets made of others: several one behind the other, or some episodes of one; and what their mappings become."""

from collections.abc import Sequence
from dataclasses import replace

from glocal.data.dataset import Array, Dataset
from glocal.data.mappings import AnyMapping
from glocal.runtime.files import UserError


class Merged(Dataset):
    """Several datasets with the same features, one behind the other."""

    def __init__(self, parts: Sequence[Dataset]):
        first = parts[0]
        self.folder, self.format, self.fps, self.features = first.folder, first.format, first.fps, first.features
        for part in parts[1:]:
            if dict(part.features) != dict(first.features) or part.fps != first.fps:
                raise UserError(
                    f"{part.folder} holds {told(part)} at {part.fps} steps a second, {first.folder} {told(first)} at "
                    f"{first.fps}; only equals can be merged"
                )
        self._places = [(part, number) for part in parts for number in range(len(part))]
        self.lengths = [part.lengths[number] for part, number in self._places]

    def episode(self, number: int, names: Sequence[str]) -> dict[str, Array]:
        part, inner = self._places[number]
        return part.episode(inner, names)

    @property
    def observed(self) -> Sequence[int]:
        return [part.observed[number] for part, number in self._places]

    def final(self, number: int, names: Sequence[str]) -> dict[str, Array]:
        part, inner = self._places[number]
        return part.final(inner, names)

    def task(self, number: int) -> str:
        part, inner = self._places[number]
        return part.task(inner)


class Chosen(Merged):
    """Some episodes of a dataset."""

    def __init__(self, whole: Dataset, numbers: Sequence[int]):
        super().__init__([whole])
        self._places = [(whole, number) for number in numbers]
        self.lengths = [whole.lengths[number] for number in numbers]


def carried(known: AnyMapping, numbers: Sequence[int]) -> AnyMapping:
    """The mapping of some episodes of a dataset, which are counted anew."""
    return replace(known, leave_out=tuple(new for new, old in enumerate(numbers) if old in known.leave_out))


def joined(known: Sequence[AnyMapping], counts: Sequence[int]) -> AnyMapping | None:
    """The mapping of datasets of so many episodes, one behind the other; None where they differ in more than in what
    they leave out."""
    first = replace(known[0], leave_out=())
    if any(replace(one, leave_out=()) != first for one in known):
        return None
    left = [number in one.leave_out for one, count in zip(known, counts, strict=True) for number in range(count)]
    return replace(first, leave_out=tuple(number for number, out in enumerate(left) if out))


def told(dataset: Dataset) -> str:
    """A dataset's features in words."""
    return ", ".join(f"{name} {feature.dtype} {feature.shape}" for name, feature in dataset.features.items())
