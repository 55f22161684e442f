#!/usr/bin/env bash
# The README's demo: the whole way on Push-T from keypoints, on two cores. One argument: the run's folder.
set -euo pipefail
cd "$(dirname "$0")/.."
make setup
.venv/bin/glocal run pusht-keypoints --run "${1:-out/pusht-keypoints}"
