#!/usr/bin/env bash
# docs/own_data.md in full: logs without rewards, labelled in five ways, and a policy from each, beside one from the true
# reward. On one core of a shared machine: labels 20 minutes, each policy about 25.
set -euo pipefail
cd "$(dirname "$0")/.."
OUT=${OUT:-out/own}
THREADS=${THREADS:-2}
SEED=${SEED:-0} # of the recording
GLOCAL=.venv/bin/glocal
COMMON="--truth $OUT/logs.truth.csv --threads $THREADS"

[ -e "$OUT/logs" ] || .venv/bin/python runs/record_logs.py "$OUT/logs" --episodes 220 --steps 300 --seed "$SEED"
[ -e "$OUT/marks.csv" ] || .venv/bin/python runs/mark_frames.py "$OUT/logs.truth.csv" "$OUT/marks.csv"
$GLOCAL data inspect "$OUT/logs" --write
$GLOCAL data doctor "$OUT/logs" --out "$OUT/doctor.json"

label() { # a way, where to, and its options
    [ -e "$OUT/$2" ] || $GLOCAL data label "$1" "$OUT/logs" "$OUT/$2" "${@:3}" $COMMON
}
label table true --file "$OUT/logs.truth.csv"
label tracker tracked --goal "$OUT/logs.goals/0.png" --colour 143 163 184
label goal goal_codec --goals "$OUT"/logs.goals/*.png
label classifier classifier_codec --marks "$OUT/marks.csv"
label goal goal_contrast --goals "$OUT"/logs.goals/*.png --embedding contrast
label classifier classifier_contrast --marks "$OUT/marks.csv" --embedding contrast

for LABELS in true tracked goal_codec classifier_codec goal_contrast classifier_contrast; do
    $GLOCAL run pusht --run "$OUT/run_$LABELS" --logs "$OUT/$LABELS" --threads "$THREADS" \
        --world-fit.updates 6000 --learn.iterations 500 --watch.every 50
done
$GLOCAL data doctor "$OUT/true" --run "$OUT/run_true" || true
# The second policies of LOG.md: another seed of the policy between the same models.
for LABELS in true goal_codec; do
    [ -e "$OUT/run_${LABELS}_1" ] || cp -r "$OUT/run_$LABELS" "$OUT/run_${LABELS}_1"
    $GLOCAL run pusht --run "$OUT/run_${LABELS}_1" --logs "$OUT/$LABELS" --threads "$THREADS" \
        --world-fit.updates 6000 --learn.iterations 500 --watch.every 50 --policy-seed 1
done
