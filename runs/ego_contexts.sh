#!/usr/bin/env bash
# How far back the global model has to see: Push-Cube by the robot's own eye with contexts of 4, 16 and 96 control steps,
# which are what it begins with and, of robot-memory, but for 4 more what it is trained on. The codec is that of
# runs/push_cube_ego.sh, with the same PRESET, which has to have ended. Arguments: further options of the runs.
source "$(dirname "$0")/with_tasks.sh"
out=${OUT:-out/push_cube_ego}
for context in ${CONTEXTS:-4 16 96}; do
    folder=$out/context$context
    [ -e "$folder" ] || { mkdir -p "$folder" && cp -r "$out/run" "$folder/run"; }
    window=()
    [ "${PRESET:-}" != robot-memory ] || window=(--world.window $((context + 4)))
    LOGS=$out/logs OUT=$folder runs/push_cube_ego.sh --world.context "$context" ${window[@]+"${window[@]}"} \
        --learn.warm-up "$context" --replace "$@"
done
