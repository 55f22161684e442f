"""Train rsl-rl's PPO, as its own runner does it, in the imagined environments of a run.

python examples/train_rsl_rl.py out/pusht-keypoints --iterations 200 --out actor.onnx
glocal evaluate out/pusht-keypoints --actor actor.onnx
"""

import argparse
from pathlib import Path

import torch
from rsl_rl.runners import OnPolicyRunner

import glocal


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run")
    parser.add_argument("--iterations", type=int, default=200)
    parser.add_argument("--envs", type=int, default=256)
    parser.add_argument("--observe", choices=("row", "belief"), default="belief")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", default="actor.onnx")
    told = parser.parse_args()

    torch.manual_seed(told.seed)
    torch.set_num_threads(1)
    imagined = glocal.make_vec(told.run, told.envs, observe=told.observe, autoreset_mode="SameStep", tensors=True)
    envs = glocal.RslRlVecEnv(imagined, told.seed)
    model = {"class_name": "MLPModel", "hidden_dims": [128, 128], "activation": "elu", "obs_normalization": True}
    gaussian = {"class_name": "GaussianDistribution", "init_std": 0.6, "std_type": "log"}
    settings = {
        "num_steps_per_env": 16,
        "save_interval": 10**9,
        "obs_groups": {"actor": ["policy"], "critic": ["policy"]},
        "actor": {**model, "distribution_cfg": gaussian},
        "critic": model,
        "algorithm": {
            "class_name": "PPO",
            "gamma": 0.97,
            "lam": 0.95,
            "entropy_coef": 0.003,
            "learning_rate": 3e-4,
            "schedule": "adaptive",
            "desired_kl": 0.01,
            "num_learning_epochs": 4,
            "num_mini_batches": 4,
        },
    }
    runner = OnPolicyRunner(envs, settings, log_dir=None, device=str(imagined.device))
    runner.learn(told.iterations)
    out = Path(told.out)
    runner.export_policy_to_onnx(str(out.parent), out.name)


if __name__ == "__main__":
    main()
