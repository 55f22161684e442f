#!/usr/bin/env bash
# FetchPush from vectors: 800 episodes of play (40 000 control steps), judged in 100 episodes of 25 control steps.
source "$(dirname "$0")/with_tasks.sh"
out=${OUT:-out/fetch_push}
[ -e "$out/logs" ] || .venv/bin/glocal bench record fetch-push "$out/logs"
.venv/bin/glocal run fetch-push --logs "$out/logs" --run "$out/run" --threads "${THREADS:-1}" --processes 1
