#!/usr/bin/env bash
# What each part of the first-order policy is worth: epochs, refresh, entropy, critic, horizon.
source "$(dirname "$0")/studies.sh"
one_step="--learn.actor-epochs 1 --learn.actor-minibatches 1"
unwatched="--watch.imagined 0"
study paper $unwatched $one_step --learn.longest-step 1e9 --methods decouple --seeds 0 1 2 --steps 1e6
ablate() {
    study "without_$1" $unwatched --watch.episodes 10 --methods decouple --seeds 0 1 --steps 0.25e6 "${@:2}"
}
ablate nothing
ablate passes $one_step
ablate refresh --learn.refresh-minibatches 0
ablate critic --learn.critic-epochs 0
ablate entropy --learn.temperature 1e-6 --learn.temperature-lr 0
ablate horizon16 --learn.horizon 16 --learn.envs 128
ablate horizon32 --learn.horizon 32 --learn.envs 64
