"""Imagined environments as Stable-Baselines3 wants them."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from gymnasium.vector import AutoresetMode
from stable_baselines3.common.vec_env import VecEnv

from glocal.deploy.vector_env import ImaginedVectorEnv


class SB3VecEnv(VecEnv):
    """Imagined environments that begin anew in the same step, as a `VecEnv`; raises `ValueError` for others."""

    def __init__(self, envs: ImaginedVectorEnv):
        if envs.autoreset != AutoresetMode.SAME_STEP or envs.tensors:
            raise ValueError("Stable-Baselines3 needs make_vec(..., autoreset_mode='SameStep', tensors=False)")
        self.envs, self.render_mode = envs, envs.render_mode
        super().__init__(envs.num_envs, envs.single_observation_space, envs.single_action_space)
        self.told: Any = None

    def reset(self) -> Any:
        seed = self._seeds[0]
        self._reset_seeds()
        return self.envs.reset(seed=seed)[0]

    def step_async(self, actions: np.ndarray) -> None:
        self.told = actions

    def step_wait(self) -> Any:
        obs, reward, terminated, truncated, info = self.envs.step(self.told)
        over = terminated | truncated
        infos: list[dict[str, Any]] = [{} for _ in range(self.num_envs)]
        for i in np.flatnonzero(over):
            infos[i] = {
                "terminal_observation": info["final_obs"][i],
                "TimeLimit.truncated": bool(truncated[i] and not terminated[i]),
            }
        return obs, reward, over, infos

    def close(self) -> None:
        self.envs.close()

    def get_images(self) -> Sequence[Any]:
        return self.envs.render() or ()

    def get_attr(self, attr_name: str, indices: Any = None) -> list[Any]:
        return [getattr(self.envs, attr_name)] * len(list(self._get_indices(indices)))

    def set_attr(self, attr_name: str, value: Any, indices: Any = None) -> None:
        setattr(self.envs, attr_name, value)

    def env_method(self, method_name: str, *method_args: Any, indices: Any = None, **method_kwargs: Any) -> list[Any]:
        answer = getattr(self.envs, method_name)(*method_args, **method_kwargs)
        return [answer] * len(list(self._get_indices(indices)))

    def env_is_wrapped(self, wrapper_class: Any, indices: Any = None) -> list[bool]:
        return [False] * len(list(self._get_indices(indices)))
