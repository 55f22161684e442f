#!/usr/bin/env bash
# Push-T from images and the agent's position, the whole way on two cores. One argument: the run's folder.
set -euo pipefail
cd "$(dirname "$0")/.."
make setup
.venv/bin/glocal run pusht --run "${1:-out/pusht}"
