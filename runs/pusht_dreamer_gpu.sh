#!/usr/bin/env bash
# Push-T from images alone in Dreamer 4's models on one GPU: 32 tokens a picture, a transformer of 512 by 12 layers that
# looks back at 96 steps, 72 000 control steps of play, 8.4 M imagined steps; in pieces (in_pieces.sh). It has not been
# run at this size yet. Arguments: the run's folder, then further options of the preset, --threads 4 for example.
set -euo pipefail
out=${1:-out/pusht-dreamer-gpu}
shift || true
exec "$(dirname "$0")/in_pieces.sh" pusht-dreamer "$out" \
    --device cuda --threads 8 --processes 16 --play.control-steps 72000 \
    --codec.tokens 32 --codec.size 2 --codec-fit.updates 40000 --codec-fit.batch 128 \
    --world.size 3 --world.back 96 --world.window 96 --world-fit.updates 30000 --world-fit.batch 32 \
    --surrogate-fit.batch 128 --learn.envs 1024 --learn.iterations 1025 --learn.refresh-size 64 --watch.every 100 "$@"
