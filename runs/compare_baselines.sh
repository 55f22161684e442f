#!/usr/bin/env bash
# What PPO reaches in the same global model, with its own networks and with the first-order policy's, and what cloning
# reaches on the same logs, of all episodes and of the best: five seeds each, or SEEDS and METHODS.
set -euo pipefail
cd "$(dirname "$0")/.."
make setup
.venv/bin/glocal compare pusht-keypoints --run "${OUT:-out/baselines}" --world.size 1 --threads 1 --play.control-steps 60000 \
    --watch.imagined 0 --judge 0.33 --seeds ${SEEDS:-0 1 2 3 4} --steps 1.5e6 \
    --methods ${METHODS:-ppo ppo-same cloning cloning-best}
