"""Sessions of people who drive one model, all of them imagined in one step; nothing here knows of the web.

A session says what it wants in a `Wish`, the newest of which counts; `Sessions.step` takes those of all sessions and
says what each of them is shown.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from glocal.core.rollout import warm_up
from glocal.core.types import Batched, Belief, Segment, Step, cat
from glocal.deploy.controllers import Array
from glocal.deploy.play.game import Frame, Game, Played, Twin, Wish

KEYS = 2**62
"""Random keys are drawn below this."""
LONGEST = 1000
"""Control steps of a recording, which is in memory until it ends."""


@dataclass(frozen=True)
class Live(Batched):
    """Where imagined sessions stand, (B, ...)."""

    context: Batched
    obs: Float[Tensor, "b d"]
    belief: Belief | None


@dataclass
class Seat:
    """What is remembered of a session."""

    visit: int
    begun: int
    start: int
    action: Array
    step: int = 0
    reward: float = 0.0
    total: float = 0.0
    note: str = ""
    twin: Twin | None = None
    alone: str = "begin again to see the real environment"
    """Why no real environment is shown."""
    rows: list[tuple[dict[str, Array], Array, float, float]] = field(default_factory=list)


class Sessions:
    """All sessions; every call comes from one thread."""

    def __init__(self, game: Game, seed: int = 0, real: int = 4, longest: int = LONGEST):
        """At most `real` sessions have a real environment at the same time."""
        self.game, self.real, self.longest = game, real, longest
        self.random = np.random.default_rng(seed)
        self.seats: dict[int, Seat] = {}
        """In the order of the batch."""
        self.live: Live | None = None
        self.finished: list[Played] = []
        self.spare: list[Twin] = []
        """Real environments that nobody uses, which are expensive to make."""

    @torch.no_grad()
    def step(self, wishes: Mapping[int, Wish]) -> tuple[dict[int, Frame], list[Played]]:
        """One control step of all sessions, by seat; what each is shown, and the recordings that have ended.

        Those that are new, or ask for another episode, begin in place of their step.
        """
        self._keep([k for k, seat in self.seats.items() if _goes_on(seat, wishes.get(k))])
        for k, seat in self.seats.items():
            self._heed(seat, wishes[k])
        fresh = {k: (wish.start, "") for k, wish in wishes.items() if k not in self.seats}
        self._begin(fresh | self._advance(wishes), wishes)
        finished, self.finished = self.finished, []
        return self._frames(wishes), finished

    def _keep(self, kept: Sequence[int]) -> None:
        """Let all others go."""
        order = list(self.seats)
        for k in order:
            if k not in kept:
                self._leave(self.seats.pop(k))
        if self.live is not None and len(kept) < len(order):
            self.live = self.live[torch.tensor([order.index(k) for k in kept], dtype=torch.long)] if kept else None

    def _leave(self, seat: Seat) -> None:
        self._end_recording(seat)
        self._without_twin(seat)

    def _heed(self, seat: Seat, wish: Wish) -> None:
        """What needs no control step."""
        if seat.rows and not wish.record:
            self._end_recording(seat)
        if not wish.real:
            self._without_twin(seat)

    def _advance(self, wishes: Mapping[int, Wish]) -> dict[int, tuple[int, str]]:
        """One control step; the starts of those sessions that have to begin anew, and why."""
        if self.live is None:
            return {}
        game, before = self.game, self.live
        action = self._actions(before, wishes)
        context, seen = game.world.step(before.context, action)
        self.live = Live(context, seen.obs, self._believed(before.belief, action, seen.obs))
        told = action.cpu().numpy()
        self._record(before.obs, told, seen, wishes)
        over = {k: _over(answer) for k, answer in zip(self.seats, _each(seen), strict=True)}
        for action, (k, seat), answer in zip(told, self.seats.items(), _each(seen), strict=True):
            if not over[k]:
                self._stepped(seat, action, answer[1])
        again = {k: (self.seats[k].start, why) for k, why in over.items() if why}
        self._keep([k for k in self.seats if k not in again])
        return again

    def _stepped(self, seat: Seat, action: Array, reward: float) -> None:
        seat.action, seat.step, seat.note = action, seat.step + 1, ""
        seat.reward = reward * self.game.reward_scale
        seat.total += seat.reward
        if seat.twin is not None:
            self._asked(seat, lambda twin: twin.step(action))

    def _actions(self, live: Live, wishes: Mapping[int, Wish]) -> Float[Tensor, "b a"]:
        own = np.stack([_action(seat, wishes[k]) for k, seat in self.seats.items()])
        action = torch.as_tensor(own, dtype=torch.float32, device=live.obs.device).clamp(-1, 1)
        if self.game.act is None or live.belief is None:
            return action
        by_policy = torch.tensor([wishes[k].policy for k in self.seats], device=action.device)
        if not by_policy.any():
            return action
        return torch.where(by_policy[:, None], self.game.act(live.belief).clamp(-1, 1), action)

    def _believed(self, belief: Belief | None, action: Tensor, obs: Tensor) -> Belief | None:
        if belief is None or self.game.surrogate is None:
            return None
        surrogate = self.game.surrogate
        return surrogate.correct(surrogate.predict(belief, action), obs).expected()

    def _record(self, before: Tensor, action: Array, seen: Step, wishes: Mapping[int, Wish]) -> None:
        """Add a row to the recordings of those who record."""
        order = list(self.seats)
        recording = [i for i, k in enumerate(order) if wishes[k].record]
        if not recording:
            return
        fields = {name: x.cpu().numpy() for name, x in self.game.decode(before[recording]).items()}
        answers = _each(seen)
        for j, i in enumerate(recording):
            seat, (finite, reward, cont) = self.seats[order[i]], answers[i]
            if finite:
                seat.rows.append(({name: x[j] for name, x in fields.items()}, action[i], reward, cont))
            if len(seat.rows) >= self.longest:
                self._end_recording(seat)

    def _end_recording(self, seat: Seat) -> None:
        if len(seat.rows) > 1:
            seen, action, reward, cont = zip(*seat.rows, strict=True)
            fields = {name: np.stack([row[name] for row in seen]) for name in seen[0]}
            labels = (np.array(x, np.float32) for x in (reward, cont))
            self.finished.append(Played(fields, np.stack(action), *labels))
        seat.rows = []

    def _begin(self, fresh: Mapping[int, tuple[int, str]], wishes: Mapping[int, Wish]) -> None:
        """Begin episodes: seats, with where to begin and why."""
        if not fresh:
            return
        window = self.game.windows[torch.tensor([start for start, _ in fresh.values()])]
        live = self._begun(window)
        self.live = live if self.live is None else cat([self.live, live], dim=0)
        last = zip(window.action[:, -1].cpu().numpy(), window.reward[:, -1].tolist(), strict=True)
        for (k, (start, why)), (action, reward) in zip(fresh.items(), last, strict=True):
            seat = Seat(wishes[k].visit, wishes[k].begun, start, action, note=why)
            seat.reward = reward * self.game.reward_scale
            if wishes[k].real:
                self._give_twin(seat)
            self.seats[k] = seat

    def _begun(self, window: Segment) -> Live:
        context = self.game.world.begin(window, int(self.random.integers(KEYS)))
        belief = None
        if self.game.surrogate is not None:
            own = Segment(window.obs, window.action, window.reward, window.cont)
            belief = warm_up(self.game.surrogate, own).expected()
        return Live(context, window.obs[:, -1], belief)

    def _frames(self, wishes: Mapping[int, Wish]) -> dict[int, Frame]:
        if self.live is None:
            return {}
        pictures, fields = self.game.show(self.live.context, self.live.obs)
        found = {}
        for i, (k, seat) in enumerate(self.seats.items()):
            wish, numbers = wishes[k], {name: x[i] for name, x in fields.items()}
            side = None if seat.twin is None else self._asked(seat, lambda twin: twin.look())
            alone = seat.alone if wish.real and side is None else ""
            found[k] = Frame(
                seat.visit, wish.number, seat.step, seat.start, seat.action, seat.reward, seat.total,
                wish.policy and self.game.act is not None, len(seat.rows), None if pictures is None else pictures[i],
                numbers, side, alone, seat.note,
            )  # fmt: skip
        return found

    def _give_twin(self, seat: Seat) -> None:
        """Have a real environment begin where an episode does, or remember why not."""
        if self.game.twin is None:
            seat.alone = "there is no real environment"
            return
        if sum(one.twin is not None for one in self.seats.values()) >= self.real:
            seat.alone = f"all {self.real} real environments are taken"
            return
        try:
            seat.twin = self.spare.pop() if self.spare else self.game.twin()
        except Exception as error:  # of whatever stands for the robot
            seat.alone = f"the real environment cannot be made: {error}"
            return
        start = self.game.starts[seat.start]
        if not self._asked(seat, lambda twin: twin.begin(start)) and seat.twin is not None:
            seat.alone = "the real environment cannot begin at a recorded moment; choose a start of its own"
            self._without_twin(seat)

    def _without_twin(self, seat: Seat) -> None:
        if seat.twin is not None:
            self.spare.append(seat.twin)
        seat.twin = None

    def _asked(self, seat: Seat, ask: Callable[[Twin], Any]) -> Any:
        """What a real environment answers; None, with a note, where it fails, and it is used no more."""
        assert seat.twin is not None
        try:
            return ask(seat.twin)
        except Exception as error:  # of whatever stands for the robot
            seat.alone, seat.twin = f"the real environment failed: {error}", None
            return None


def _goes_on(seat: Seat, wish: Wish | None) -> bool:
    return wish is not None and (wish.visit, wish.begun) == (seat.visit, seat.begun)


def _action(seat: Seat, wish: Wish) -> Array:
    return seat.action if wish.action is None else np.asarray(wish.action, np.float32)


def _each(seen: Step) -> list[tuple[bool, float, float]]:
    """Of each session: whether the model's answer is finite, the reward, and whether the episode goes on."""
    finite = seen.obs.isfinite().all(1) & seen.reward.isfinite() & seen.cont.isfinite()
    return list(zip(finite.tolist(), seen.reward.tolist(), seen.cont.tolist(), strict=True))


def _over(answer: tuple[bool, float, float]) -> str:
    """Why an episode cannot go on after an answer; empty where it can."""
    finite, _, cont = answer
    if not finite:
        return "begun again: the model's answer was not finite"
    return "" if cont >= 0.5 else "begun again: the model says that the episode is over"
