"""Train Stable-Baselines3's PPO or SAC in the imagined environments of a run.

python examples/train_sb3.py out/pusht-keypoints --algorithm sac --steps 200000 --out actor.onnx
glocal evaluate out/pusht-keypoints --actor actor.onnx
"""

import argparse

import torch
from stable_baselines3 import PPO, SAC
from torch import Tensor, nn

import glocal


class Deterministic(nn.Module):
    """The most likely action at an observation."""

    def __init__(self, policy):
        super().__init__()
        self.policy = policy

    def forward(self, obs: Tensor) -> Tensor:
        return self.policy._predict(obs, deterministic=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run")
    parser.add_argument("--algorithm", choices=("ppo", "sac"), default="ppo")
    parser.add_argument("--steps", type=int, default=1_000_000)
    parser.add_argument("--envs", type=int, default=64)
    parser.add_argument("--observe", choices=("row", "belief"), default="belief")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", default="actor.onnx")
    told = parser.parse_args()

    torch.set_num_threads(1)
    imagined = glocal.make_vec(told.run, told.envs, observe=told.observe, autoreset_mode="SameStep")
    envs = glocal.SB3VecEnv(imagined)
    if told.algorithm == "ppo":
        agent = PPO("MlpPolicy", envs, n_steps=32, batch_size=512, n_epochs=5, gamma=0.97, seed=told.seed, verbose=1)
    else:
        agent = SAC("MlpPolicy", envs, gamma=0.97, gradient_steps=8, batch_size=512, seed=told.seed, verbose=1)
    agent.learn(told.steps)
    glocal.save_actor(told.out, Deterministic(agent.policy), imagined.single_observation_space.shape[0])


if __name__ == "__main__":
    main()
