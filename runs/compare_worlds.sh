#!/usr/bin/env bash
# Global models of pictures side by side: Push-T from images alone, nothing told of the scene, one seed, about the same
# seconds of one core for each codec (20 minutes) and each global model (40 minutes), and a policy of 0.25 M imagined
# steps in each. Arguments: the folder that holds the runs, and which worlds, all by default. Prints one table.
set -euo pipefail
cd "$(dirname "$0")/.."
make setup
out=${1:-out/worlds}
shift || true
mkdir -p "$out"
common="--seed ${SEED:-0} --threads 1 --processes 1 --learn.iterations 120 --watch.every 60"

world() { # NAME [option ...]
    local name=$1
    shift
    .venv/bin/glocal run "pusht-$name" --run "$out/$name" $common "$@" > "$out/$name.log" 2>&1 ||
        { tail -n 3 "$out/$name.log"; exit 1; }
}

for name in ${@:-points motion memory grid pixels dreamer}; do
    case $name in
        points) world points --world-fit.updates 40000 ;;
        motion) world motion --codec-fit.updates 3600 --world.size 1 --world-fit.batch 16 --world-fit.updates 11000 ;;
        memory) world memory --codec-fit.updates 5000 --world.size 1 --world-fit.updates 12000 ;;
        grid) world grid --task.no-agent --codec-fit.updates 3600 --world.size 1 --world-fit.updates 21000 ;;
        pixels) world pixels --codec-fit.updates 3600 --world-fit.batch 32 --world-fit.updates 3200 ;;
        dreamer) world dreamer --codec-fit.updates 1500 --world-fit.updates 2500 ;;
        *) echo "there is no world $name; expected points, motion, memory, grid, pixels or dreamer" >&2; exit 1 ;;
    esac
done
.venv/bin/python runs/tabulate_worlds.py "$out"/*/
