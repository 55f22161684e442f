#!/usr/bin/env bash
# Learning goes on: Push-T from keypoints, from play that means nothing by any stroke, and then two rounds on what the
# policy itself did. Each round rolls the exported policy out from initial states that no evaluation uses, and goes on
# from the run before with those logs; beside them, what as much more of the same play does. Resumable: run it again and it
# goes on.
# Argument: the folder that holds it all. EPISODES of a round (100 of 30 s); PLAY, control steps of the first play.
set -euo pipefail
cd "$(dirname "$0")/.."
make setup
out=${1:-out/learn_on}
seed=${SEED:-0}
common="--threads 1 --processes 1"
glocal=.venv/bin/glocal
aimless="--play.goal-share 0 --play.elsewhere-share 0 --play.placed-share 0"
$glocal run pusht-keypoints --run "$out/round0" --seed "$seed" --world.size 1 --play.control-steps "${PLAY:-20000}" $aimless $common
for round in 1 2; do
    before="$out/round$((round - 1))"
    [ -e "$out/bundle$round" ] || $glocal export "$before" --out "$out/bundle$round"
    [ -e "$out/logs$round" ] || $glocal rollout "$out/bundle$round" --episodes "${EPISODES:-100}" --no-careful \
        --seed $((3000000 + 1000 * round)) --log "$out/logs$round"
    $glocal run --after "$before" --logs "$out/logs$round" --run "$out/round$round" $common
done
if [ ! -e "$out/logs_play" ]; then
    $glocal collect pusht-keypoints --run "$out/play" --seed $((seed + 1)) --play.control-steps $((150 * ${EPISODES:-100})) $aimless $common
    $glocal data export "$out/play" "$out/logs_play"
fi
$glocal run --after "$out/round0" --logs "$out/logs_play" --run "$out/round1_play" $common
.venv/bin/python - "$out" <<'PYTHON'
import json, sys
from pathlib import Path
for folder in sorted(Path(sys.argv[1]).glob("round*")):
    found = json.loads((folder / "results.json").read_text())
    for name in ("policy", "cloning"):
        print(folder.name, name, *(f"{key} {found[name][key]['k']}/{found[name][key]['n']}" for key in ("pose", "coverage95")))
PYTHON
