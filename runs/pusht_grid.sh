#!/usr/bin/env bash
# The latent grid as far as a CPU goes: a small codec, global and local model, and their gates (LOG.md has figures of an earlier one that was told of the agent's target). One argument: the run's folder.
set -euo pipefail
cd "$(dirname "$0")/.."
make setup
out=${1:-out/pusht-grid}
options="--threads 1 --processes 1 --codec-fit.updates 4000 --world.size 1 --world-fit.updates 6000 --surrogate-fit.updates 1200"
.venv/bin/glocal collect pusht-grid --run "$out" $options
for stage in codec global local; do .venv/bin/glocal train $stage pusht-grid --run "$out" $options; done
.venv/bin/glocal gates pusht-grid --run "$out" $options
