#!/usr/bin/env bash
# Push-T from images on one GPU: a larger global model, 72 000 control steps of play, 8.4 M imagined steps; in pieces of
# under ten minutes. Each call works for at most PIECE seconds, leaves a checkpoint, and says whether to call it again:
# it exits with 0 when all is done and with 75 when there is more to do. Arguments: the run's folder, then further
# options of the preset, for example --device cpu to try it without a GPU.
set -uo pipefail
cd "$(dirname "$0")/.."
make setup || exit 1
out=${1:-out/pusht-gpu}
shift || true
timeout --signal=INT --kill-after=60 "${PIECE:-540}" .venv/bin/glocal run "${PRESET:-pusht}" --run "$out" \
    --device cuda --threads 8 --processes 16 --play.control-steps 72000 \
    --codec-fit.updates 6000 --codec-fit.batch 128 --world.size 3 --world-fit.updates 20000 --world-fit.batch 2048 \
    --learn.envs 1024 --learn.iterations 1025 --learn.refresh-size 64 --watch.every 100 "$@"
code=$?
if [ $code -eq 124 ] || [ $code -eq 130 ]; then
    echo "more to do: run the same command again"
    exit 75
fi
exit $code
