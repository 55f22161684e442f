#!/usr/bin/env bash
# Grasp and lift from joints, hand and a tracked cube, with the preset of any robot: 200 episodes of play (40 000 control
# steps at 5 a second, 2.2 h), judged in 100 episodes of 100 control steps (20 s).
source "$(dirname "$0")/with_tasks.sh"
out=${OUT:-out/grasp_lift}
[ -e "$out/logs" ] || .venv/bin/glocal bench record grasp-lift "$out/logs"
.venv/bin/glocal run grasp-lift --logs "$out/logs" --run "$out/run" --threads "${THREADS:-1}" --processes 1
