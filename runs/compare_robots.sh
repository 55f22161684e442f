#!/usr/bin/env bash
# What else could be done with the same logs and models: `runs/compare_robots.sh fetch-push out/fetch_push/logs`, or any
# other preset of a robot's task. Cloning, PPO with the policy's networks, the local model as the world, and planning by
# iCEM in the same global model, beside `decouple`; one seed unless SEEDS says more.
set -euo pipefail
cd "$(dirname "$0")/.."
preset=${1:?name a preset} logs=${2:?name its logs}
make setup
.venv/bin/glocal compare "$preset" --logs "$logs" --run "${OUT:-out/compare-$preset}" --steps "${STEPS:-6e5}" \
    --methods ${METHODS:-decouple imagine ppo-same cloning icem} --seeds ${SEEDS:-0} \
    --threads "${THREADS:-1}" --processes 1
