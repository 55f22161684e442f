#!/usr/bin/env bash
# Does the alarm ring? Policies in a global model that was hardly trained, and in ones of 12 and of 3 episodes; and imagined
# against real success of all policies that the other scripts have made.
source "$(dirname "$0")/studies.sh"
study weak --world-fit.updates 250 --methods decouple --seeds 0 1 --steps 0.6e6
study few --judge 0.87 --methods decouple imagine --seeds 0 1 2 --steps 0.5e6
study fewer --judge 0.8925 --methods decouple --seeds 0 --steps 0.5e6
study links --methods decouple imagine --seeds 0 1 2 --steps 0.5e6 \
    --runs $(ls -d "$out"/{matched,others,ppo,paper,weak,few,fewer,without_*}/*/seed* | grep -v cloning | grep -v chunks)
