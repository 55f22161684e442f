# Sourced by scripts that need the environments of Fetch, Meta-World and Push-Cube: set-up, from the repository's root.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
make setup
.venv/bin/python -c 'import gymnasium_robotics, metaworld, mujoco' 2>/dev/null ||
    .venv/bin/python -m pip install -q -e '.[tasks]'
