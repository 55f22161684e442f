#!/usr/bin/env bash
# Push-T from images alone in DIAMOND's own model (the paper's U-Net on pixels, pictures not changes) on one GPU: 72 000
# control steps of play, 8.4 M imagined steps; in pieces (in_pieces.sh). It has not been run at this size yet.
# Arguments: the run's folder, then further options of the preset, --threads 4 for example.
set -euo pipefail
out=${1:-out/pusht-pixels-gpu}
shift || true
exec "$(dirname "$0")/in_pieces.sh" pusht-pixels "$out" \
    --device cuda --threads 8 --processes 16 --play.control-steps 72000 \
    --codec-fit.updates 12000 --codec-fit.batch 128 \
    --world.patch 1 --world.size 2 --world.context 4 --world.diffuse picture --world.sampling-steps 3 \
    --world.sigma-data 0.5 --world.sigma-min 0.002 --world.sigma-offset 0.3 --world.sigma-mean -0.4 \
    --world.sigma-std 1.2 --world.answers 2 --world-fit.updates 60000 --world-fit.batch 32 \
    --surrogate-fit.batch 128 --learn.envs 1024 --learn.iterations 1025 --learn.refresh-size 64 --watch.every 100 "$@"
