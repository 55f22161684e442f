#!/usr/bin/env bash
# Links, BPTT and cloning with as many imagined steps; PPO with three times as many. Five seeds; BPTT and cloning two.
source "$(dirname "$0")/studies.sh"
study links --methods decouple imagine --seeds 0 1 2 3 4 --steps 0.5e6
study others --methods bptt cloning chunks --seeds 0 1 --steps 0.5e6
study ppo --matching.weight 0 --methods ppo --seeds 0 1 2 3 4 --steps 1.5e6
