#!/usr/bin/env bash
# Logs in which the target changes at every frame (LOG.md, 2026-11-23), labelled by the truth: an action is the mean of a
# control step's targets, and reaches as far as `inspect` proposes. About 30 minutes of one core.
set -euo pipefail
cd "$(dirname "$0")/.."
OUT=${OUT:-out/free_targets}
THREADS=${THREADS:-2}
GLOCAL=.venv/bin/glocal

[ -e "$OUT/logs" ] || .venv/bin/python runs/record_logs.py "$OUT/logs" --episodes 220 --steps 300 --hold 1 --seed 2
$GLOCAL data inspect "$OUT/logs" --write
$GLOCAL data doctor "$OUT/logs" --out "$OUT/doctor.json"
[ -e "$OUT/true" ] || $GLOCAL data label table "$OUT/logs" "$OUT/true" --file "$OUT/logs.truth.csv" --threads "$THREADS"
$GLOCAL run pusht --run "$OUT/run" --logs "$OUT/true" --threads "$THREADS" --task.reach 57 \
    --world-fit.updates 6000 --learn.iterations 500 --watch.every 50
