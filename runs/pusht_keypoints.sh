#!/usr/bin/env bash
# The longer run on Push-T from keypoints: the whole way, for three seeds, two at a time on one thread each.
# Resumable: run it again and it goes on. One argument: the folder that holds the runs.
set -euo pipefail
cd "$(dirname "$0")/.."
make setup
out=${1:-out/pusht-keypoints-long}
mkdir -p "$out"
seq 0 2 | xargs -P 2 -I{} sh -c \
    ".venv/bin/glocal run pusht-keypoints-long --run $out/seed{} --seed {} --threads 1 --processes 1 > $out/seed{}.log 2>&1"
tail -n 1 "$out"/seed*.log
