#!/usr/bin/env bash
# FetchPush from vectors: 800 episodes of play (40 000 control steps), judged in 100 episodes of 25 control steps.
set -euo pipefail
cd "$(dirname "$0")/.."
make setup
.venv/bin/python -c 'import gymnasium_robotics' 2>/dev/null || .venv/bin/python -m pip install -q -e '.[tasks]'
out=${OUT:-out/fetch_push}
[ -e "$out/logs" ] || .venv/bin/python runs/record_fetch.py "$out/logs" --env FetchPushDense-v4 --episodes 800
.venv/bin/glocal run fetch-push --logs "$out/logs" --run "$out/run" --threads "${THREADS:-1}" --processes 1
