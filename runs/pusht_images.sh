#!/usr/bin/env bash
# Push-T from images and the agent's position, the whole way, with the small budgets of the figures in LOG.md: a first look.
# One argument: the run's folder. Without the options, the preset `pusht` takes about three times as long.
set -euo pipefail
cd "$(dirname "$0")/.."
make setup
.venv/bin/glocal run pusht --run "${1:-out/pusht}" --threads 1 --processes 1 \
    --surrogate-fit.updates 2500 --probe-fit.updates 1200 --cloning-fit.updates 800 \
    --learn.iterations 300 --watch.every 100 --watch.episodes 10 --evaluate.episodes 50
