#!/usr/bin/env bash
# A task of Meta-World from vectors and a sparse reward: `runs/metaworld.sh push-v3`, or drawer-open-v3, pick-place-v3.
# 480 recorded episodes (24 000 control steps; 250 of them play), judged in 100 episodes of 50 control steps, and so is
# behaviour cloning of the best 30 % of them (results.json). Meta-World keeps a list of tasks that episodes draw from:
# here 200 that were not recorded, of which 100 episodes draw 81, and 11 are looked at in training.
task=${1:?name a task: push-v3, drawer-open-v3 or pick-place-v3}
source "$(dirname "$0")/with_tasks.sh"
out=${OUT:-out/metaworld/$task}
[ -e "$out/logs" ] || .venv/bin/glocal bench record "metaworld-${task%-v3}" "$out/logs"
.venv/bin/glocal run "metaworld-${task%-v3}" --logs "$out/logs" --run "$out/run" --threads "${THREADS:-1}" --processes 1
