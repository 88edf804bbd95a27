#!/usr/bin/env bash
# Trains MNIST through three real tiers, on this machine or on those of an --inventory, setting up what that needs here.
# See ./train.sh --help.
set -euo pipefail
# shellcheck source=scripts/setup.sh
source "$(dirname -- "${BASH_SOURCE[0]}")/scripts/setup.sh"

extras=(server client view)
if [[ -n "${FEDTIER_INVENTORY:-}" || " $*" == *" --inventory"* ]]; then
    extras+=(deploy)
fi
set_up "${extras[@]}"
export FEDTIER_HOME="${FEDTIER_HOME:-$checkout}"
exec "$venv/bin/fedtier" train "$@"
