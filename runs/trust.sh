#!/usr/bin/env bash
# Does the alarm ring? Policies in a global model that was hardly trained, and what the judge and the real environment say.
source "$(dirname "$0")/studies.sh"
study weak --matching.weight 0 --world-fit.updates 250 --methods decouple ppo --seeds 0 1 --steps 0.6e6
