#!/usr/bin/env bash
# The speed figures of docs/results.md.
set -euo pipefail
cd "$(dirname "$0")/.."
make setup
for threads in 1 2; do .venv/bin/python benchmarks/speed.py pusht-keypoints --threads $threads; done
.venv/bin/python benchmarks/speed.py pusht --threads 1
