#!/usr/bin/env bash
# Grasp and lift by the humanoid's own eye: pictures of the camera in its head, and its joints, hand and command
# (TOLD=nothing for pictures alone). 200 episodes of play (40 000 control steps at 5 a second), judged in 100 episodes of
# 100 control steps (20 s).
# Then, between the same models: METHODS="decouple imagine ppo-same cloning" runs/grasp_lift_ego.sh
source "$(dirname "$0")/with_tasks.sh"
export MUJOCO_GL=${MUJOCO_GL:-egl}
out=${OUT:-out/grasp_lift_ego}
[ -e "$out/logs" ] ||
    .venv/bin/glocal bench record grasp-lift-ego "$out/logs" --told "${TOLD:-own}"
seen "${PRESET:-robot-memory}" "$out" --env glocal/GraspLift-v0 --env.options head=64 \
    --env.senses 'observation.images.head=head' --task.control-steps 100 --learn.episode 32 "$@"
