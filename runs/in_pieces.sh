#!/usr/bin/env bash
# `glocal run PRESET --run RUN ...` in pieces of under ten minutes: each call works for at most PIECE seconds, leaves a
# checkpoint, and says whether to call it again: it exits with 0 when all is done and with 75 when there is more to do.
# Arguments: the preset, the run's folder, then options of the preset.
set -uo pipefail
cd "$(dirname "$0")/.."
make setup || exit 1
preset=$1 out=$2
shift 2
timeout --signal=INT --kill-after=60 "${PIECE:-540}" .venv/bin/glocal run "$preset" --run "$out" "$@"
code=$?
if [ $code -eq 124 ] || [ $code -eq 130 ]; then
    echo "more to do: run the same command again"
    exit 75
fi
exit $code
