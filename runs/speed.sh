#!/usr/bin/env bash
# The speed figures of the README.
set -euo pipefail
cd "$(dirname "$0")/.."
make setup
for threads in 1 2; do .venv/bin/python benchmarks/speed.py pusht-keypoints --threads $threads; done
.venv/bin/python benchmarks/speed.py pusht --threads 1
