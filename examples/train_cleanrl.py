"""PPO in one file, in the style of CleanRL, in the imagined environments of a run; tensors all the way.

python examples/train_cleanrl.py out/pusht-keypoints --steps 1000000 --out actor.onnx
glocal evaluate out/pusht-keypoints --actor actor.onnx
"""

import argparse
import time

import torch
from torch import Tensor, nn
from torch.distributions import Normal

import glocal


def network(width: int, outputs: int, last: float) -> nn.Sequential:
    layers = [nn.Linear(width, 128), nn.Linear(128, 128), nn.Linear(128, outputs)]
    for layer, gain in zip(layers, (2**0.5, 2**0.5, last), strict=True):
        nn.init.orthogonal_(layer.weight, gain)
        nn.init.zeros_(layer.bias)
    return nn.Sequential(layers[0], nn.Tanh(), layers[1], nn.Tanh(), layers[2])


class Agent(nn.Module):
    """An actor with a standard deviation of its own, a critic, and the scale of what they see."""

    def __init__(self, seen: Tensor, action_dim: int):
        super().__init__()
        self.register_buffer("mean", seen.mean(0))
        self.register_buffer("std", seen.std(0).clamp_min(1e-3))
        self.actor, self.critic = network(seen.shape[1], action_dim, 0.01), network(seen.shape[1], 1, 1.0)
        self.log_std = nn.Parameter(torch.full((action_dim,), -0.5))

    def scaled(self, obs: Tensor) -> Tensor:
        return ((obs - self.mean) / self.std).clamp(-10, 10)

    def forward(self, obs: Tensor) -> Tensor:
        """The mean action."""
        return self.actor(self.scaled(obs))

    def distribution(self, obs: Tensor) -> Normal:
        return Normal(self(obs), self.log_std.exp())

    def value(self, obs: Tensor) -> Tensor:
        return self.critic(self.scaled(obs))[:, 0]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run")
    parser.add_argument("--steps", type=int, default=1_000_000)
    parser.add_argument("--envs", type=int, default=256)
    parser.add_argument("--rollout", type=int, default=16)
    parser.add_argument("--observe", choices=("row", "belief"), default="belief")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", default="actor.onnx")
    args = parser.parse_args()
    gamma, lam, clip, epochs, minibatches = 0.97, 0.95, 0.2, 4, 4

    torch.manual_seed(args.seed)
    torch.set_num_threads(1)
    envs = glocal.make_vec(args.run, args.envs, observe=args.observe, autoreset_mode="SameStep", tensors=True)
    obs, _ = envs.reset(seed=args.seed)
    agent = Agent(obs, envs.single_action_space.shape[0]).to(envs.device)
    optimizer = torch.optim.Adam(agent.parameters(), lr=3e-4, eps=1e-5)
    began, returns = time.monotonic(), torch.zeros(args.envs, device=envs.device)
    finished: list[Tensor] = []

    for update in range(1, max(1, args.steps // (args.envs * args.rollout)) + 1):
        steps = []
        with torch.no_grad():
            for _ in range(args.rollout):
                distribution = agent.distribution(obs)
                action = distribution.sample()
                after, reward, terminated, truncated, info = envs.step(action)
                over, follows = terminated | truncated, after
                if over.any():
                    follows = torch.where(over[:, None], info["final_obs"], after)
                last = agent.value(follows) * (~terminated)
                advantage = reward + gamma * last - agent.value(obs)
                steps.append((obs, action, distribution.log_prob(action).sum(-1), advantage, over, agent.value(obs)))
                returns += reward
                finished.append(returns[over])
                returns = returns.masked_fill(over, 0.0)
                obs = after
        advantages, running = [], torch.zeros(args.envs, device=envs.device)
        for *_, advantage, over, _ in reversed(steps):
            running = advantage + gamma * lam * running * (~over)
            advantages.insert(0, running)
        seen, action, logp, _, _, value = (torch.cat(column) for column in zip(*steps, strict=True))
        advantage = torch.cat(advantages)
        goal = advantage + value
        for _ in range(epochs):
            for some in torch.randperm(len(seen), device=envs.device).chunk(minibatches):
                distribution = agent.distribution(seen[some])
                ratio = (distribution.log_prob(action[some]).sum(-1) - logp[some]).exp()
                gain = (advantage[some] - advantage[some].mean()) / (advantage[some].std() + 1e-8)
                policy_loss = -torch.min(ratio * gain, ratio.clamp(1 - clip, 1 + clip) * gain).mean()
                value_loss = 0.5 * (agent.value(seen[some]) - goal[some]).square().mean()
                loss = policy_loss + 0.5 * value_loss - 0.003 * distribution.entropy().sum(-1).mean()
                optimizer.zero_grad()
                loss.backward()
                nn.utils.clip_grad_norm_(agent.parameters(), 0.5)
                optimizer.step()
        if update % 10 == 0 or update == 1:
            done = torch.cat(finished)
            rate = update * args.envs * args.rollout / (time.monotonic() - began)
            print(
                f"{update * args.envs * args.rollout} steps, {rate:.0f} a second, return {done.mean():.3f}", flush=True
            )
            finished = []
    glocal.save_actor(args.out, agent, obs.shape[1])


if __name__ == "__main__":
    main()
