#!/usr/bin/env bash
# Does decoupling pay? Five policies each by `decouple`, by `imagine`, and by `imagine` that restarts from recorded
# windows every horizon, between the same models: of 34 000 control steps of logs, and of 12 episodes (6 minutes).
set -euo pipefail
cd "$(dirname "$0")/.."
make setup
out=${OUT:-out/decoupling}
common="--world.size 1 --threads 1 --play.control-steps 60000 --watch.imagined 0 --seeds 0 1 2 3 4 --steps 0.5e6"
methods="decouple imagine imagine-restarted"
.venv/bin/glocal compare pusht-keypoints --run "$out/few" $common --judge 0.87 --methods $methods
.venv/bin/glocal compare pusht-keypoints --run "$out/all" $common --judge 0.33 --methods $methods
