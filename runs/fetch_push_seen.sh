#!/usr/bin/env bash
# FetchPush seen by a camera in front of the robot: the gripper's own numbers and pictures of 96 by 96 pixels, in which object
# and goal are; nothing tracks them. 800 episodes of play (40 000 control steps), judged in 100 episodes of 25 control steps.
# Then, between the same models: METHODS="decouple imagine ppo-same cloning icem" runs/fetch_push_seen.sh
source "$(dirname "$0")/with_tasks.sh"
export MUJOCO_GL=${MUJOCO_GL:-egl}
out=${OUT:-out/fetch_push_seen}
[ -e "$out/logs" ] || .venv/bin/glocal bench record fetch-push-seen "$out/logs"
view=$(.venv/bin/python -c 'import json; from glocal_bench.record.fetch import VIEW; print(json.dumps(VIEW))')
seen "${PRESET:-robot-points}" "$out" --env FetchPush-v4 \
    --env.options width=96 height=96 "default_camera_config=$view" \
    --env.senses 'observation.images.front=render()' 'observation.gripper=observation[0:3,9:11,20:25]' \
    --task.control-steps 25 --learn.episode 25 "$@"
