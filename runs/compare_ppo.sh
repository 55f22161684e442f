#!/usr/bin/env bash
# PPO's sweep: one seed, one choice at a time.
source "$(dirname "$0")/studies.sh"
sweep() { study "ppo_$1" --methods ppo --seeds 0 --steps 1.5e6 "${@:2}"; }
sweep default
sweep entropy --ppo.entropy 0
sweep narrow --ppo.first-std 0.5 --ppo.entropy 0.001
sweep bolder --ppo.desired-kl 0.02
sweep short --ppo.horizon 8
