#!/usr/bin/env bash
# What a notch of `world.size` buys, and the speeds by size and batch. One argument: a run of `pusht` (data and codec are used).
set -euo pipefail
cd "$(dirname "$0")/.."
make setup
.venv/bin/python benchmarks/dial.py "${1:-out/pusht/seed0}" --seconds 40 120
.venv/bin/python benchmarks/throughput.py
