# Sourced by scripts that need the environments of Fetch, Meta-World and Push-Cube: set-up, from the repository's root.
set -euo pipefail
export LP_NUM_THREADS=${LP_NUM_THREADS:-1} # Mesa's, which draws pictures on CPUs: its threads wait for one another
cd "$(dirname "${BASH_SOURCE[0]}")/.."
make setup
.venv/bin/python -c 'import gymnasium_robotics, metaworld, mujoco' 2>/dev/null ||
    .venv/bin/python -m pip install -q -e '.[tasks]'

# seen PRESET OUT [option ...]: a run in OUT/run on the logs OUT/logs, or LOGS; with METHODS, these compared between its
# models, in OUT/study.
seen() {
    local preset=$1 out=$2 logs=${LOGS:-$2/logs}
    shift 2
    if [ -z "${METHODS:-}" ]; then
        .venv/bin/glocal run "$preset" --logs "$logs" --run "$out/run" --threads "${THREADS:-1}" --processes 1 "$@"
        return
    fi
    mkdir -p "$out/study"
    [ -e "$out/study/base" ] || cp -r "$out/run" "$out/study/base"
    .venv/bin/glocal compare "$preset" --logs "$logs" --run "$out/study" --methods $METHODS --seeds ${SEEDS:-0} \
        --steps "${STEPS:-6e5}" --threads "${THREADS:-1}" --processes 1 "$@"
}
