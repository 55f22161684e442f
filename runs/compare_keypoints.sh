#!/usr/bin/env bash
# Links, with derivatives matched and not, BPTT and cloning with as many imagined steps; PPO with three times as many.
source "$(dirname "$0")/studies.sh"
study links --methods decouple imagine --seeds 0 1 2 --steps 0.5e6
study matched --matching.weight 1 --methods decouple imagine --seeds 0 1 2 3 4 --steps 0.5e6
study others --methods bptt cloning chunks --seeds 0 1 --steps 0.5e6
study ppo --methods ppo --seeds 0 1 2 3 4 --steps 1.5e6
