"""What is played, what a session may want, and what it is shown."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from torch import Tensor

from glocal.core.types import Segment, Surrogate, World
from glocal.deploy.controllers import Act, Array

Fields = Mapping[str, Array]


@dataclass(frozen=True)
class Start:
    """Where episodes may begin."""

    label: str
    """For people."""
    row: int | None = None
    """Of the recording."""
    seed: int | None = None
    """Of the real environment's initial state."""


@dataclass(frozen=True)
class Side:
    """What the real environment shows."""

    picture: Array | None
    """(h, w, 3) uint8."""
    numbers: Fields
    reward: float | None = None
    """Where it is known in the imagined reward's units."""
    success: bool = False


class Twin(Protocol):
    """A real environment beside an imagined one."""

    def begin(self, start: Start) -> bool:
        """Begin as a start says; False where it cannot."""
        ...

    def step(self, action: Array) -> None:
        """Do one control step."""
        ...

    def look(self) -> Side:
        """What it shows now."""
        ...


@dataclass(frozen=True)
class Game:
    """What is played: the models of a run, and where episodes begin."""

    world: World
    windows: Segment
    """Experience (S, T, ...) that ends where episodes may begin."""
    starts: Sequence[Start]
    """What the S windows are."""
    show: Callable[[Any, Tensor], tuple[Array | None, Fields]]
    """Pictures (n, h, w, 3), where there are some, and numbers (n, ...) of the world's context and observations."""
    decode: Callable[[Tensor], Mapping[str, Tensor]]
    """The recorded fields that observations (n, d) stand for, which recordings hold."""
    surrogate: Surrogate[Any] | None = None
    act: Act | None = None
    """What a policy does at beliefs of the surrogate; it remembers nothing else."""
    twin: Callable[[], Twin] | None = None
    """Makes a real environment."""
    reward_scale: float = 1.0
    """What a reward of 1 is in the units of the logs."""

    @property
    def action_dim(self) -> int:
        return self.windows.action.shape[-1]


@dataclass(frozen=True)
class Wish:
    """What a session wants from now on."""

    visit: int
    """Tells apart those who have the same seat one after the other."""
    start: int = 0
    begun: int = 0
    """Counts how often an episode was asked for."""
    action: tuple[float, ...] | None = None
    """From -1 to 1; None for the one that led to where the episode begins."""
    policy: bool = False
    """The policy acts."""
    record: bool = False
    real: bool = False
    """Show the real environment."""
    number: int = 0
    """Of the message that said so."""


@dataclass(frozen=True)
class Frame:
    """What a session is shown."""

    visit: int
    number: int
    """Of the message that was heeded last."""
    step: int
    """Control steps since the episode began."""
    start: int
    action: Array
    """What was done."""
    reward: float
    total: float
    """The sum of rewards since the episode began."""
    policy: bool
    recorded: int
    """Control steps of the recording so far; 0 where nothing is recorded."""
    picture: Array | None
    numbers: Fields
    real: Side | None
    alone: str
    """Why no real environment is shown, where one is wanted."""
    note: str


@dataclass(frozen=True)
class Played:
    """A recording: a row for each control step, (T, ...)."""

    seen: dict[str, Array]
    """The fields before each action."""
    action: Array
    reward: Array
    cont: Array
