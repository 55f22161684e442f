#!/usr/bin/env bash
# Does the alarm ring? Policies in a global model that was hardly trained; and imagined against real success of all policies.
source "$(dirname "$0")/studies.sh"
study weak --matching.weight 0 --world-fit.updates 250 --methods decouple --seeds 0 1 --steps 0.6e6
study links --methods decouple imagine --seeds 0 1 2 3 4 --steps 0.5e6 --runs $(ls -d "$out"/{ppo,paper,unmatched,weak,without_*}/*/seed*)
