#!/usr/bin/env bash
# Images: two recordings with models of their own for `decouple`; `imagine` and PPO on the first of them.
set -euo pipefail
cd "$(dirname "$0")/.."
make setup
out=${OUT:-out/studies_images}
for seed in 0 2; do
    .venv/bin/glocal compare pusht --run "$out/seed$seed" --threads 1 --seed $seed --methods decouple --seeds 0 --steps 1e6
done
.venv/bin/glocal compare pusht --run "$out/seed0" --threads 1 --methods decouple imagine ppo --seeds 0 --steps 1e6
