#!/usr/bin/env bash
# Push-Cube by the robot's own eye: pictures of the camera in its head, and what it feels of itself (TOLD=nothing for
# pictures alone; TOLD=all says where in the arena it is, too). 1080 episodes of play (216 000 control steps, 12 h),
# judged in 100 episodes of 300 control steps (60 s), some hundred of which it takes to look for the cube and to push it.
# With MARKS=1 rewards are not the environment's: some frames of 60 episodes are marked as successes or failures, and a
# classifier of pictures tells all.
# Then, between the same models: METHODS="decouple imagine ppo-same cloning" runs/push_cube_ego.sh
source "$(dirname "$0")/with_tasks.sh"
export MUJOCO_GL=${MUJOCO_GL:-egl}
out=${OUT:-out/push_cube_ego}
LOGS=${LOGS:-$out/logs}
[ -e "$LOGS" ] ||
    .venv/bin/glocal bench record push-cube-ego "$LOGS" --told "${TOLD:-own}"
if [ -n "${MARKS:-}" ]; then
    marked=$out/marked/logs
    [ -e "$out/marks.csv" ] || .venv/bin/python runs/mark_frames.py "$LOGS" "$out/marks.csv"
    [ -e "$marked" ] || .venv/bin/glocal data label classifier "$LOGS" "$marked" --marks "$out/marks.csv" --camera head
    out=$out/marked LOGS=$marked
fi
seen "${PRESET:-robot-ego}" "$out" --env glocal/PushCube-v0 --env.options head=64 camera=chase \
    --env.senses 'observation.images.head=head' --task.control-steps 300 --learn.episode 48 \
    --learn.gamma 0.98 --learn.iterations 500 "$@"
