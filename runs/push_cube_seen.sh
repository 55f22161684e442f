#!/usr/bin/env bash
# Push-Cube seen from above: the robot's own numbers and a camera's pictures, in which cube and goal are; nothing tracks
# them. 200 episodes of play (40 000 control steps at 5 a second), judged in 100 episodes of 300 control steps (60 s).
# Then, between the same models: METHODS="decouple imagine ppo-same cloning icem" runs/push_cube_seen.sh
source "$(dirname "$0")/with_tasks.sh"
export MUJOCO_GL=${MUJOCO_GL:-egl}
out=${OUT:-out/push_cube_seen}
[ -e "$out/logs" ] || .venv/bin/glocal bench record push-cube-seen "$out/logs"
seen "${PRESET:-robot-points}" "$out" --env glocal/PushCube-v0 --env.senses 'observation.images.above=render()' \
    --task.control-steps 300 --learn.episode 48 "$@"
