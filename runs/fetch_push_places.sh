#!/usr/bin/env bash
# FetchPush told where gripper, object and goal are, each in the room's axes, and nothing as seen from anything else: the same play
# as fetch_push.sh, 800 episodes (40 000 control steps), judged in 100 episodes of 25 control steps.
source "$(dirname "$0")/with_tasks.sh"
out=${OUT:-out/fetch_push_places}
[ -e "$out/logs" ] || .venv/bin/glocal bench record fetch-push-places "$out/logs"
.venv/bin/glocal run robot --logs "$out/logs" --run "$out/run" --threads "${THREADS:-1}" --processes 1 \
    --env FetchPush-v4 --env.senses 'observation.gripper=observation[0:3,9:11,20:25]' \
    'observation.object=observation[3:6,11:14,17:20]' --task.control-steps 25 --learn.episode 25 "$@"
