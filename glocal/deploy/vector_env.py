"""Imagined environments for anybody's agents: a global model as a `VectorEnv` of Gymnasium."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
import torch
from gymnasium import spaces
from gymnasium.error import ClosedEnvironmentError, ResetNeeded
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space
from jaxtyping import Bool, Float, UInt8
from torch import Tensor

from glocal.core.rollout import warm_up
from glocal.core.types import Batched, Belief, Step, Surrogate, World, where
from glocal.data.segments import Recorded

Starts = Literal["anywhere", "beginnings"]
"""Where environments begin: at any recorded moment after which an episode goes on, or where episodes begin."""
Frames = UInt8[np.ndarray, "n h w 3"]
KEYS = 2**62
"""Random keys are drawn below this."""


@dataclass(frozen=True)
class Imagining:
    """What environments are imagined by: a global model, and what was recorded, which they begin from.

    `surrogate` is needed by those that show beliefs, and `draw` by those that are rendered: it makes pictures of the
    global model's context and of observations (n, d).
    """

    world: World
    recorded: Recorded
    context: int
    """Recorded steps that the global model begins with."""
    surrogate: Surrogate[Any] | None = None
    draw: Callable[[Any, Tensor], Frames] | None = None
    reward_scale: float = 1.0
    """What a reward of 1 is in the units of the logs."""


@dataclass(frozen=True)
class _Now(Batched):
    """Where environments stand, (B, ...)."""

    context: Batched
    obs: Float[Tensor, "b d"]
    belief: Belief | None


class ImaginedVectorEnv(VectorEnv[Any, Any, Any]):
    """`num_envs` environments that are imagined together, each from a recorded moment on.

    Observations are what models see, (num_envs, d) float32: standardised numbers, and what stands for pictures; or,
    where `observe` is `belief`, what the local model believes, which remembers. Actions are from -1 to 1 in every
    dimension, as models take them, and are clipped to that. Rewards and terminations are those of the global model's
    heads; an environment is truncated after `horizon` control steps, of which there may be one number for each.

    `reset(seed=)` decides all that is random. Its `options` may hold `starts`, rows of the recording (num_envs,) to
    begin from, and, where nothing begins anew by itself, `reset_mask`, (num_envs,) bool. With `tensors` everything that
    goes in and comes out is a tensor on the device that the model is on, and nothing is copied.

    Raises `ValueError` for actions of another shape or that are not finite, and `FloatingPointError` where the global
    model says something that is not finite.
    """

    def __init__(
        self,
        imagining: Imagining,
        num_envs: int,
        horizon: int | np.ndarray = 64,
        *,
        starts: Starts = "anywhere",
        observe: Literal["row", "belief"] = "row",
        autoreset_mode: AutoresetMode = AutoresetMode.NEXT_STEP,
        tensors: bool = False,
        render_mode: str | None = None,
    ) -> None:
        if not isinstance(num_envs, int | np.integer) or num_envs < 1:
            raise ValueError(f"num_envs is {num_envs!r}, expected a whole number of at least 1")
        if starts not in ("anywhere", "beginnings"):
            raise ValueError(f"starts is {starts!r}, expected anywhere or beginnings")
        self.imagining, self.num_envs, self.observe, self.tensors = imagining, int(num_envs), observe, tensors
        recorded = imagining.recorded
        self.device = recorded.steps.obs.device
        self.rows = recorded.open if starts == "anywhere" else recorded.first.unique()
        self.horizon = torch.as_tensor(np.broadcast_to(horizon, (num_envs,)).copy(), device=self.device)
        _check(imagining, self.horizon, self.rows, observe, render_mode)
        self.metadata = {"render_modes": ["rgb_array"] if imagining.draw else [], "autoreset_mode": autoreset_mode}
        self.autoreset, self.render_mode, self.closed = autoreset_mode, render_mode, False
        action_dim = recorded.steps.action.shape[-1]
        self.single_action_space = spaces.Box(-1.0, 1.0, (action_dim,), np.float32)
        width = self._seen(self._begun(self.rows[:1], 0)).shape[-1]
        self.single_observation_space = spaces.Box(-np.inf, np.inf, (width,), np.float32)
        self.action_space = batch_space(self.single_action_space, num_envs)
        self.observation_space = batch_space(self.single_observation_space, num_envs)
        self.now: _Now | None = None
        self.age = torch.zeros(num_envs, dtype=torch.long, device=self.device)
        self.over = torch.zeros(num_envs, dtype=torch.bool, device=self.device)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        """Begin all environments, or those that `options` choose, from recorded moments."""
        self._check_open()
        options = dict(options or {})
        if seed is not None:
            self._np_random, self._np_random_seed = np.random.default_rng(seed), seed
        chosen, mask = options.pop("starts", None), options.pop("reset_mask", None)
        if options:
            raise ValueError(f"reset knows the options starts and reset_mask; found {', '.join(sorted(options))}")
        fresh = self._fresh(chosen)
        if self.now is None or mask is None:
            self.now, which = fresh, torch.ones_like(self.over)
        else:
            which = self._mask(mask)
            self.now = where(~which, self.now, fresh)
        self.age, self.over = self.age.masked_fill(which, 0), self.over & ~which
        return self._out(self._seen(self.now)), {}

    @torch.no_grad()
    def step(self, actions: Any) -> tuple[Any, Any, Any, Any, dict[str, Any]]:
        """One control step of all environments."""
        self._check_open()
        if self.now is None:
            raise ResetNeeded("cannot step imagined environments before they were reset")
        if self.autoreset == AutoresetMode.DISABLED and self.over.any():
            raise ResetNeeded(
                f"{int(self.over.sum())} environments are over; reset those with options={{'reset_mask': ...}}"
            )
        told = self._actions(actions)
        context, seen = self.imagining.world.step(self.now.context, told)
        _check_answer(seen)
        reward, terminated = seen.reward * self.imagining.reward_scale, seen.cont < 0.5
        self.age = self.age + 1
        truncated = (self.age >= self.horizon) & ~terminated
        self.now = _Now(context, seen.obs, self._believed(told, seen.obs))
        info: dict[str, Any] = {}
        if self.autoreset == AutoresetMode.NEXT_STEP:  # those that were over begin anew; their action does nothing
            begin = self.over
            reward = reward.masked_fill(begin, 0.0)
            terminated, truncated = terminated & ~begin, truncated & ~begin
            self._begin_anew(begin)
        self.over = terminated | truncated
        if self.autoreset == AutoresetMode.SAME_STEP and self.over.any():
            info = {"final_obs": self._out(self._seen(self.now)), "_final_obs": self._out(self.over)}
            self._begin_anew(self.over)
            self.over = torch.zeros_like(self.over)
        outcome = (self._out(x) for x in (self._seen(self.now), reward, terminated, truncated))
        return (*outcome, info)  # pyright: ignore[reportReturnType]

    def render(self) -> tuple[Any, ...] | None:
        """A picture (h, w, 3) uint8 of each environment, or None where no `render_mode` was chosen."""
        self._check_open()
        if self.render_mode is None:
            return None
        if self.now is None:
            raise ResetNeeded("cannot render imagined environments before they were reset")
        assert self.imagining.draw is not None
        return tuple(self.imagining.draw(self.now.context, self.now.obs))

    def _begin_anew(self, which: Bool[Tensor, " b"]) -> None:
        if which.any():
            assert self.now is not None
            self.now, self.age = where(~which, self.now, self._fresh(None)), self.age.masked_fill(which, 0)

    def _fresh(self, chosen: Any) -> _Now:
        """All environments as they begin: from the rows that were chosen, or from random ones."""
        if chosen is None:
            rows = self.rows[
                torch.from_numpy(self.np_random.integers(len(self.rows), size=self.num_envs)).to(self.device)
            ]
        else:
            rows = torch.as_tensor(np.asarray(chosen), device=self.device).long()
            if rows.shape != (self.num_envs,) or rows.min() < 0 or rows.max() >= len(self.imagining.recorded):
                raise ValueError(
                    f"starts are {self.num_envs} rows of the recording, from 0 to {len(self.imagining.recorded) - 1}; "
                    f"found {np.asarray(chosen)}"
                )
        return self._begun(rows, int(self.np_random.integers(KEYS)))

    @torch.no_grad()
    def _begun(self, rows: Tensor, key: int) -> _Now:
        window = self.imagining.recorded.windows(rows, self.imagining.context)
        belief = None
        if self.observe == "belief":
            assert self.imagining.surrogate is not None
            belief = warm_up(self.imagining.surrogate, replace(window, pictures=None, hindsight=None))
        return _Now(self.imagining.world.begin(window, key), window.obs[:, -1], belief)

    def _believed(self, action: Float[Tensor, "b a"], obs: Float[Tensor, "b d"]) -> Belief | None:
        assert self.now is not None
        if self.now.belief is None:
            return None
        surrogate = self.imagining.surrogate
        assert surrogate is not None
        return surrogate.correct(surrogate.predict(self.now.belief, action), obs)

    def _seen(self, now: _Now) -> Tensor:
        return now.obs if now.belief is None else now.belief.feat

    def _actions(self, actions: Any) -> Float[Tensor, "b a"]:
        told = torch.as_tensor(actions, dtype=torch.float32, device=self.device)
        if told.shape != self.action_space.shape:
            raise ValueError(f"actions have shape {tuple(told.shape)}, expected {self.action_space.shape}")
        if not told.isfinite().all():
            raise ValueError("actions hold numbers that are not finite")
        return told.clamp(-1, 1)

    def _mask(self, mask: Any) -> Bool[Tensor, " b"]:
        told = torch.as_tensor(np.asarray(mask), device=self.device)
        if told.dtype != torch.bool or told.shape != (self.num_envs,):
            raise ValueError(
                f"reset_mask is {told.dtype} of shape {tuple(told.shape)}, expected bool of ({self.num_envs},)"
            )
        return told

    def _out(self, x: Tensor) -> Any:
        return x if self.tensors else x.cpu().numpy()

    def _check_open(self) -> None:
        if self.closed:
            raise ClosedEnvironmentError("these imagined environments were closed; make them again")


def _check(imagining: Imagining, horizon: Tensor, rows: Tensor, observe: str, render_mode: str | None) -> None:
    wrong: Mapping[str, bool] = {
        f"horizon is {horizon.tolist()}, expected whole numbers of at least 1": horizon.is_floating_point()
        or bool((horizon < 1).any()),
        "there is no recorded moment to begin from": not len(rows),
        f"observe is {observe}, expected row or belief": observe not in ("row", "belief"),
        "beliefs need a local model": observe == "belief" and imagining.surrogate is None,
        f"render_mode is {render_mode}, expected None or rgb_array": render_mode not in (None, "rgb_array"),
        "nothing says how these observations are drawn, so that render_mode has to be None": render_mode is not None
        and imagining.draw is None,
    }
    for said, is_so in wrong.items():
        if is_so:
            raise ValueError(said)


def _check_answer(seen: Step) -> None:
    for name, x in {"observation": seen.obs, "reward": seen.reward, "continuation": seen.cont}.items():
        broken = (~x.isfinite().reshape(len(x), -1).all(1)).nonzero().flatten()
        if len(broken):
            raise FloatingPointError(
                f"the global model's {name} is not finite in {len(broken)} of {len(x)} environments, the first of them "
                f"{int(broken[0])}; reset them, or train the model longer"
            )
