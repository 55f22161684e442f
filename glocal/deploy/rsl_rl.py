"""Imagined environments as rsl-rl wants them."""

from typing import Any

import numpy as np
import torch
from gymnasium.vector import AutoresetMode
from rsl_rl.env import VecEnv
from tensordict import TensorDict
from torch import Tensor

from glocal.deploy.vector_env import ImaginedVectorEnv


class RslRlVecEnv(VecEnv):
    """Imagined environments of tensors that begin anew in the same step, as rsl-rl's `VecEnv`, whose one observation
    group is `policy`; raises `ValueError` for others."""

    def __init__(self, envs: ImaginedVectorEnv, seed: int = 0):
        if envs.autoreset != AutoresetMode.SAME_STEP or not envs.tensors:
            raise ValueError("rsl-rl needs make_vec(..., autoreset_mode='SameStep', tensors=True)")
        self.envs, self.num_envs, self.device, self.cfg = envs, envs.num_envs, envs.device, {}
        self.num_actions = int(np.prod(envs.single_action_space.shape or ()))
        longest = envs.horizon.unique()
        self.max_episode_length = int(longest) if len(longest) == 1 else envs.horizon
        self.obs: Tensor = envs.reset(seed=seed)[0]

    @property
    def episode_length_buf(self) -> Tensor:  # pyright: ignore
        """Control steps since each began."""
        return self.envs.age

    @episode_length_buf.setter
    def episode_length_buf(self, age: Tensor) -> None:  # pyright: ignore[reportIncompatibleVariableOverride]
        self.envs.age = age

    def get_observations(self) -> TensorDict:
        return TensorDict({"policy": self.obs}, batch_size=[self.num_envs])

    def step(self, actions: Tensor) -> tuple[TensorDict, Tensor, Tensor, dict[str, Any]]:
        self.obs, reward, terminated, truncated, _ = self.envs.step(actions)
        over = (terminated | truncated).to(torch.long)
        return self.get_observations(), reward, over, {"time_outs": truncated}
