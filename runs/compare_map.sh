#!/usr/bin/env bash
# Where decoupling pays: the gradient's quality by local model, sampling steps and horizon.
source "$(dirname "$0")/studies.sh"
study links --methods decouple imagine --seeds 0 1 2 --steps 0.5e6
.venv/bin/python benchmarks/gradient_map.py "$out/links/base" --updates 2500 --horizons 8 16 32
