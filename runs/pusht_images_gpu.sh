#!/usr/bin/env bash
# Push-T from images on one GPU: a larger global model, 72 000 control steps of play, 8.4 M imagined steps; in pieces
# (in_pieces.sh). Arguments: the run's folder, then further options of the preset, --threads 4 for example.
set -euo pipefail
out=${1:-out/pusht-gpu}
shift || true
exec "$(dirname "$0")/in_pieces.sh" "${PRESET:-pusht}" "$out" \
    --device cuda --threads 8 --processes 16 --play.control-steps 72000 \
    --codec-fit.updates 6000 --codec-fit.batch 128 --world.size 3 --world-fit.updates 20000 --world-fit.batch 2048 \
    --learn.envs 1024 --learn.iterations 1025 --learn.refresh-size 64 --watch.every 100 "$@"
