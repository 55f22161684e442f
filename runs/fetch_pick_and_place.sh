#!/usr/bin/env bash
# FetchPickAndPlace from vectors: 800 episodes of play (40 000 control steps), judged in 100 episodes of 25.
source "$(dirname "$0")/with_tasks.sh"
out=${OUT:-out/fetch_pick_and_place}
[ -e "$out/logs" ] || .venv/bin/glocal bench record fetch-pick-and-place "$out/logs"
.venv/bin/glocal run fetch-pick-and-place --logs "$out/logs" --run "$out/run" --threads "${THREADS:-1}" --processes 1
