#!/usr/bin/env bash
# How far back the global model has to see: Push-Cube by the robot's own eye with contexts of 4, 16 and 96 control steps,
# which are what it begins with and, but for 4 more, what it is trained on. The codec is that of runs/push_cube_ego.sh, which
# has to have ended. Arguments: further options of the runs.
source "$(dirname "$0")/with_tasks.sh"
out=${OUT:-out/push_cube_ego}
for context in ${CONTEXTS:-4 16 96}; do
    folder=$out/context$context
    [ -e "$folder" ] || { mkdir -p "$folder" && cp -r "$out/run" "$folder/run"; }
    LOGS=$out/logs OUT=$folder runs/push_cube_ego.sh --world.context "$context" --world.window $((context + 4)) \
        --learn.warm-up "$context" --replace "$@"
done
