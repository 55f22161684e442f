#!/usr/bin/env bash
# Seconds and memory of each link's gradient and of BPTT, by horizon, for two sizes of the global model.
set -euo pipefail
cd "$(dirname "$0")/.."
make setup
.venv/bin/python benchmarks/gradient_cost.py pusht-keypoints --world.size 1
.venv/bin/python benchmarks/gradient_cost.py pusht-keypoints --world.size 2
