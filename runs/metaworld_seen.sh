#!/usr/bin/env bash
# A task of Meta-World by a camera beside the table, the hand's own numbers and a sparse reward: 480 recorded episodes (24 000
# control steps at 16 a second), judged in 100 episodes of 50 control steps. `runs/metaworld_seen.sh`, or with another task's
# name, as push-v3. Begun from cloning of the best 30 % of episodes, and held near it, as Meta-World's presets are.
# Then, between the same models: METHODS="decouple imagine ppo-same cloning cloning-best icem" runs/metaworld_seen.sh
source "$(dirname "$0")/with_tasks.sh"
export MUJOCO_GL=${MUJOCO_GL:-egl}
task=drawer-open-v3
case ${1:-} in *-v3) task=$1; shift ;; esac
out=${OUT:-out/metaworld_seen/$task}
[ -e "$out/logs" ] || [ -n "${LOGS:-}" ] || .venv/bin/glocal bench record metaworld-drawer-open-seen "$out/logs" --task "$task"
seen "${PRESET:-robot-points}" "$out" --env glocal/MetaWorld-v0 --env.success success \
    --env.options "env_name=$task" seed=0 num_goals=200 camera=true \
    --env.senses 'observation.images.front=front' 'observation.hand=hand' --task.control-steps 50 --learn.episode 50 \
    --warm-start 3000 --cloning.best 0.3 --learn.imitation 1.0 --learn.critics-first 30 --learn.iterations 150 "$@"
