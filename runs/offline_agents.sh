#!/usr/bin/env bash
# Offline agents on the logs of a finished run, judged as the run's own policy is: d3rlpy's IQL, TD3+BC and CQL, one
# seed each, 100 000 updates.
# Arguments: the run, and a folder of its own for its actors, in which d3rlpy gets an environment of its own.
set -euo pipefail
cd "$(dirname "$0")/.."
run=${1:?name a finished run} out=${2:?name a folder for the actors}
make setup
mkdir -p "$out"
if [ ! -e "$out/d3rlpy/installed" ]; then
    .venv/bin/python -m venv "$out/d3rlpy"
    "$out/d3rlpy/bin/pip" install -q 'd3rlpy>=2.8' onnx onnxscript
    touch "$out/d3rlpy/installed"
fi
[ "$(cat "$out/run" 2>/dev/null || realpath "$run")" = "$(realpath "$run")" ] ||
    { echo "$out holds actors of $(cat "$out/run"); name another folder" >&2; exit 2; }
realpath "$run" > "$out/run"
rm -f "$out/rows.npz"
.venv/bin/glocal data transitions "$run" --out "$out/rows.npz"
for algorithm in ${ALGORITHMS:-iql td3bc cql}; do
    name=$algorithm-seed-${SEED:-0}-updates-${UPDATES:-100000}
    actor=$out/$name.onnx
    if [ ! -e "$actor" ]; then
        began=$SECONDS
        "$out/d3rlpy/bin/python" examples/train_d3rlpy.py "$out/rows.npz" --algorithm "$algorithm" \
            --updates "${UPDATES:-100000}" --seed "${SEED:-0}" --out "$out/unfinished.onnx" > "$out/$name.log" 2>&1 ||
            { tail -n 3 "$out/$name.log"; exit 1; }
        mv "$out/unfinished.onnx" "$actor"
        echo "$algorithm took $((SECONDS - began)) s"
    fi
    .venv/bin/glocal evaluate "$run" --actor "$actor"
done
