#!/usr/bin/env bash
# Push-Cube from proprioception and a tracked cube, with the preset of any robot: 200 episodes of play (40 000 control
# steps at 5 a second, 2.2 h), judged in 100 episodes of 300 control steps (60 s).
source "$(dirname "$0")/with_tasks.sh"
out=${OUT:-out/push_cube}
[ -e "$out/logs" ] || .venv/bin/glocal bench record push-cube "$out/logs"
.venv/bin/glocal run push-cube --logs "$out/logs" --run "$out/run" --threads "${THREADS:-1}" --processes 1
