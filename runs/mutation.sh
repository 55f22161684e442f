#!/usr/bin/env bash
# How many small wrong edits the tests notice: a random sample (SAMPLE=150), or all of them (ALL=1, hours).
set -euo pipefail
cd "$(dirname "$0")/.."
make setup
out=${OUT:-out/mutation}
tools=$(pwd)/$out/tools
[ -d "$tools" ] || .venv/bin/python -m pip install -q --no-deps --target "$tools" 'mutmut==3.8.1' 'libcst==1.9.0' setproctitle click coverage pytest-cov pyyaml
PYTHONPATH=$tools .venv/bin/python benchmarks/mutation.py --out "$out" --sample "${SAMPLE:-150}" ${ALL:+--all}
