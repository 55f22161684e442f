#!/usr/bin/env bash
# Global models of pictures side by side: Push-T from images alone, nothing told of the scene, one seed, about the same
# seconds of one core for each codec (20 minutes), each global model (40 minutes) and each policy (10 to 15 minutes).
# Arguments: the folder that holds the runs, and which worlds, all by default. PERCENT=50 halves what codecs and global
# models take. Prints one table.
set -euo pipefail
cd "$(dirname "$0")/.."
make setup
out=${1:-out/worlds}
shift || true
mkdir -p "$out"
common="--seed ${SEED:-0} --threads 1 --processes 1 --watch.every 20"

updates() { echo $(($1 * ${PERCENT:-100} / 100)); }

world() { # NAME CODEC_UPDATES WORLD_UPDATES POLICY_ITERATIONS [option ...]
    local name=$1 codec=$(updates "$2") global=$(updates "$3") policy=$4
    shift 4
    .venv/bin/glocal run "pusht-$name" --run "$out/$name" $common --codec-fit.updates "$codec" \
        --world-fit.updates "$global" --learn.iterations "$policy" "$@" > "$out/$name.log" 2>&1 ||
        { tail -n 3 "$out/$name.log"; exit 1; }
}

for name in ${@:-points motion memory grid pixels dreamer}; do
    case $name in
        points) world points 5000 40000 120 ;;
        motion) world motion 3600 11000 120 --world.size 1 --world-fit.batch 16 ;;
        memory) world memory 5000 12000 120 --world.size 1 ;;
        grid) world grid 3600 21000 120 --world.size 1 --task.no-agent ;;
        pixels) world pixels 3600 3200 40 --world-fit.batch 32 ;;
        dreamer) world dreamer 1500 2500 40 ;;
        *) echo "there is no world $name; expected points, motion, memory, grid, pixels or dreamer" >&2; exit 1 ;;
    esac
done
.venv/bin/python runs/tabulate_worlds.py "$out"/*/
