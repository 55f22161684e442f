# Sourced by compare_*.sh: studies between the same global model on the same recording, and thus the same data for all.
# 60 000 control steps of play, a third of the episodes set aside for the judge, so that 34 000 train every model.
set -euo pipefail
cd "$(dirname "$0")/.."
make setup
out=${OUT:-out/studies}
common="--world.size 1 --threads 1 --play.control-steps 60000 --judge 0.33"

# study NAME [option ...]: a comparison in $out/NAME; the first one makes data and global model, the others copy them.
study() {
    local name=$1
    shift
    mkdir -p "$out"
    if [ ! -d "$out/base" ]; then
        .venv/bin/glocal compare pusht-keypoints --run "$out/first" $common --methods cloning --seeds 0
        cp -r "$out/first/base" "$out/base"
    fi
    mkdir -p "$out/$name"
    [ -d "$out/$name/base" ] || cp -r "$out/base" "$out/$name/base"
    .venv/bin/glocal compare pusht-keypoints --run "$out/$name" $common "$@"
}
