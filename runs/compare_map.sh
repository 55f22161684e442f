#!/usr/bin/env bash
# Where decoupling pays: a local model that is worse than the global one, and the gradient's quality over a map.
source "$(dirname "$0")/studies.sh"
tiny="--surrogate.width 8 --surrogate.blocks 0"
study tiny $tiny --matching.weight 0 --methods decouple imagine --seeds 0 1 2 --steps 0.5e6
.venv/bin/python benchmarks/gradient_map.py "$out/base"
