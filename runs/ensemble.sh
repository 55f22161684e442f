#!/usr/bin/env bash
# FetchPush in an ensemble as the global model (robot-ensemble), from the logs of runs/fetch_push.sh.
source "$(dirname "$0")/with_tasks.sh"
out=${OUT:-out/fetch_push}
[ -e "$out/logs" ] || .venv/bin/glocal bench record fetch-push "$out/logs"
.venv/bin/glocal run robot-ensemble --logs "$out/logs" --run "$out/ensemble" --env FetchPush-v4 \
    --task.control-steps 25 --learn.episode 25 --threads "${THREADS:-1}" --processes 1
