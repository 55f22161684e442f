#!/usr/bin/env bash
# Other people's agents in the global model of a finished run, judged as the run's own policy is: Stable-Baselines3's
# PPO and SAC, a CleanRL-style script and rsl-rl, one seed each, about 1 M imagined steps (SAC 0.2 M).
# Arguments: the run, and the folder for the actors.
set -euo pipefail
cd "$(dirname "$0")/.."
run=${1:?name a finished run} out=${2:?name a folder for the actors}
make setup
mkdir -p "$out"
agent() { # NAME SCRIPT [option ...]
    local name=$1 script=$2
    shift 2
    if [ ! -e "$out/$name.onnx" ]; then
        local began=$SECONDS
        .venv/bin/python "examples/$script.py" "$run" "$@" --out "$out/$name.onnx" > "$out/$name.log" 2>&1
        echo "$name took $((SECONDS - began)) s"
    fi
    .venv/bin/glocal evaluate "$run" --actor "$out/$name.onnx"
}
agent cleanrl train_cleanrl --steps 1000000
agent rsl_rl train_rsl_rl --iterations 160
agent sb3_ppo train_sb3 --algorithm ppo --steps 1000000
agent sb3_sac train_sb3 --algorithm sac --steps 200000
