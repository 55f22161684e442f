"""Train d3rlpy's offline agents on what a run's models were trained on.

d3rlpy wants another version of Gymnasium than glocal, so that it runs in an environment of its own:

    python -m venv d3rlpy && d3rlpy/bin/pip install d3rlpy onnx onnxscript
    glocal data transitions out/pusht-keypoints --out transitions.npz
    d3rlpy/bin/python examples/train_d3rlpy.py transitions.npz --algorithm iql --out actor.onnx
    glocal evaluate out/pusht-keypoints --actor actor.onnx

Settings are d3rlpy's own but for the discount, the batch, and that observations and rewards are standardised.
"""

import argparse

import d3rlpy
import numpy as np
import torch
from d3rlpy.algos import CQLConfig, IQLConfig, TD3PlusBCConfig
from d3rlpy.preprocessing import StandardObservationScaler, StandardRewardScaler

ALGORITHMS = {"iql": IQLConfig, "td3bc": TD3PlusBCConfig, "cql": CQLConfig}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("transitions")
    parser.add_argument("--algorithm", choices=tuple(ALGORITHMS), default="iql")
    parser.add_argument("--updates", type=int, default=100_000)
    parser.add_argument("--batch", type=int, default=256)
    parser.add_argument("--gamma", type=float, default=0.97)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", default="actor.onnx")
    told = parser.parse_args()

    torch.set_num_threads(1)
    d3rlpy.seed(told.seed)
    recorded = np.load(told.transitions)
    agent = ALGORITHMS[told.algorithm](
        batch_size=told.batch,
        gamma=told.gamma,
        observation_scaler=StandardObservationScaler(),
        reward_scaler=StandardRewardScaler(),
    ).create(device="cpu:0")
    each = max(1, min(told.updates, 10_000))
    agent.fit(
        episodes(recorded),
        n_steps=told.updates,
        n_steps_per_epoch=each,
        logger_adapter=d3rlpy.logging.NoopAdapterFactory(),
    )
    save(agent, recorded["observations"].shape[1], told.out)


class Greedy(torch.nn.Module):
    """The action that an agent thinks best, of observations as they were recorded."""

    def __init__(self, agent):
        super().__init__()
        self.networks, self.impl, self.scaler = agent.impl.modules.policy, agent.impl, agent.observation_scaler

    def forward(self, obs: torch.Tensor) -> torch.Tensor:
        return self.impl.inner_predict_best_action(self.scaler.transform(obs))


def save(agent, width: int, path: str) -> None:
    """Write the agent's actor as ONNX; its own `save_policy` (d3rlpy 2.8.1) fails with PyTorch 2.14."""
    greedy, rows = Greedy(agent).eval(), torch.export.Dim("rows")
    program = torch.onnx.export(greedy, (torch.zeros(2, width),), dynamo=True, dynamic_shapes=({0: rows},))
    program.save(path)


def episodes(recorded) -> d3rlpy.dataset.ReplayBuffer:
    """The recorded episodes as d3rlpy holds them. It takes the last row of one that is cut off for the place where it
    goes on, so that what was seen after the last step is a row of its own, of an action that nothing is learned of."""
    over = recorded["terminals"] | recorded["timeouts"]
    parts = [slice(a, b) for a, b in zip([0, *np.flatnonzero(over)[:-1] + 1], np.flatnonzero(over) + 1, strict=True)]
    found = []
    for part in parts:
        ended = bool(recorded["terminals"][part][-1])
        obs, actions, rewards = (recorded[name][part] for name in ("observations", "actions", "rewards"))
        if not ended:
            obs = np.concatenate([obs, recorded["next_observations"][part][-1:]])
            actions = np.concatenate([actions, np.zeros_like(actions[:1])])
            rewards = np.append(rewards, rewards[-1])
        found.append(d3rlpy.dataset.Episode(obs, actions, rewards[:, None].astype(np.float32), ended))
    return d3rlpy.dataset.create_infinite_replay_buffer(found)


if __name__ == "__main__":
    main()
