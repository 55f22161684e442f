#!/usr/bin/env bash
# Push-T from images, the whole way, for three seeds, two at a time on one thread each.
# Resumable: run it again and it goes on. Arguments: the preset (pusht, or pusht-images for images alone), and the
# folder that holds the runs.
set -euo pipefail
cd "$(dirname "$0")/.."
make setup
preset=${1:-pusht}
out=${2:-out/$preset}
mkdir -p "$out"
seq 0 2 | xargs -P 2 -I{} sh -c \
    ".venv/bin/glocal run $preset --run $out/seed{} --seed {} --threads 1 --processes 1 > $out/seed{}.log 2>&1"
tail -n 1 "$out"/seed*.log
